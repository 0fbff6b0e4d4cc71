"""Segmentation: a network learns the label of every pixel from label maps, true or made from tags.

The balanced loss is what weakly supervised work trains DeepLab v2 with: without it a photo's background, mostly the
larger and more confident part, would outweigh its classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.config import SegmenterSettings
from tag2mask.data.batch import LabelledBatch
from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.networks.deeplab import DeepLab
from tag2mask.networks.grids import resize
from tag2mask.training.learner import Learner
from tag2mask.training.processes import mean_over_processes


def cross_entropy(logits: Tensor, label_maps: Tensor, counts: Tensor) -> Tensor:
    """Mean over all labelled pixels; 0 where none is labelled.

    Args:
        logits: (B, C + 1, h, w), interpolated to the label maps' size.
        label_maps: (B, H, W) class ids, 255 where nothing is to be learned.
        counts: (2,) pixels of background and foreground that the mean is over, from `count_pixels`.
    """
    background, foreground = _summed_losses(logits, label_maps)
    mean: Tensor = (background + foreground) / _divisor(counts.sum())
    return mean


def balanced_cross_entropy(logits: Tensor, label_maps: Tensor, counts: Tensor) -> Tensor:
    """Average of the mean over background pixels and that over foreground pixels; a mean without pixels is 0.

    Args:
        logits: (B, C + 1, h, w), interpolated to the label maps' size.
        label_maps: (B, H, W) class ids, 255 where nothing is to be learned.
        counts: (2,) pixels of background and foreground that the means are over, from `count_pixels`.
    """
    background, foreground = _summed_losses(logits, label_maps)
    halves: Tensor = torch.stack([background, foreground]) / _divisor(counts) / 2
    return halves.sum()


def count_pixels(label_maps: Tensor) -> Tensor:
    """Pixels of background and of foreground, (2,) float32, in label maps (B, H, W) with 255 for neither."""
    background = label_maps == BACKGROUND
    foreground = (label_maps != BACKGROUND) & (label_maps != IGNORE)
    return torch.stack([background.sum(), foreground.sum()]).float()


class Segmentation:
    """Pixel-wise classification of photos."""

    def __init__(self, segmenter: Learner[DeepLab], settings: SegmenterSettings) -> None:
        self.learners = {"segmenter": segmenter}
        self._segmenter = segmenter
        self._loss = balanced_cross_entropy if settings.loss == "balanced" else cross_entropy

    def training_step(self, batch: LabelledBatch, epoch: int) -> dict[str, Tensor]:
        """Update the segmenter on one batch."""
        logits = self._segmenter(batch.images)
        # Over all processes, whose gradients are averaged: so each labelled pixel counts the same wherever it is.
        counts = mean_over_processes(count_pixels(batch.label_maps))
        loss = self._loss(logits, batch.label_maps, counts)
        self._segmenter.step(loss)
        return {"segmentation": loss.detach()}


def _summed_losses(logits: Tensor, label_maps: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the pixels of the background, and over those of the foreground."""
    logits = resize(logits.float(), label_maps.shape[1:])
    losses = F.cross_entropy(logits, label_maps, ignore_index=IGNORE, reduction="none")
    background = label_maps == BACKGROUND
    return torch.where(background, losses, 0).sum(), torch.where(background, 0, losses).sum()


def _divisor(counts: Tensor) -> Tensor:
    """Counts to divide by, with 1 for 0; not clamped to 1, as a mean over processes may well be a half."""
    return torch.where(counts > 0, counts, 1)
