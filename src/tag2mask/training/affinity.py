"""Affinities between near pixels, learned from confident labels (AffinityNet, PSA).

Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised Semantic
Segmentation", CVPR 2018, 1803.10464. Pixels of one class should be alike, pixels of two classes should not. The
boundaries of IRN learn by the same losses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tag2mask.data.batch import LabelledBatch
from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.neighbours import Offset, half_plane_offsets
from tag2mask.networks.affinitynet import AffinityNet
from tag2mask.training.learner import Learner
from tag2mask.training.processes import mean_over_processes

# Keeps logarithms finite; released code.
_SMALL = 1e-5


class PairLosses(NamedTuple):
    """Mean losses of the pairs of near cells, by what their labels are."""

    background: Tensor
    """Loss of pairs of background cells: -log a."""
    foreground: Tensor
    """Loss of pairs of cells of one other class: -log a."""
    different: Tensor
    """Loss of pairs of cells of different classes: -log(1 - a)."""

    def total(self) -> Tensor:
        """Mean of the loss of like pairs and that of unlike ones, the former the mean of background and foreground."""
        like = (self.background + self.foreground) / 2
        return (like + self.different) / 2

    def logged(self) -> dict[str, Tensor]:
        """The terms by their logged names."""
        return {name: loss.detach() for name, loss in self._asdict().items()}


Affinity = Callable[[Tensor, Offset, int], Tensor]
"""From maps (B, ..., h, w), an offset and a radius: affinities (B, n, m) in [0, 1] of the cells with that offset."""


def pair_losses(maps: Tensor, label_maps: Tensor, *, affinity: Affinity, radius: int) -> PairLosses:
    """Losses of all pairs of cells nearer than `radius`, both of known label, over the batches of all processes.

    Computed offset by offset, and again for the gradient, so that the affinities of all offsets are never in memory.

    Args:
        maps: (B, ..., h, w), from which `affinity` makes affinities.
        label_maps: class ids (B, h, w) of the cells, 255 = not known.
        affinity: gives the affinities of all pairs with one offset.
        radius: radius of the half-plane of offsets. As in the released codes, a pair counts if its first cell has
            all of them in the grid.
    """
    offsets = half_plane_offsets(radius)
    num_pairs = torch.stack([_kinds(label_maps, offset, radius).sum((1, 2, 3)) for offset in offsets]).sum(0).float()
    sums = torch.zeros_like(num_pairs)
    for offset in offsets:
        sums = sums + checkpoint(
            _loss_sums, maps, label_maps, affinity, offset, radius, use_reentrant=False, preserve_rng_state=False
        )
    return PairLosses(*(sums / (mean_over_processes(num_pairs) + _SMALL)).unbind())


def cells_at(maps: Tensor, offset: Offset, radius: int) -> Tensor:
    """What maps (..., h, w) have at `offset` from each cell with all half-plane neighbours in the grid.

    Returns:
        A view (..., h - radius + 1, w - 2 * radius + 2).
    """
    margin = radius - 1
    (row, column), (height, width) = offset, maps.shape[-2:]
    return maps[..., row : row + height - margin, margin + column : column + width - margin]


def pair_affinities(features: Tensor, radius: int) -> Tensor:
    """exp(-|f - f'|) of the features of pairs, absolute differences averaged over channels.

    Args:
        features: (B, C, h, w).
        radius: first cells are those with all neighbours nearer than this in the grid.

    Returns:
        (B, D, h - radius + 1, w - 2 * radius + 2) in [0, 1] for the D offsets of the half-plane.
    """
    distances: Tensor = _FeatureDistances.apply(features, radius)
    return torch.exp(-distances)


def affinity_of_offset(affinities: Tensor, offset: Offset, radius: int) -> Tensor:
    """One offset's part (B, n, m) of what `pair_affinities` gives."""
    return affinities[:, half_plane_offsets(radius).index(offset)]


def grid_labels(label_maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Label maps (B, S, S) at the centres of the cells of a grid: uint8 (B, `size`)."""
    return F.interpolate(label_maps[:, None].to(torch.uint8), size=size, mode="nearest-exact")[:, 0]


class PixelAffinities:
    """A network learns features that are alike where classes are the same."""

    def __init__(self, network: Learner[AffinityNet], radius: int) -> None:
        self.learners = {"affinities": network}
        self._network = network
        self._radius = radius

    def training_step(self, batch: LabelledBatch, epoch: int) -> dict[str, Tensor]:
        """Update the network on one batch."""
        features = self._network(batch.images).float()
        labels = grid_labels(batch.label_maps, features.shape[2:])
        affinities = pair_affinities(features, self._radius)
        losses = pair_losses(affinities, labels, affinity=affinity_of_offset, radius=self._radius)
        self._network.step(losses.total())
        return losses.logged()


class _FeatureDistances(torch.autograd.Function):
    """Mean absolute differences (B, D, n, m) of features, from shifted views of one photo and offset at a time.

    The differences of all channels take hundreds of times the memory of their means, so they are made again for the
    gradient; those of one photo stay in the processor's cache.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, radius: int) -> Tensor:
        """Distances of all offsets."""
        ctx.save_for_backward(features)
        ctx.radius = radius
        return torch.stack([_distances(photo, radius) for photo in features])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient of the features, those of several pairs added."""
        (features,) = ctx.saved_tensors
        result, radius = torch.zeros_like(features), ctx.radius
        for photo, of_photo, of_distances in zip(features, result, gradient / features.shape[1], strict=True):
            here, of_here = cells_at(photo, (0, 0), radius), cells_at(of_photo, (0, 0), radius)
            part = torch.empty_like(here)
            for offset, of_distance in zip(half_plane_offsets(radius), of_distances, strict=True):
                torch.sub(cells_at(photo, offset, radius), here, out=part).sign_().mul_(of_distance)
                cells_at(of_photo, offset, radius).add_(part)
                of_here.sub_(part)
        return result, None


def _distances(features: Tensor, radius: int) -> Tensor:
    """Mean absolute differences (D, n, m) of one photo's features (C, h, w)."""
    here, offsets = cells_at(features, (0, 0), radius), half_plane_offsets(radius)
    # One for all offsets: to get memory anew takes longer than to subtract.
    difference = torch.empty_like(here)
    return torch.stack(
        [torch.sub(cells_at(features, offset, radius), here, out=difference).abs_().mean(0) for offset in offsets]
    )


def _loss_sums(maps: Tensor, label_maps: Tensor, affinity: Affinity, offset: Offset, radius: int) -> Tensor:
    """Losses of all pairs with one offset, summed by kind: (3,)."""
    affinities = affinity(maps, offset, radius)
    kinds = _kinds(label_maps, offset, radius)
    agreement = torch.where(kinds[-1], 1 - affinities, affinities)
    losses = -torch.log(agreement + _SMALL)
    return torch.stack([torch.where(kind, losses, 0).sum() for kind in kinds])


def _kinds(label_maps: Tensor, offset: Offset, radius: int) -> Tensor:
    """Masks (3, B, n, m) of pairs of background, of one other class, of different classes; unlabelled cells in none."""
    first, second = cells_at(label_maps, (0, 0), radius), cells_at(label_maps, offset, radius)
    known = (first != IGNORE) & (second != IGNORE)
    same = known & (first == second)
    background = same & (first == BACKGROUND)
    return torch.stack([background, same & ~background, known & ~same])
