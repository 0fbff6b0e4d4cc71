"""Class activation maps of photos at several scales and mirrored, summed and normalised."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tag2mask.config import CamSettings
from tag2mask.data.sizes import Size, scaled_size
from tag2mask.data.transforms import normalise_pixels
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.grids import resize
from tag2mask.networks.normalisation import normalise_cams


class ScaleOutput(NamedTuple):
    """What a classifier gives for B photos of one size at one scale: plain, then their mirror images."""

    maps: Tensor
    """Raw maps (2, B, C, h, w); those of the mirror images are not turned back."""
    logits: Tensor
    """Class logits (2, B, C)."""


def inference_sizes(size: Size, settings: CamSettings) -> list[Size]:
    """Size (width, height) of a photo at every scale; halves are rounded to even, as the released code does."""
    return [inference_size(size, settings.long_side, scale) for scale in settings.scales]


def inference_size(size: Size, long_side: int, scale: float = 1.0) -> Size:
    """Size (width, height) of a photo at one scale, its long side at scale 1 being `long_side`, 0 for its own."""
    return scaled_size(size, long_side / max(size) if long_side else 1.0, scale)


def batches_of_one_size(sizes: Sequence[Size], settings: CamSettings) -> Iterator[list[int]]:
    """Indices of photos of the same size, as many together as `batch_pixels` allows at the largest scale."""
    order = sorted(range(len(sizes)), key=lambda index: sizes[index])
    for size, group in groupby(order, key=lambda index: sizes[index]):
        largest = max(width * height for width, height in inference_sizes(size, settings))
        # Each photo goes through the network with its mirror image.
        num_photos = max(1, settings.batch_pixels // (2 * largest))
        indices = list(group)
        for start in range(0, len(indices), num_photos):
            yield indices[start : start + num_photos]


def scaled_pixels(photos: Sequence[Image.Image], settings: CamSettings) -> list[Tensor]:
    """Photos at every scale (bicubic).

    Args:
        photos: B of them, RGB, all of the same size.
        settings: scales.

    Returns:
        (B, h, w, 3) uint8, one per scale.
    """
    # Stacked by NumPy, for this is done in a thread, where torch would start further ones of its own.
    return [
        torch.from_numpy(np.stack([np.asarray(photo.resize(size, Image.Resampling.BICUBIC)) for photo in photos]))
        for size in inference_sizes(photos[0].size, settings)
    ]


@torch.inference_mode()
def raw_maps(classifier: PhotoClassifier, scaled: Sequence[Tensor]) -> list[ScaleOutput]:
    """Maps of photos of one size at every scale, plain and mirrored.

    Args:
        classifier: in evaluation mode.
        scaled: what `scaled_pixels` gives.

    Returns:
        One output per scale, in float32.
    """
    device = next(classifier.parameters()).device
    # Before the first pass: what is brought to a GPU waits for all that it has been given to do.
    images_of_scales = [normalise_pixels(pixels.to(device), classifier.backbone.normalisation) for pixels in scaled]
    outputs = []
    for images in images_of_scales:
        seeds = classifier.seed_maps(torch.cat([images, images.flip(3)]))
        both = (part.float().reshape(2, len(images), *part.shape[1:]) for part in (seeds.cams, seeds.logits))
        outputs.append(ScaleOutput(*both))
    return outputs


def mean_scores(outputs: Sequence[ScaleOutput]) -> Tensor:
    """Classification score of each photo and class, averaged over scales and mirror images.

    Args:
        outputs: what `raw_maps` gives.

    Returns:
        (B, C) in [0, 1].
    """
    return torch.stack([scale.logits.sigmoid().mean(0) for scale in outputs]).mean(0)


def multiscale_cams(maps: Sequence[Tensor], height: int, width: int) -> Tensor:
    """One photo's maps: each resized to the photo, its positive part, summed over scales and mirror images, normalised.

    Args:
        maps: for every scale (2, K, h, w): raw maps of some classes, plain and mirrored.
        height: of the photo.
        width: of the photo.

    Returns:
        (K, H, W) in [0, 1].
    """
    total = maps[0].new_zeros(maps[0].shape[1], height, width)
    # No class, as for a photo without tags: torch resizes nothing that has no channel.
    if len(total) == 0:
        return total
    for scale in maps:
        plain, mirrored = resize(scale, (height, width)).relu()
        total += plain + mirrored.flip(2)
    return normalise_cams(total[None])[0]
