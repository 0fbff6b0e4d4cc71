"""Photos and label maps at another size."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]
"""Width and height."""


def scaled_size(size: Size, *factors: float) -> Size:
    """Width and height times one factor after the other, rounded, halves to even, and at least one pixel."""
    # The order decides which sides are a half.
    width, height = (math.prod((side, *factors)) for side in size)
    return max(1, round(width)), max(1, round(height))


def reduced_size(size: Size, long_side: int) -> Size:
    """Width and height of which the longer is at most `long_side`, 0 for no limit; a smaller one stays as it is."""
    return scaled_size(size, min(1.0, long_side / max(size))) if long_side else size


def reduce_photo(photo: Image.Image, long_side: int) -> Image.Image:
    """A photo brought down to `reduced_size` (bicubic)."""
    return photo.resize(reduced_size(photo.size, long_side), Image.Resampling.BICUBIC)


def resize_label_map(label_map: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Class ids (H, W) at another size: each pixel takes the id of the nearest."""
    return np.asarray(Image.fromarray(label_map).resize(size, Image.Resampling.NEAREST))
