"""The training loop of every method: epochs, logs, and a checkpoint at each epoch's end to resume from exactly."""

import csv
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.distributed import all_gather_object
from torch.utils.data import DataLoader
from torch.utils.tensorboard.writer import SummaryWriter

from tag2mask.data.batch import AnyBatch
from tag2mask.data.loading import SampleFault, raise_faults
from tag2mask.data.sampling import EpochBatches
from tag2mask.files import replacing
from tag2mask.progress import track
from tag2mask.training.learner import Learner
from tag2mask.training.processes import mean_over_processes
from tag2mask.workers import refused_together

_logger = logging.getLogger(__name__)
Row = dict[str, float]
CHECKPOINT = "checkpoint.pt"
"""File from which a stopped training is resumed; nothing reads it once the training is finished."""
# A look at a loss waits until the device has done all steps so far, and then lets it wait for the next one.
_STEPS_BETWEEN_LOOKS = 10
BatchT = TypeVar("BatchT", bound=AnyBatch)
BatchIn = TypeVar("BatchIn", bound=AnyBatch, contravariant=True)


class TrainingMethod(Protocol[BatchIn]):
    """What a method has to offer to the loop."""

    @property
    def learners(self) -> Mapping[str, Learner[Any]]:
        """Networks that learn, by the name they have in a checkpoint."""

    def training_step(self, batch: BatchIn, epoch: int) -> dict[str, Tensor]:
        """Update the networks on one batch and return the losses, without gradient, by their logged names."""


@dataclass(frozen=True)
class Trainer:
    """Trains methods: on which devices, for how many epochs, and with what done after each epoch."""

    fabric: Fabric
    """Already launched."""
    num_epochs: int
    """Number of epochs in all, including those of earlier sessions."""
    folder: Path
    """Gets the checkpoint, `losses.csv` and TensorBoard's events."""
    after_epoch: Callable[[int], None] | None = None
    """Called with the number of each epoch that is done and not yet saved, from 0; no process may wait for the others
    in it."""

    def train(self, method: TrainingMethod[BatchT], loader: DataLoader[BatchT]) -> list[Row]:
        """Train up to `num_epochs`, from the folder's checkpoint if it has one.

        Args:
            method: the method whose networks learn.
            loader: its batch sampler is an `EpochBatches`, whose seed is also that of dropout and whatever else draws
                from torch.

        Returns:
            For each epoch the mean of every loss, learning rate and seconds.

        Raises:
            ValueError: a photo or label map cannot be used, or a file not be written.
            FloatingPointError: a loss is not finite; the checkpoint of the last whole epoch stays.
        """
        fabric, folder = self.fabric, self.folder
        folder.mkdir(parents=True, exist_ok=True)
        history = _resume(fabric, method, folder / CHECKPOINT)
        if len(history) == self.num_epochs:
            return history
        if history and fabric.is_global_zero:
            _logger.info("%s: resumes after epoch %d of %d", self._name, len(history), self.num_epochs)
        # When an epoch is done again, readers forget what a killed run has logged of it.
        with SummaryWriter(folder, purge_step=len(history) + 1) if fabric.is_global_zero else nullcontext() as events:
            for epoch in range(len(history), self.num_epochs):
                title = f"{self._name} {epoch + 1}/{self.num_epochs}"
                history.append(_train_epoch(fabric, method, loader, epoch=epoch, title=title))
                with refused_together(fabric):
                    if self.after_epoch:
                        self.after_epoch(epoch)
                    if events:
                        self._save(method, history, events)
        return history

    @property
    def _name(self) -> str:
        return "/".join(self.folder.parts[-2:])

    def _save(self, method: TrainingMethod[Any], history: list[Row], events: SummaryWriter) -> None:
        """Write CSV and checkpoint of all epochs so far, and the last epoch to TensorBoard and the log."""
        with replacing(self.folder / "losses.csv") as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", *history[-1]])
            writer.writeheader()
            writer.writerows({"epoch": epoch, **row} for epoch, row in enumerate(history, start=1))
        for name, value in history[-1].items():
            events.add_scalar(name, value, len(history))
        events.flush()
        # Last, for a run that is killed before this does the epoch again, and with it what is above.
        learners = {name: learner.state() for name, learner in method.learners.items()}
        # The scale of the losses, which 16-mixed adapts.
        precision = self.fabric.strategy.precision.state_dict()
        # Not by torch into the file, whose error on a full disk is none of the system's.
        content = BytesIO()
        torch.save({"history": history, "learners": learners, "precision": precision}, content)
        with replacing(self.folder / CHECKPOINT) as path:
            path.write_bytes(content.getbuffer())
        losses = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items() if name.startswith("loss/"))
        _logger.info("%s: epoch %d of %d, %s", self._name, len(history), self.num_epochs, losses)


