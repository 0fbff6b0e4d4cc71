"""Class boundaries, learned from affinities between near pixels (the edge branch of IRN).

Ahn, Cho and Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR 2019,
1904.05044. Two pixels are of one class unless a boundary lies between them: a = 1 - max edge on the path. The losses
are those of AffinityNet.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tag2mask.data.batch import LabelledBatch
from tag2mask.neighbours import Offset, path_cells
from tag2mask.networks.irnet import BoundaryNet
from tag2mask.training.affinity import cells_at, grid_labels, pair_losses
from tag2mask.training.learner import Learner


def path_affinity(edges: Tensor, offset: Offset, radius: int) -> Tensor:
    """1 - the highest edge on the path between cells.

    Args:
        edges: (B, h, w) in [0, 1].
        offset: offset of the second cell from the first.
        radius: first cells are those with all neighbours nearer than this in the grid.

    Returns:
        (B, h - radius + 1, w - 2 * radius + 2) in [0, 1].
    """
    affinity: Tensor = 1 - _PathMaximum.apply(edges, offset, radius)
    return affinity


class Boundaries:
    """A network learns where classes end."""

    def __init__(self, network: Learner[BoundaryNet], radius: int) -> None:
        self.learners = {"boundaries": network}
        self._network = network
        self._radius = radius

    def training_step(self, batch: LabelledBatch, epoch: int) -> dict[str, Tensor]:
        """Update the network on one batch."""
        edges = self._network(batch.images)[:, 0].float().sigmoid()
        labels = grid_labels(batch.label_maps, edges.shape[1:])
        losses = pair_losses(edges, labels, affinity=path_affinity, radius=self._radius)
        self._network.step(losses.total())
        return losses.logged()


class _PathMaximum(torch.autograd.Function):
    """Running maximum over shifted views; the gradient goes to the first cell of the path that has it.

    None of the intermediate maxima, which autograd would keep, is kept.
    """

    @staticmethod
    def forward(ctx: Any, edges: Tensor, offset: Offset, radius: int) -> Tensor:
        """Maximum (B, n, m) on the paths of one offset."""
        first, *others = path_cells(offset)
        maximum = cells_at(edges, first, radius).clone(memory_format=torch.contiguous_format)
        for cell in others:
            torch.maximum(maximum, cells_at(edges, cell, radius), out=maximum)
        ctx.save_for_backward(edges, maximum)
        ctx.offset, ctx.radius = offset, radius
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of the edges, those of several paths added."""
        edges, maximum = ctx.saved_tensors
        gradient_of_edges = torch.zeros_like(edges)
        # Comparisons into a float map, for products of floats and booleans are several times slower.
        passed, left = torch.empty_like(maximum), gradient.clone()
        for cell in path_cells(ctx.offset):
            torch.eq(cells_at(edges, cell, ctx.radius), maximum, out=passed)
            passed *= left
            left -= passed
            cells_at(gradient_of_edges, cell, ctx.radius).add_(passed)
        return gradient_of_edges, None, None
