from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tag2mask.cams.multiscale import (
    ScaleOutput,
    batches_of_one_size,
    inference_sizes,
    mean_scores,
    multiscale_cams,
    raw_maps,
    scaled_pixels,
)
from tag2mask.config import CamSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.classifier import Classifier

SETTINGS = CamSettings()


class Averages(nn.Module):
    """A backbone that averages 8x8 pixels, at the border those that there are."""

    channels, strides = (3,), (8,)
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, 8, ceil_mode=True, count_include_pad=False)]


@dataclass(frozen=True)
class Released:
    """A photo and what the released code makes of it."""

    values: dict[str, np.ndarray]
    photo: Image.Image
    classifier: Classifier


@pytest.fixture(scope="module")
def released(golden: Path) -> Released:
    with np.load(golden / "multiscale.npz") as file:
        values = dict(file)
    classifier = averaging_classifier()
    classifier.head.weight.data = torch.from_numpy(values["stub_weight"])[:, :, None, None]
    classifier.head.bias.data = torch.from_numpy(values["stub_bias"])
    return Released(values, Image.fromarray(values["image_rgb"]), classifier)


def averaging_classifier() -> Classifier:
    torch.manual_seed(0)
    classifier = Classifier(Averages(), num_classes=20, head="linear").eval()
    classifier.head = nn.Conv2d(3, 20, 1)
    return classifier


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()


def random_photos(num: int, width: int = 24, height: int = 16) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(num)]


def test_sizes_are_rounded_as_in_the_released_code(released: Released):
    sizes = inference_sizes(released.photo.size, SETTINGS)

    expected = [tuple(released.values[f"scale{index}_size_hw"].tolist()) for index in range(4)]
    assert [(height, width) for width, height in sizes] == expected


def test_resized_photos_equal_the_released_ones(released: Released):
    for index, size in enumerate(inference_sizes(released.photo.size, SETTINGS)):
        resized = np.asarray(released.photo.resize(size, Image.Resampling.BICUBIC))

        assert np.array_equal(resized, released.values[f"scale{index}_image_rgb"])


def test_logits_of_every_scale_equal_the_released_ones(released: Released):
    outputs = raw_maps(released.classifier, scaled_pixels([released.photo], SETTINGS))

    for index, scale in enumerate(outputs):
        assert_close(scale.maps[:, 0].numpy(), released.values[f"scale{index}_logits"])


def test_fused_maps_equal_the_released_ones(released: Released):
    outputs = raw_maps(released.classifier, scaled_pixels([released.photo], SETTINGS))

    fused = multiscale_cams([scale.maps[:, 0, released.values["classes"]] for scale in outputs], 97, 131)

    assert_close(fused.numpy(), released.values["cam"])


def test_photos_of_a_batch_do_not_disturb_each_other():
    classifier, photos = averaging_classifier(), random_photos(3)

    together = raw_maps(classifier, scaled_pixels(photos, SETTINGS))

    for index, photo in enumerate(photos):
        alone = raw_maps(classifier, scaled_pixels([photo], SETTINGS))
        for scale, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(scale.maps[:, index], expected.maps[:, 0])
            torch.testing.assert_close(scale.logits[:, index], expected.logits[:, 0])


def test_mirrored_photo_gives_the_mirrored_map():
    classifier, photo = averaging_classifier(), random_photos(1)[0]
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    fused, of_mirrored = (
        multiscale_cams([scale.maps[:, 0] for scale in raw_maps(classifier, scaled)], 16, 24)
        for scaled in (scaled_pixels([each], SETTINGS) for each in (photo, mirrored))
    )

    torch.testing.assert_close(of_mirrored, fused.flip(2), rtol=1e-4, atol=1e-5)


def test_positive_parts_are_summed_and_stretched_by_hand():
    plain, mirrored = [[1.0, -5.0, 3.0]], [[0.0, 2.0, -7.0]]

    fused = multiscale_cams([torch.tensor([[plain], [mirrored]])], 1, 3)

    # 1 + 0, 0 + 2, 3 + 0: the mirrored map is turned back.
    assert fused.flatten().tolist() == pytest.approx([0, 0.5, 1], abs=2e-5)


def test_maps_of_no_class_are_empty():
    assert multiscale_cams([torch.zeros(2, 0, 2, 3)], 16, 24).shape == (0, 16, 24)


def test_score_is_the_mean_over_scales_and_mirror_images():
    outputs = [ScaleOutput(maps=torch.zeros(2, 1, 2, *size), logits=torch.zeros(2, 1, 2)) for size in ((2, 3), (1, 1))]
    outputs[0].logits[1, 0, 1] = 100.0  # one of four scores is 1, the others are 0.5

    assert mean_scores(outputs).tolist() == [[pytest.approx(0.5), pytest.approx(0.625)]]


def test_long_side_replaces_the_photo_s_own_size():
    settings = replace(SETTINGS, long_side=256, scales=(0.5, 1.0))

    assert inference_sizes((512, 300), settings) == [(128, 75), (256, 150)]
    assert inference_sizes((100, 200), settings) == [(64, 128), (128, 256)]


def test_very_thin_photo_keeps_a_pixel():
    assert inference_sizes((500, 1), replace(SETTINGS, scales=(0.25,))) == [(125, 1)]


def test_batches_hold_photos_of_one_size_up_to_the_limit():
    sizes = [(10, 20), (20, 10), (10, 20), (10, 20), (30, 30), (10, 20)]
    settings = replace(SETTINGS, scales=(0.5, 1.0), batch_pixels=2 * 3 * 200)

    batches = list(batches_of_one_size(sizes, settings))

    assert sorted(index for batch in batches for index in batch) == list(range(6))
    assert batches == [[0, 2, 3], [5], [1], [4]]


def test_photo_beyond_the_limit_goes_alone():
    assert list(batches_of_one_size([(100, 100)] * 2, replace(SETTINGS, batch_pixels=1))) == [[0], [1]]
