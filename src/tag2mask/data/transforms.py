"""Photos and their label maps resized, mirrored and cropped at random, and normalised."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tag2mask.config import DataSettings
from tag2mask.data.classes import IGNORE
from tag2mask.data.sizes import resize_label_map, scaled_size

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """What brings photos in [0, 1] to what a network was pretrained on: minus `mean`, then divided by `std`."""

    mean: Channels
    std: Channels


@dataclass(frozen=True)
class FlipAugmentation:
    """A photo resized, mirrored half of the time and cropped to a square, all at random."""

    settings: DataSettings
    """Side of the crop and range of the resizing."""
    normalisation: Normalisation

    def __call__(self, photo: Image.Image, generator: np.random.Generator) -> Tensor:
        """The photo as (3, crop, crop), normalised."""
        image = normalise(augment(photo, self.settings, generator), self.normalisation)
        return random_crop(image, self.settings.crop, generator)


class LabelledImage(NamedTuple):
    """A training image with its label map."""

    image: Tensor
    """(3, S, S), normalised; 0 where padded."""
    label_map: Tensor
    """(S, S) int64 class ids; 255 where padded."""


class _Place(NamedTuple):
    """Rows and columns of an image, and those of the square crop that they become."""

    source: tuple[slice, slice]
    target: tuple[slice, slice]


def augment(photo: Image.Image, settings: DataSettings, generator: np.random.Generator) -> Image.Image:
    """Resize a photo at random (bicubic) and mirror it half of the time."""
    low, high = settings.resize_range
    drawn = generator.uniform(low, high)
    factor = drawn / max(photo.size) if settings.resize == "long_side" else drawn
    photo = photo.resize(scaled_size(photo.size, factor), Image.Resampling.BICUBIC)
    return _mirrored(photo) if generator.random() < 0.5 else photo


def augment_both(
    photo: Image.Image, label_map: NDArray[np.uint8], resize_range: tuple[float, float], generator: np.random.Generator
) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Resize a photo (bicubic) and its label map (nearest) by one random factor, and mirror both half of the time.

    Args:
        photo: RGB of H rows and W columns.
        label_map: its class ids (H, W).
        resize_range: of the factor, drawn uniformly.
        generator: of the draws.
    """
    size = scaled_size(photo.size, generator.uniform(*resize_range))
    photo = photo.resize(size, Image.Resampling.BICUBIC)
    label_map = resize_label_map(label_map, size)
    if generator.random() < 0.5:
        return _mirrored(photo), label_map[:, ::-1]
    return photo, label_map


def normalise(photo: Image.Image, normalisation: Normalisation) -> Tensor:
    """RGB photo to (3, H, W) float32: 0..1, then normalised."""
    return normalise_pixels(photo_pixels(photo), normalisation)


def photo_pixels(photo: Image.Image) -> Tensor:
    """RGB photo to (H, W, 3) uint8."""
    return torch.from_numpy(np.array(photo))


def normalise_pixels(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """What `normalise` gives for photos whose pixels are on a device already, a quarter as many bytes to bring there.

    Args:
        pixels: (..., H, W, 3) uint8.
        normalisation: what the network wants.

    Returns:
        (..., 3, H, W) float32.
    """
    images = pixels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format)
    # Tensors, for a GPU divides by a plain number as a product with its reciprocal, to other digits.
    images /= images.new_tensor(255)
    images -= images.new_tensor(normalisation.mean)[:, None, None]
    images /= images.new_tensor(normalisation.std)[:, None, None]
    return images


def random_crop(image: Tensor, side: int, generator: np.random.Generator) -> Tensor:
    """Square crop at a random place; an image smaller than it is placed at random on zeros.

    Args:
        image: (3, H, W), normalised.
        side: of the crop, in pixels.
        generator: of the place.

    Returns:
        (3, side, side).
    """
    return _cut(image, _random_place(image, side, generator), side, padding=0)


def random_crop_both(
    image: Tensor, label_map: NDArray[np.uint8], side: int, generator: np.random.Generator
) -> LabelledImage:
    """Square crop of an image and its label map at the same random place, padded with 0 and 255.

    Args:
        image: (3, H, W), normalised.
        label_map: class ids (H, W).
        side: of the crop, in pixels.
        generator: of the place.
    """
    place = _random_place(image, side, generator)
    labels = torch.from_numpy(label_map.astype(np.int64))
    return LabelledImage(_cut(image, place, side, padding=0), _cut(labels, place, side, padding=IGNORE))


def _random_place(image: Tensor, side: int, generator: np.random.Generator) -> _Place:
    source, target = [], []
    for length in image.shape[-2:]:
        size = min(length, side)
        start = int(generator.integers(length - size + 1))
        place = int(generator.integers(side - size + 1))
        source.append(slice(start, start + size))
        target.append(slice(place, place + size))
    return _Place((source[0], source[1]), (target[0], target[1]))


def _cut(image: Tensor, place: _Place, side: int, *, padding: int) -> Tensor:
    crop = image.new_full((*image.shape[:-2], side, side), padding)
    crop[(..., *place.target)] = image[(..., *place.source)]
    return crop


def _mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
