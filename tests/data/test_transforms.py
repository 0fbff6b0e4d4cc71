from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.config import DataSettings
from tag2mask.data.transforms import (
    Normalisation,
    augment,
    augment_both,
    normalise,
    normalise_pixels,
    photo_pixels,
    random_crop,
    random_crop_both,
)

NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(generator().integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_normalised_pixel_by_hand():
    image = Image.new("RGB", (1, 1), (255, 0, 51))

    normalised = normalise(image, NORMALISATION)

    assert normalised.dtype == torch.float32
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert normalised.flatten().tolist() == pytest.approx(expected)


def test_normalised_photo_has_rows_and_columns_in_place():
    image = photo(3, 2)

    normalised = normalise(image, Normalisation((0, 0, 0), (1, 1, 1)))

    assert normalised.shape == (3, 2, 3)
    assert normalised[:, 1, 2].tolist() == pytest.approx([value / 255 for value in image.getpixel((2, 1))])


@pytest.mark.parametrize(
    "normalisation",
    [NORMALISATION, Normalisation((127 / 255,) * 3, (128 / 255,) * 3), Normalisation((0.5,) * 3, (0.5,) * 3)],
)
def test_normalised_levels_are_those_of_numpy_to_the_digit(normalisation: Normalisation):
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)

    normalised = normalise(Image.fromarray(levels), normalisation)

    mean, std = np.float32(normalisation.mean), np.float32(normalisation.std)
    expected = (levels.astype(np.float32) / np.float32(255) - mean) / std
    assert np.array_equal(normalised.numpy(), expected.transpose(2, 0, 1))


def test_photos_of_a_batch_are_normalised_as_each_alone():
    photos = [photo(3, 2), photo(3, 2).transpose(Image.Transpose.ROTATE_180)]

    together = normalise_pixels(torch.stack([photo_pixels(each) for each in photos]), NORMALISATION)

    assert together.is_contiguous()
    assert torch.equal(together, torch.stack([normalise(each, NORMALISATION) for each in photos]))


def test_normalisation_leaves_the_photo_alone():
    image = photo(3, 2)
    before = image.tobytes()

    normalise(image, NORMALISATION)

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


def test_photo_and_label_map_are_resized_and_mirrored_alike():
    # Large blocks, whose colour tells the label wherever bicubic interpolation does not mix them.
    label_map = np.kron(np.array([[0, 7], [255, 3]], np.uint8), np.ones((20, 30), np.uint8))
    image = Image.fromarray(np.repeat(label_map[..., None], 3, axis=2))

    ratios, mirrored = [], 0
    for seed in range(40):
        resized, labels = augment_both(image, label_map, (0.5, 2.0), generator(seed))
        assert labels.shape == (resized.height, resized.width)
        assert set(np.unique(labels)) == {0, 3, 7, 255}
        same = np.asarray(resized)[..., 0] == labels
        assert same.mean() > 0.8
        ratios.append(resized.width / 60)
        mirrored += labels[0, 0] == 7
    assert 0.5 <= min(ratios) < 0.65
    assert 1.8 < max(ratios) <= 2.0
    assert 10 < mirrored < 30


def test_label_map_keeps_its_ids_at_scale_1():
    label_map = generator().integers(0, 256, (6, 8), dtype=np.uint8)

    kept = {augment_both(photo(8, 6), label_map, (1.0, 1.0), generator(seed))[1].tobytes() for seed in range(20)}

    assert kept == {label_map.tobytes(), label_map[:, ::-1].tobytes()}


@pytest.mark.parametrize("size", [(5, 7), (2, 3), (2, 9)])
def test_image_and_label_map_are_cropped_at_the_same_place(size: tuple[int, int]):
    label_map = np.arange(1, 1 + size[0] * size[1], dtype=np.uint8).reshape(size)
    image = torch.from_numpy(label_map.astype(np.float32)).expand(3, *size)

    for seed in range(20):
        crop = random_crop_both(image, label_map, 4, generator(seed))
        assert crop.label_map.shape == (4, 4)
        padded = crop.label_map == 255
        assert torch.equal(crop.image == 0, padded.expand(3, 4, 4))
        assert torch.equal(crop.image[0][~padded].long(), crop.label_map[~padded])
        assert torch.equal(crop.image, random_crop(image, 4, generator(seed)))
