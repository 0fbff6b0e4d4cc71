"""Random resizing, mirroring and cropping of training photos, and normalisation."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tag2mask.config import DataSettings

Channels = tuple[float, float, float]


def augment(photo: Image.Image, settings: DataSettings, generator: np.random.Generator) -> Image.Image:
    """Resize a photo at random (bicubic) and mirror it half of the time."""
    low, high = settings.resize_range
    drawn = generator.uniform(low, high)
    factor = drawn / max(photo.size) if settings.resize == "long_side" else drawn
    width, height = (max(1, round(side * factor)) for side in photo.size)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    return photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else photo


def normalise(photo: Image.Image, mean: Channels, std: Channels) -> Tensor:
    """RGB photo to (3, H, W) float32: 0..1, then minus `mean` and divided by `std`."""
    pixels = np.asarray(photo, dtype=np.float32) / np.float32(255)
    pixels -= np.asarray(mean, dtype=np.float32)
    pixels /= np.asarray(std, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def random_crop(image: Tensor, side: int, generator: np.random.Generator) -> Tensor:
    """Square crop at a random place; an image smaller than it is placed at random on zeros.

    Args:
        image: (3, H, W), normalised.
        side: of the crop, in pixels.
        generator: of the place.

    Returns:
        (3, side, side).
    """
    crop = image.new_zeros(3, side, side)
    source, target = [], []
    for length in image.shape[1:]:
        size = min(length, side)
        start = int(generator.integers(length - size + 1))
        place = int(generator.integers(side - size + 1))
        source.append(slice(start, start + size))
        target.append(slice(place, place + size))
    crop[:, target[0], target[1]] = image[:, source[0], source[1]]
    return crop
