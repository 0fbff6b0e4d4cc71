"""Losses of AffinityNet's features by reused buffers against plain automatic differentiation, forward and backward.

    OMP_NUM_THREADS=1 python benchmarks/pair_affinities.py [--batch 8] [--channels 448] [--side 56] [--radius 5]

The plain version takes the differences of all channels offset by offset, and makes them again for the gradient. Seconds
are those of the processor, the better of two steps.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tag2mask.neighbours import Offset, half_plane_offsets
from tag2mask.training.affinity import PairLosses, affinity_of_offset, cells_at, pair_affinities, pair_losses


def drawn_batch(batch: int, channels: int, side: int) -> tuple[Tensor, Tensor]:
    """Features (B, C, h, w), laid out as networks give them, and label maps of blocks, a tenth of them unlabelled."""
    draw = torch.Generator().manual_seed(0)
    blocks = torch.tensor([0, 0, 0, 0, 0, 3, 3, 3, 9, 255])[torch.randint(10, (batch, 7, 7), generator=draw)]
    labels = blocks.repeat_interleave(side // 7, 1).repeat_interleave(side // 7, 2).to(torch.uint8)
    features = torch.randn(batch, channels, *labels.shape[1:], generator=draw) / 2
    return features.contiguous(memory_format=torch.channels_last).requires_grad_(), labels


def plain_affinity(features: Tensor, offset: Offset, radius: int) -> Tensor:
    """Affinities of one offset."""
    difference = cells_at(features, offset, radius) - cells_at(features, (0, 0), radius)
    return torch.exp(-difference.abs().mean(1))


def measured(losses: Callable[[Tensor], PairLosses], features: Tensor) -> tuple[float, Tensor, Tensor]:
    """Seconds, losses and gradient of the better of two steps."""
    seconds = []
    for _ in range(2):
        features.grad = None
        start = time.process_time()
        found = losses(features)
        found.total().backward()
        seconds.append(time.process_time() - start)
    assert features.grad is not None
    return min(seconds), torch.stack(found).detach(), features.grad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=448)
    parser.add_argument("--side", type=int, default=56)
    parser.add_argument("--radius", type=int, default=5)
    arguments = parser.parse_args()
    radius = arguments.radius
    features, labels = drawn_batch(arguments.batch, arguments.channels, arguments.side)

    def ours(features: Tensor) -> PairLosses:
        return pair_losses(pair_affinities(features, radius), labels, affinity=affinity_of_offset, radius=radius)

    def plain(features: Tensor) -> PairLosses:
        return pair_losses(features, labels, affinity=plain_affinity, radius=radius)

    seconds, losses, gradient = measured(ours, features)
    plain_seconds, plain_losses, plain_gradient = measured(plain, features)

    torch.testing.assert_close(losses, plain_losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-4, atol=1e-5 * plain_gradient.abs().max().item())
    print(f"{tuple(features.shape)}, radius {radius}, {len(half_plane_offsets(radius))} offsets")
    print(f"plain {plain_seconds:.2f} s, ours {seconds:.2f} s, ratio {plain_seconds / seconds:.1f}; ", end="")
    print("equal losses and gradients")


if __name__ == "__main__":
    main()