class _Step(NamedTuple):
    """A step whose losses have not been checked yet."""

    epoch: int
    """Number of the epoch, from 0."""
    number: int
    """Number of the step in its epoch, from 0."""
    photos: tuple[str, ...]
    """Names of this process's photos."""
    losses: dict[str, Tensor]
    """Losses of this process, by their logged names."""


def _train_epoch(
    fabric: Fabric, method: TrainingMethod[BatchT], loader: DataLoader[BatchT], *, epoch: int, title: str
) -> Row:
    assert isinstance(loader.batch_sampler, EpochBatches)
    loader.batch_sampler.epoch = epoch
    # Seeded anew in each epoch, so that a resumed run draws what an unbroken one does.
    seeds = [loader.batch_sampler.seed, epoch, fabric.global_rank]
    torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
    start = time.monotonic()
    batches: Iterator[BatchT | SampleFault] = iter(track(loader, len(loader), title, shown=fabric.is_global_zero))
    with refused_together(fabric):
        batch = next(raise_faults(batches))
    fault: SampleFault | None = None
    means: list[Row] = []
    unseen: list[_Step] = []
    for number, found in enumerate(chain([batch], batches)):
        if isinstance(found, SampleFault):
            # Other processes wait for this one's gradients: it takes the batch before once more, until all look.
            fault = fault or found
        else:
            batch = found
        losses = method.training_step(batch.to(fabric.device), epoch)
        unseen.append(_Step(epoch, number, batch.names, losses))
        if len(unseen) == _STEPS_BETWEEN_LOOKS or number + 1 == len(loader):
            means += _look(fabric, unseen, fault)
            unseen.clear()
    row = {f"loss/{name}": sum(terms[name] for terms in means) / len(means) for name in means[0]}
    rates = {f"learning_rate/{name}": learner.learning_rate for name, learner in method.learners.items()}
    return row | rates | {"seconds": time.monotonic() - start}


def _look(fabric: Fabric, steps: Sequence[_Step], fault: SampleFault | None) -> list[Row]:
    """Mean losses of some steps over all processes, by name; faults and losses that are not finite are raised.

    Raises:
        ValueError: the first fault of all processes, if there is one.
        FloatingPointError: a loss is not finite.
    """
    # Not in float64, which some devices do not have.
    losses = torch.stack([torch.stack([loss.float() for loss in step.losses.values()]) for step in steps])
    if fault:
        # For all to see that something is wrong.
        losses.fill_(math.nan)
    values = mean_over_processes(losses).tolist()
    means = [dict(zip(step.losses, terms, strict=True)) for step, terms in zip(steps, values, strict=True)]
    for step, terms in zip(steps, means, strict=True):
        if not all(map(math.isfinite, terms.values())):
            _stop(fabric, step, terms, fault)
    return means


def _stop(fabric: Fabric, step: _Step, losses: Row, fault: SampleFault | None) -> None:
    with refused_together(fabric):
        if fault:
            raise ValueError(fault.line)
    names = list(step.photos)
    if fabric.world_size > 1:
        gathered: list[list[str]] = [[] for _ in range(fabric.world_size)]
        all_gather_object(gathered, names)
        names = [name for share in gathered for name in share]
    terms = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    raise FloatingPointError(
        f"a loss is not finite in epoch {step.epoch + 1}, step {step.number + 1}: {terms}; "
        f"photos {', '.join(names)}; the checkpoint of epoch {step.epoch} is kept: lower the learning rate or a loss "
        "weight"
    )


def _resume(fabric: Fabric, method: TrainingMethod[Any], path: Path) -> list[Row]:
    if not path.exists():
        return []
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    for name, learner in method.learners.items():
        learner.load_state(checkpoint["learners"][name])
    fabric.strategy.precision.load_state_dict(checkpoint["precision"])
    history: list[Row] = checkpoint["history"]
    return history
