"""What a loader yields."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor


class AnyBatch(Protocol):
    """What the training loop needs of a batch."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the photos."""

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""


@dataclass(frozen=True)
class Batch:
    """Augmented photos with their tags and everything random that a method needs of them."""

    images: Tensor
    """(B, 3, S, S), normalised by the backbone's mean and deviation; 0 where padded."""
    tags: Tensor
    """(B, C), 1.0 where the photo has the class."""
    targets: Tensor
    """(B,) class index in 0..C-1, drawn uniformly from the photo's tags; -1 for a photo without tags."""
    grid_draws: Tensor
    """(B, 1, G, G), uniform in [0, 1): what stochastic remnant feeding compares with its probability."""
    names: tuple[str, ...]
    """Names of the photos."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return replace(self, **_each_tensor(self, lambda tensor: tensor.to(device, non_blocking=True)))

    def pin_memory(self) -> "Batch":
        """The same batch in memory from which a GPU copies while it computes; a loader calls it."""
        return replace(self, **_each_tensor(self, Tensor.pin_memory))


@dataclass(frozen=True)
class LabelledBatch:
    """Augmented photos with label maps, true or made."""

    images: Tensor
    """(B, 3, S, S), normalised by the backbone's mean and deviation; 0 where padded."""
    label_maps: Tensor
    """(B, S, S) int64 class ids, 0 = background; 255 where nothing is to be learned, padding included."""
    names: tuple[str, ...]
    """Names of the photos."""

    def to(self, device: torch.device) -> "LabelledBatch":
        """The same batch on another device."""
        return replace(self, **_each_tensor(self, lambda tensor: tensor.to(device, non_blocking=True)))

    def pin_memory(self) -> "LabelledBatch":
        """The same batch in memory from which a GPU copies while it computes; a loader calls it."""
        return replace(self, **_each_tensor(self, Tensor.pin_memory))


PhotoBatch = TypeVar("PhotoBatch", Batch, LabelledBatch)


def collate(samples: list[PhotoBatch]) -> PhotoBatch:
    """Join batches of one photo each."""
    first, names = samples[0], tuple(name for sample in samples for name in sample.names)
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(sample, name) for sample in samples])
        for name, value in vars(first).items()
        if isinstance(value, Tensor)
    }
    return replace(first, names=names, **tensors)


def _each_tensor(batch: Batch | LabelledBatch, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {name: change(value) for name, value in vars(batch).items() if isinstance(value, Tensor)}
