# ruff: noqa: NPY002 - global state is what is tested.

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tag2mask.data.augmentation import DeitAugmentation
from tag2mask.data.transforms import Normalisation

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@pytest.fixture
def photo() -> Image.Image:
    """Red falls from left to right and green from top to bottom, so that every place has its colour."""
    rows, columns = np.mgrid[:48, :60]
    return Image.fromarray(np.stack([250 - 4 * columns, 250 - 5 * rows, 0 * rows + 90], axis=2).astype(np.uint8))


@pytest.fixture
def augmentation() -> DeitAugmentation:
    return DeitAugmentation(32, NORMALISATION)


def draws(augmentation: DeitAugmentation, photo: Image.Image, number: int) -> Tensor:
    return torch.stack([augmentation(photo, np.random.default_rng(seed)) for seed in range(number)])


def global_draws() -> tuple[float, float, float]:
    return random.random(), np.random.random(), torch.rand(1).item()


def seed_globals(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def test_photo_is_a_function_of_the_generator_whatever_was_drawn_elsewhere(
    augmentation: DeitAugmentation, photo: Image.Image
):
    seed_globals(0)
    first = draws(augmentation, photo, 20)

    seed_globals(1)
    again = draws(augmentation, photo, 20)

    assert torch.equal(first, again)
    assert len({image.numpy().tobytes() for image in first}) == 20


def test_what_is_drawn_elsewhere_does_not_know_of_it(augmentation: DeitAugmentation, photo: Image.Image):
    seed_globals(0)
    expected = global_draws()

    seed_globals(0)
    draws(augmentation, photo, 20)

    assert global_draws() == expected


def test_global_state_comes_back_after_an_error(augmentation: DeitAugmentation):
    seed_globals(0)
    expected = global_draws()

    seed_globals(0)
    with pytest.raises(TypeError):
        augmentation(None, np.random.default_rng(0))  # type: ignore[arg-type]

    assert global_draws() == expected


def test_generator_goes_on_behind_the_draws(augmentation: DeitAugmentation, photo: Image.Image):
    generator = np.random.default_rng(0)

    first, second = augmentation(photo, generator), augmentation(photo, generator)

    assert not torch.equal(first, second)


def test_photos_are_normalised_cropped_and_mirrored_half_of_the_time(
    augmentation: DeitAugmentation, photo: Image.Image
):
    images = draws(augmentation, photo, 200)

    assert images.shape == (200, 3, 32, 32)
    pixels = images * torch.tensor(NORMALISATION.std).view(3, 1, 1) + torch.tensor(NORMALISATION.mean).view(3, 1, 1)
    # Noise of erased rectangles is the only thing that leaves the range of a photo.
    erased = ((pixels < -0.01) | (pixels > 1.01)).flatten(1).any(1)
    assert erased.float().mean().item() == pytest.approx(0.25, abs=0.08)
    plain = pixels[~erased]
    falls = plain[:, 0, :, 0].mean(1) > plain[:, 0, :, -1].mean(1)
    assert falls.float().mean().item() == pytest.approx(0.5, abs=0.12)
    # A part of the photo has a part of its colours.
    ranges = plain[:, 1].flatten(1).amax(1) - plain[:, 1].flatten(1).amin(1)
    assert ranges.min() < 0.5 < ranges.max()
