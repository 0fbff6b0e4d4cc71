from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.config import DataSettings
from tag2mask.data.transforms import augment, normalise, random_crop

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(generator().integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_normalised_pixel_by_hand():
    image = Image.new("RGB", (1, 1), (255, 0, 51))

    normalised = normalise(image, MEAN, STD)

    assert normalised.dtype == torch.float32
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert normalised.flatten().tolist() == pytest.approx(expected)


def test_normalised_photo_has_rows_and_columns_in_place():
    image = photo(3, 2)

    normalised = normalise(image, (0, 0, 0), (1, 1, 1))

    assert normalised.shape == (3, 2, 3)
    assert normalised[:, 1, 2].tolist() == pytest.approx([value / 255 for value in image.getpixel((2, 1))])


def test_normalisation_leaves_the_photo_alone():
    image = photo(3, 2)
    before = image.tobytes()

    normalise(image, MEAN, STD)

    assert image.tobytes() == before


@pytest.mark.parametrize("size", [(60, 40), (40, 60)])
def test_long_side_is_drawn_from_its_range_and_the_shape_kept(size: tuple[int, int]):
    settings = DataSettings(resize="long_side", resize_range=(80, 120))

    sizes = [augment(photo(*size), settings, generator(seed)).size for seed in range(60)]

    long_sides = [max(each) for each in sizes]
    assert 80 <= min(long_sides) < 86
    assert 114 < max(long_sides) <= 120
    # Each side is rounded.
    assert all(min(each) == pytest.approx(max(each) * 2 / 3, abs=0.84) for each in sizes)
    assert all((each[0] > each[1]) == (size[0] > size[1]) for each in sizes)


def test_scale_is_a_factor_on_the_photo_s_own_size():
    settings = DataSettings(resize="scale", resize_range=(0.5, 1.3))

    small = [augment(photo(20, 10), settings, generator(seed)).size for seed in range(40)]
    large = [augment(photo(60, 30), settings, generator(seed)).size for seed in range(40)]

    assert all(10 <= width <= 26 for width, _ in small)
    assert [round(width / 3) for width, _ in large] == pytest.approx([width for width, _ in small], abs=1)
    assert len(set(small)) > 5


def test_half_of_the_photos_are_mirrored():
    settings = DataSettings(resize="scale", resize_range=(1.0, 1.0))
    image = photo(8, 6)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    augmented = [augment(image, settings, generator(seed)).tobytes() for seed in range(200)]

    assert set(augmented) == {image.tobytes(), mirrored.tobytes()}
    assert 70 < augmented.count(mirrored.tobytes()) < 130


def test_augmentation_is_a_function_of_the_generator():
    settings = DataSettings(resize_range=(20, 40))

    first, again, other = (augment(photo(30, 20), settings, generator(seed)) for seed in (1, 1, 2))

    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_crop_of_a_large_image_is_a_part_of_it_at_any_place():
    image = torch.arange(5 * 7.0).view(1, 5, 7).expand(3, 5, 7)

    places = set()
    for seed in range(200):
        crop = random_crop(image, 4, generator(seed))
        row, column = divmod(int(crop[0, 0, 0]), 7)
        assert torch.equal(crop, image[:, row : row + 4, column : column + 4])
        places.add((row, column))

    assert places == {(row, column) for row in range(2) for column in range(4)}


def test_small_image_lies_whole_on_zeros_at_any_place():
    image = 1 + torch.arange(6.0).view(1, 2, 3).expand(3, 2, 3)

    places = set()
    for seed in range(200):
        crop = random_crop(image, 4, generator(seed))
        row, column = (int(index) for index in (crop[0] == 1).nonzero()[0])
        assert torch.equal(crop[:, row : row + 2, column : column + 3], image)
        assert (crop != 0).sum() == 18
        places.add((row, column))

    assert places == {(row, column) for row in range(3) for column in range(2)}


def test_image_that_is_small_in_one_direction_is_cut_in_the_other():
    image = torch.ones(3, 2, 9)

    crop = random_crop(image, 4, generator())

    assert (crop != 0).sum() == 3 * 2 * 4


def test_image_of_the_crop_s_own_size_is_itself():
    image = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))

    assert torch.equal(random_crop(image, 4, generator()), image)


def test_thin_photo_keeps_a_pixel():
    settings = replace(DataSettings(), resize="long_side", resize_range=(10, 10))

    assert augment(photo(300, 2), settings, generator()).size == (10, 1)
