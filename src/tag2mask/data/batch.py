"""What a loader yields."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

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


def collate(samples: list[Batch]) -> Batch:
    """Join batches of one photo each."""
    return Batch(
        images=torch.cat([sample.images for sample in samples]),
        tags=torch.cat([sample.tags for sample in samples]),
        targets=torch.cat([sample.targets for sample in samples]),
        grid_draws=torch.cat([sample.grid_draws for sample in samples]),
        names=tuple(name for sample in samples for name in sample.names),
    )


def collate_labelled(samples: list[LabelledBatch]) -> LabelledBatch:
    """Join batches of one photo each."""
    return LabelledBatch(
        images=torch.cat([sample.images for sample in samples]),
        label_maps=torch.cat([sample.label_maps for sample in samples]),
        names=tuple(name for sample in samples for name in sample.names),
    )


def _each_tensor(batch: Batch | LabelledBatch, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {name: change(value) for name, value in vars(batch).items() if isinstance(value, Tensor)}
