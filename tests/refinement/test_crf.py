from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tag2mask.config import CrfPreset, CrfSettings, RefinementSettings
from tag2mask.refinement.crf import (
    PRESETS,
    DenseCrf,
    Kernels,
    affinity_relations,
    background_by_power,
    irn_relations,
    seed_labels,
    unary_from_labels,
    unary_from_maps,
)
from tag2mask.refinement.lattice import build_lattice

EVERY_NTH = 100
"""Photos of the validation list that are compared with pydensecrf."""


@pytest.fixture
def noisy_photo() -> NDArray[np.uint8]:
    """Left half dark, right half light."""
    rng = np.random.default_rng(0)
    photo = np.where(np.arange(30)[:, None] < 15, 60, 190) + rng.normal(0, 8, (20, 30, 3))
    return photo.clip(0, 255).astype(np.uint8)


@pytest.fixture
def three_fields() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Photo of three colours side by side, and one map that is high, low and 0.01 on them."""
    photo = np.repeat(np.uint8([[[250, 0, 0], [0, 250, 0], [0, 0, 250]]]), 20, axis=1).repeat(20, axis=0)
    maps = np.repeat(np.float32([[[0.9, 0.15, 0.01]]]), 20, axis=2).repeat(20, axis=1)
    return photo, maps


def plain_mean_field(photo: NDArray[np.uint8], kernels: Kernels, unary: NDArray[np.float32]) -> NDArray[np.float64]:
    """Equation by equation, in float64 but for the filters."""
    height, width, _ = photo.shape
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([columns, rows]).reshape(2, -1)
    near = build_lattice(places / kernels.gaussian_sxy)
    colours = photo.reshape(-1, 3).T.astype(float)
    alike = build_lattice(np.concatenate([places / kernels.bilateral_sxy, colours / kernels.bilateral_srgb]))
    energy = unary.reshape(len(unary), -1).astype(float)
    marginals = np.exp(-energy) / np.exp(-energy).sum(axis=0)
    for _ in range(10):
        total = energy.copy()
        for lattice, weight in ((near, kernels.gaussian_compat), (alike, kernels.bilateral_compat)):
            norm = 1 / np.sqrt(lattice.filter(np.ones((1, height * width), np.float32)))
            message = norm * lattice.filter((norm * marginals).astype(np.float32))
            # Potts: other labels cost, whose messages sum to a constant less this one's.
            total -= weight * message
        marginals = np.exp(-total) / np.exp(-total).sum(axis=0)
    return marginals.reshape(unary.shape)


def test_background_is_a_power_of_what_the_highest_map_leaves():
    maps = np.float32([[[0, 0.5, 1, 1.0001]], [[0.75, 0.25, 0.1, 0]]])

    background = background_by_power(maps, 2)

    assert background == pytest.approx(np.float32([[0.0625, 0.25, 0, 0]]))


def test_unary_of_maps_is_minus_log_with_a_floor_and_scores_are_not_normalised():
    maps = np.float32([[[1, 0.5, 0]]])
    background = np.float32([[0.5, 0.5, 0]])

    unary = unary_from_maps(maps, background)

    floor = -np.log(1e-5)
    assert unary.dtype == np.float32
    assert unary == pytest.approx(np.array([[[np.log(2), np.log(2), floor]], [[0, np.log(2), floor]]]))


def test_unary_of_labels_shares_the_doubt_among_the_other_labels():
    unary = unary_from_labels(np.array([[0, 2]]), 3)

    assert unary.dtype == np.float32
    assert np.exp(-unary) == pytest.approx(np.array([[[0.7, 0.15]], [[0.15, 0.15]], [[0.15, 0.7]]]))


def test_presets_are_those_of_the_settings():
    assert set(PRESETS) == set(get_args(CrfPreset))


def test_kernels_are_those_of_the_released_codes():
    released = {
        "cams": Kernels(gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=80, bilateral_srgb=13, bilateral_compat=10),
        "irn": Kernels(gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10),
        "deeplab": Kernels(gaussian_sxy=1, gaussian_compat=3, bilateral_sxy=67, bilateral_srgb=3, bilateral_compat=4),
        "mctformer": Kernels(gaussian_sxy=4, gaussian_compat=3, bilateral_sxy=83, bilateral_srgb=5, bilateral_compat=3),
    }

    assert released == PRESETS


@pytest.mark.parametrize(("preset", "num_labels"), [("cams", 2), ("irn", 3), ("deeplab", 6), ("mctformer", 4)])
def test_marginals_equal_a_plain_mean_field(noisy_photo: NDArray[np.uint8], preset: CrfPreset, num_labels: int):
    unary = -np.log(np.random.default_rng(1).random((num_labels, 20, 30), np.float32) + 0.1)

    marginals = DenseCrf(noisy_photo, PRESETS[preset]).infer(unary)

    assert marginals == pytest.approx(plain_mean_field(noisy_photo, PRESETS[preset], unary), abs=1e-4)


def test_inference_leaves_the_potentials_as_they_are(noisy_photo: NDArray[np.uint8]):
    unary = np.random.default_rng(1).random((2, 20, 30), np.float32)
    kept = unary.copy()

    DenseCrf(noisy_photo, PRESETS["cams"]).infer(unary)

    assert np.array_equal(unary, kept)


def test_label_sets_together_give_what_each_gives_alone(noisy_photo: NDArray[np.uint8]):
    rng = np.random.default_rng(1)
    crf = DenseCrf(noisy_photo, PRESETS["irn"])
    unaries = [rng.random((num_labels, 20, 30), np.float32) for num_labels in (2, 1, 4)]

    together = crf.infer_each(unaries)

    assert all(np.array_equal(part, crf.infer(unary)) for part, unary in zip(together, unaries, strict=True))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (1, 40)])
@pytest.mark.parametrize("num_labels", [1, 2])
def test_tiny_photos_and_single_labels_work(height: int, width: int, num_labels: int):
    photo = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    labels = np.zeros((height, width), np.intp)

    marginals = DenseCrf(photo, PRESETS["cams"]).infer(unary_from_labels(labels, num_labels))

    assert marginals.shape == (num_labels, height, width)
    assert (marginals[0] > 0.7).all()
    assert marginals.sum(axis=0) == pytest.approx(np.ones((height, width)))


def test_a_grey_area_takes_the_label_of_most_of_its_pixels():
    labels = np.zeros((16, 16), np.intp)
    labels[4:6, 4:6] = 1

    marginals = DenseCrf(np.full((16, 16, 3), 128, np.uint8), PRESETS["cams"]).infer(unary_from_labels(labels, 2))

    assert (marginals.argmax(axis=0) == 0).all()


def test_labels_follow_the_edge_of_the_photo(noisy_photo: NDArray[np.uint8]):
    labels = np.zeros((20, 30), np.intp)
    labels[:, 17:] = 1

    marginals = DenseCrf(noisy_photo, PRESETS["cams"]).infer(unary_from_labels(labels, 2))

    assert np.array_equal(marginals.argmax(axis=0), np.broadcast_to(np.arange(30) >= 15, (20, 30)))


def test_potentials_of_another_size_are_refused(noisy_photo: NDArray[np.uint8]):
    crf = DenseCrf(noisy_photo, PRESETS["cams"])

    with pytest.raises(ValueError, match=r"shape \(2, 30, 20\), expected \(labels, 20, 30\)"):
        crf.infer(np.zeros((2, 30, 20), np.float32))


@pytest.mark.parametrize(
    ("photo", "found"),
    [
        (np.full((4, 5, 3), 0.5, np.float32), r"float32 \(4, 5, 3\)"),
        (np.zeros((4, 5), np.uint8), r"uint8 \(4, 5\)"),
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \(4, 5, 4\)"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 \(0, 5, 3\)"),
    ],
)
def test_photo_of_another_type_or_shape_is_refused(photo: NDArray[np.uint8], found: str):
    with pytest.raises(ValueError, match=f"photo is {found}, expected uint8"):
        DenseCrf(photo, PRESETS["cams"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_potentials_that_are_not_finite_are_refused(value: float, noisy_photo: NDArray[np.uint8]):
    unary = np.zeros((2, 20, 30), np.float32)
    unary[1, 3, 4] = value

    with pytest.raises(ValueError, match="NaN or infinity, expected finite"):
        DenseCrf(noisy_photo, PRESETS["cams"]).infer(unary)


@pytest.mark.parametrize("background", ["power", "constant"])
def test_seed_labels_are_ids_of_the_photos_classes(noisy_photo: NDArray[np.uint8], background: str):
    maps = np.full((2, 20, 30), 0.1, np.float32)
    maps[0, :, 16:] = 0.9
    maps[1, :, :12] = 0.2

    labels = seed_labels(
        noisy_photo, maps, np.uint8([7, 3]), settings=CrfSettings(background=background), threshold=0.3
    )

    assert labels.dtype == np.uint8
    assert np.array_equal(labels, np.broadcast_to(np.where(np.arange(30) < 15, 0, 7), (20, 30)))


@pytest.fixture
def close_colours() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Photo of two greys 8 levels apart, and one map that is high on the left and larger one."""
    photo = np.full((20, 30, 3), 100, np.uint8)
    photo[:, 26:] = 108
    maps = np.full((1, 20, 30), 0.04, np.float32)
    maps[:, :, :26] = 0.9
    return photo, maps


