"""Maps at other sizes, and the grid of cells on which a network that learns from pairs of cells gives its maps."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from tag2mask.config import RefinementSettings


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, D, h, w) at `size`, rows and columns: bilinear, with half-pixel centres, without smoothing."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def check_pairs(settings: RefinementSettings, stride: int) -> None:
    """Refuse settings that leave no pairs of cells of `stride` pixels to learn from; for the border."""
    if settings.radius == 1:
        raise ValueError("refinement.radius is 1, nearer than which no two cells are: expected at least 2")
    needed = 2 * settings.radius - 1
    if math.ceil(settings.crop / stride) < needed:
        raise ValueError(
            f"refinement.crop is {settings.crop}, {math.ceil(settings.crop / stride)} cells of {stride} pixels, but "
            f"refinement.radius {settings.radius} needs {needed} cells: take a crop of at least {needed * stride}"
        )


def grid_size(images: Tensor, stride: int) -> tuple[int, int]:
    """Rows and columns of cells of `stride` pixels that cover images (B, 3, H, W)."""
    return math.ceil(images.shape[2] / stride), math.ceil(images.shape[3] / stride)


def resize_to_grid(maps: Tensor, images: Tensor, stride: int) -> Tensor:
    """Maps (B, D, h, w) that cover images (B, 3, H, W), resized to the grid of cells of `stride` pixels."""
    size = grid_size(images, stride)
    return maps if maps.shape[2:] == size else resize(maps, size)


def shrink(feature: Tensor, stride: int, grid_stride: int) -> Tensor:
    """A feature (B, D, h, w) finer than the grid averaged over the grid's cells; a coarser one as it is."""
    factor = grid_stride // stride
    return F.avg_pool2d(feature, factor, ceil_mode=True) if factor > 1 else feature


def enlarge(feature: Tensor, stride: int, grid_stride: int, *, size: tuple[int, int]) -> Tensor:
    """A feature (B, D, h, w) coarser than the grid interpolated; all are cut to the grid's `size`.

    By the factor of the strides, not to the size: so every cell stays above its pixels, whatever the image's size.
    """
    factor = stride / grid_stride
    if factor > 1:
        feature = F.interpolate(feature, scale_factor=factor, mode="bilinear", align_corners=False)
    return feature[:, :, : size[0], : size[1]]
