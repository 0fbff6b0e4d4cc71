import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.data.sizes import reduce_photo, reduced_size, resize_label_map, resize_maps, scaled_size


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((6000, 4000), 384, (384, 256)),
        ((2000, 3000), 200, (133, 200)),
        ((9000, 2), 100, (100, 1)),
        ((384, 200), 384, (384, 200)),
        ((383, 200), 384, (383, 200)),
        ((6000, 4000), 0, (6000, 4000)),
    ],
)
def test_only_larger_photos_are_brought_down(size: tuple[int, int], long_side: int, expected: tuple[int, int]):
    assert reduced_size(size, long_side) == expected


def test_size_is_multiplied_by_one_factor_after_the_other_and_halves_go_to_even():
    # 41 * (320 / 96) * 0.75 is a little more than 102.5, which 41 * (320 / 96 * 0.75) is.
    assert scaled_size((41, 96), 320 / 96, 0.75) == (103, 240)
    assert scaled_size((5, 7), 0.5) == (2, 4)
    assert scaled_size((5, 1), 0.2) == (1, 1)


def test_photo_that_is_small_enough_keeps_every_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (29, 37, 3), dtype=np.uint8)

    for long_side in (0, 37, 400):
        assert np.array_equal(np.asarray(reduce_photo(Image.fromarray(pixels), long_side)), pixels)
        assert np.array_equal(resize_label_map(pixels[..., 0], (37, 29)), pixels[..., 0])


def test_label_map_brought_down_has_no_ids_between():
    label_map = np.kron(np.array([[0, 7], [255, 3]], np.uint8), np.ones((6, 9), np.uint8))

    assert resize_label_map(label_map, (6, 4)).tolist() == [[0] * 3 + [7] * 3] * 2 + [[255] * 3 + [3] * 3] * 2


@pytest.mark.parametrize("size", [(94, 125, 375, 500), (375, 500, 94, 125), (1, 1, 3, 2), (7, 5, 7, 5), (9, 4, 2, 31)])
def test_resizing_maps_equals_torch(size: tuple[int, int, int, int]):
    height, width, *wanted = size
    maps = np.random.default_rng(1).random((2, height, width), np.float32)

    resized = resize_maps(maps, *wanted)

    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=wanted, mode="bilinear", align_corners=False
    )
    assert resized.dtype == np.float32
    assert resized == pytest.approx(expected[0].numpy(), abs=2e-5)


def test_maps_that_are_resized_stay_as_they_are():
    maps = np.random.default_rng(1).random((1, 5, 5), np.float32)
    before = maps.copy()

    resize_maps(maps, 5, 5)

    assert np.array_equal(maps, before)