@pytest.mark.parametrize(("preset", "width"), [("irn", 26), ("cams", 30)])
def test_kernels_of_irn_tell_colours_apart_that_those_for_cams_do_not(
    preset: CrfPreset, width: int, close_colours: tuple[NDArray[np.uint8], NDArray[np.float32]]
):
    settings = CrfSettings(preset=preset, background="constant")

    labels = seed_labels(*close_colours, np.uint8([5]), settings=settings, threshold=0.05)

    assert np.array_equal(labels, np.broadcast_to(np.where(np.arange(30) < width, 5, 0), (20, 30)))


def test_irn_relations_are_sharpened_with_its_own_kernels(
    close_colours: tuple[NDArray[np.uint8], NDArray[np.float32]],
):
    relations = irn_relations(*close_colours, np.uint8([5]), settings=RefinementSettings())

    assert np.array_equal(relations, np.broadcast_to(np.where(np.arange(30) < 26, 5, 0), (20, 30)))


def test_irn_relations_are_unsure_between_both_thresholds(three_fields: tuple[NDArray[np.uint8], NDArray[np.float32]]):
    relations = irn_relations(*three_fields, np.uint8([5]), settings=RefinementSettings())

    assert relations.dtype == np.uint8
    assert np.array_equal(relations, np.broadcast_to(np.repeat([5, 255, 0], 20), (20, 60)))


