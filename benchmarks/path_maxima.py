"""Losses of the boundary network by running maxima against a gather through tables of paths, forward and backward.

    python benchmarks/path_maxima.py [--batch 32] [--gather-batch 2] [--side 128] [--radius 10]

The gather keeps the affinities of all offsets, as the released code of IRN does. It is compared at a smaller batch, for
its memory grows by more than 100 MB with every photo. Seconds are those of the processor; memory is the largest size of
the process so far less its size before the step, which is at least what the step takes (Linux).
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tag2mask.neighbours import half_plane_offsets, path_cells
from tag2mask.training.affinity import PairLosses, pair_losses
from tag2mask.training.irn import path_affinity

Losses = Callable[[Tensor, Tensor], PairLosses]


def drawn_batch(batch: int, side: int) -> tuple[Tensor, Tensor]:
    """Edges (B, h, w), and label maps of large blocks, a tenth of them unlabelled."""
    draw = torch.Generator().manual_seed(0)
    blocks = torch.tensor([0, 0, 0, 0, 0, 3, 3, 3, 9, 255])[torch.randint(10, (batch, 8, 8), generator=draw)]
    labels = blocks.repeat_interleave(side // 8, 1).repeat_interleave(side // 8, 2).to(torch.uint8)
    return torch.rand(labels.shape, generator=draw).pow(4).requires_grad_(), labels


def gather_losses(side: int, radius: int) -> Losses:
    """The same losses through index tables, made once."""
    margin = radius - 1
    rows, columns = torch.meshgrid(torch.arange(side - margin), torch.arange(margin, side - margin), indexing="ij")
    first = (rows * side + columns).flatten()
    offsets = half_plane_offsets(radius)
    tables = [torch.stack([first + row * side + column for row, column in path_cells(offset)]) for offset in offsets]
    second = torch.stack([first + row * side + column for row, column in offsets])

    def losses(edges: Tensor, label_maps: Tensor) -> PairLosses:
        flat = edges.flatten(1)
        affinities = torch.stack([1 - flat[:, table].max(dim=1).values for table in tables], dim=1)
        one, other = label_maps.flatten(1)[:, None, first], label_maps.flatten(1)[:, second]
        known = (one != 255) & (other != 255)
        alike, unlike = -torch.log(affinities + 1e-5), -torch.log((1 - affinities) + 1e-5)
        kinds = [(known & (one == other) & (one == 0), alike), (known & (one == other) & (one > 0), alike)]
        kinds.append((known & (one != other), unlike))
        return PairLosses(*((kind * loss).sum() / (kind.sum() + 1e-5) for kind, loss in kinds))

    return losses


def measured(losses: Losses, batch: int, side: int) -> tuple[float, float, Tensor, Tensor]:
    """Seconds, megabytes, losses and gradient of one step."""
    edges, labels = drawn_batch(batch, side)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    start = time.process_time()
    found = losses(edges, labels)
    found.total().backward()
    seconds = time.process_time() - start
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6
    assert edges.grad is not None
    return seconds, megabytes, torch.stack(found).detach(), edges.grad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--gather-batch", type=int, default=2)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--radius", type=int, default=10)
    arguments = parser.parse_args()
    side, small = arguments.side, arguments.gather_batch

    def ours(edges: Tensor, label_maps: Tensor) -> PairLosses:
        return pair_losses(edges, label_maps, affinity=path_affinity, radius=arguments.radius)

    measured(ours, 1, 32)
    same_seconds, same_memory, losses, gradient = measured(ours, small, side)
    seconds, memory, _, _ = measured(ours, arguments.batch, side)
    plain = gather_losses(side, arguments.radius)
    plain_seconds, plain_memory, plain_losses, plain_gradient = measured(plain, small, side)

    torch.testing.assert_close(losses, plain_losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-4, atol=1e-5 * plain_gradient.abs().max().item())
    print(f"grid {side}x{side}, radius {arguments.radius}, {len(half_plane_offsets(arguments.radius))} offsets")
    print(f"batch {small}: gather {plain_seconds:.2f} s, {plain_memory:.0f} MB; ", end="")
    print(f"running maxima {same_seconds:.2f} s, {same_memory:.0f} MB; equal losses and gradients")
    print(f"ratio {plain_seconds / same_seconds:.1f}")
    print(f"batch {arguments.batch}: running maxima {seconds:.2f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
