"""Photos, label maps and activation maps at another size."""

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


def resize_maps(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear interpolation with half-pixel centres, clamped at the border, without smoothing when it shrinks.

    Sizes are matched corner to corner of the border pixels' areas, so shrinking and enlarging keep a linear map in its
    place: what torch calls `align_corners=False`.

    Args:
        maps: (K, h, w).
        height: rows wanted.
        width: columns wanted.

    Returns:
        (K, height, width).
    """
    left, right, share = _neighbours(width, maps.shape[2])
    columns = _blend(maps.take(left, axis=2), maps.take(right, axis=2), share)
    top, bottom, share = _neighbours(height, maps.shape[1])
    return _blend(columns.take(top, axis=1), columns.take(bottom, axis=1), share[:, None])


def _neighbours(size: int, from_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `size` centres: the two of `from_size` samples beside it and the second one's share."""
    centres = ((np.arange(size) + 0.5) * (from_size / size) - 0.5).clip(0, from_size - 1)
    first = centres.astype(np.intp)
    return first, np.minimum(first + 1, from_size - 1), (centres - first).astype(np.float32)


def _blend(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """First + (second - first) * share, in the memory of both."""
    second -= first
    second *= share
    first += second
    return first