def test_affinity_relations_are_unsure_between_both_exponents(
    three_fields: tuple[NDArray[np.uint8], NDArray[np.float32]],
):
    # (1 - 0.15) ** 4 is above 0.15, to the power of 32 it is below; (1 - 0.01) ** 32 is still above 0.01.
    relations = affinity_relations(*three_fields, np.uint8([5]), settings=RefinementSettings())

    assert relations.dtype == np.uint8
    assert np.array_equal(relations, np.broadcast_to(np.repeat([5, 255, 0], 20), (20, 60)))


def test_what_either_exponent_makes_background_is_sure_background(
    three_fields: tuple[NDArray[np.uint8], NDArray[np.float32]],
):
    exchanged = RefinementSettings(low_alpha=32, high_alpha=4)

    relations = affinity_relations(*three_fields, np.uint8([5]), settings=exchanged)

    assert np.array_equal(relations, np.broadcast_to(np.repeat([5, 0, 0], 20), (20, 60)))


def test_a_photo_without_class_is_background():
    photo, maps, class_ids = np.zeros((4, 5, 3), np.uint8), np.zeros((0, 4, 5), np.float32), np.zeros(0, np.uint8)

    found = [
        seed_labels(photo, maps, class_ids, settings=CrfSettings(), threshold=0.3),
        irn_relations(photo, maps, class_ids, settings=RefinementSettings()),
        affinity_relations(photo, maps, class_ids, settings=RefinementSettings()),
    ]

    assert np.array_equal(found, np.zeros((3, 4, 5), np.uint8))


def pydensecrf_labels(photo: NDArray[np.uint8], kernels: Kernels, unary: NDArray[np.float32]) -> NDArray[np.intp]:
    """Most likely labels (H, W) of the reference."""
    dcrf = pytest.importorskip("pydensecrf.densecrf")
    height, width, _ = photo.shape
    reference = dcrf.DenseCRF2D(width, height, len(unary))
    reference.setUnaryEnergy(unary.reshape(len(unary), -1))
    reference.addPairwiseGaussian(sxy=kernels.gaussian_sxy, compat=kernels.gaussian_compat)
    reference.addPairwiseBilateral(
        sxy=kernels.bilateral_sxy, srgb=kernels.bilateral_srgb, rgbim=photo.copy(), compat=kernels.bilateral_compat
    )
    labels: NDArray[np.intp] = np.array(reference.inference(10)).reshape(unary.shape).argmax(axis=0)
    return labels


def blurred_truth(label_map: Image.Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """Maps (K, H, W) of the classes of a mask, as vague as activation maps are."""
    ids = np.asarray(label_map)
    classes = np.setdiff1d(ids, [0, 255])
    maps = []
    for class_id in classes:
        blurred = Image.fromarray(np.uint8(255 * (ids == class_id))).filter(ImageFilter.GaussianBlur(24))
        noise = Image.fromarray(rng.random((9, 12), np.float32)).resize(label_map.size, Image.Resampling.BICUBIC)
        vague = np.asarray(blurred, np.float32) / 255 * (0.5 + np.asarray(noise))
        maps.append(vague / vague.max())
    return np.stack(maps).clip(0, 1)


def test_labels_agree_with_pydensecrf_on_a_photo_as_long_as_a_jpeg_can_be():
    rng = np.random.default_rng(0)
    waves = 127 + 100 * np.sin(np.arange(65500)[:, None] / 50 + np.arange(3))
    photo = (waves + rng.normal(0, 5, (1, 65500, 3))).clip(0, 255).astype(np.uint8)
    stripes = (np.arange(65500) // 37 % 2 == 1) ^ (rng.random((1, 65500)) < 0.3)
    unary = unary_from_labels(stripes.astype(np.intp), 2)

    found = DenseCrf(photo, PRESETS["deeplab"]).infer(unary).argmax(axis=0)

    expected = pydensecrf_labels(photo, PRESETS["deeplab"], unary)
    assert len(np.unique(expected)) > 1
    assert (found == expected).mean() >= 0.999


@pytest.mark.parametrize("preset", get_args(CrfPreset))
def test_labels_agree_with_pydensecrf_on_real_photos(animals: Path, preset: CrfPreset):
    rng = np.random.default_rng(0)
    names = (animals / "ImageSets" / "Segmentation" / "val.txt").read_text().split()[::EVERY_NTH]
    agreements = []
    for name in names:
        photo = np.asarray(Image.open(animals / "JPEGImages" / f"{name}.jpg").convert("RGB"))
        maps = blurred_truth(Image.open(animals / "SegmentationClass" / f"{name}.png"), rng)
        if preset == "irn":
            winners = np.where(maps.max(axis=0) > 0.3, maps.argmax(axis=0) + 1, 0)
            unary = unary_from_labels(winners, len(maps) + 1)
        else:
            unary = unary_from_maps(maps, background_by_power(maps, 6))

        found = DenseCrf(photo, PRESETS[preset]).infer(unary).argmax(axis=0)

        expected = pydensecrf_labels(photo, PRESETS[preset], unary)
        assert len(np.unique(expected)) > 1
        agreements.append((found == expected).mean())
    assert len(agreements) == len(names) > 3
    assert min(agreements) >= 0.999
