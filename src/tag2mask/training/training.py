"""What every training needs: its settings and photos, learners with schedules, the loop, and weights as files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

from tag2mask.config import OptimizerSettings, Recipe
from tag2mask.data.batch import AnyBatch
from tag2mask.data.loading import SamplesOrFaults, collate_or_fault
from tag2mask.data.records import Record
from tag2mask.data.sampling import EpochBatches
from tag2mask.networks.affinitynet import AffinityNet
from tag2mask.networks.backbones.weights import write_weights
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.deeplab import DeepLab
from tag2mask.networks.irnet import BoundaryNet
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.learner import FixedNetwork, Learner
from tag2mask.training.loop import Trainer, TrainingMethod
from tag2mask.training.optim import build_optimizer, build_schedule

Network = TypeVar("Network", bound=nn.Module)
Trainable = TypeVar("Trainable", bound=PhotoClassifier | Reconstructor | BoundaryNet | AffinityNet | DeepLab)
BatchT = TypeVar("BatchT", bound=AnyBatch)
Networks = Mapping[str, nn.Module]


class AfterEpoch(Protocol):
    """Callback that is called after each epoch of a training."""

    def __call__(self, epoch: int, networks: Networks) -> None:
        """Called with the number of the epoch, from 0, and the networks as they are after it."""


@dataclass(frozen=True)
class Training:
    """One training: its processes, settings, photos and folder."""

    fabric: Fabric
    """Already launched."""
    recipe: Recipe
    """Settings of the run."""
    records: Sequence[Record]
    """Photos to train on; each has a tag, or a label map, where the method needs one."""
    num_classes: int
    """C, foreground classes."""
    folder: Path
    """Gets checkpoint, logs and weights."""
    after_epoch: AfterEpoch | None = None
    """Called after each epoch, if given."""


def build_learner(
    training: Training, network: Trainable, settings: OptimizerSettings, num_epochs: int, batch_size: int
) -> Learner[Trainable]:
    """The network with its optimiser, whose rate decays over `num_epochs`."""
    undecayed = network.undecayed_parameters() if isinstance(network, _PartlyUndecayed) else ()
    optimizer = build_optimizer(network, network.new_parameters(), settings, undecayed)
    steps_per_epoch = len(training.records) // batch_size
    schedule = build_schedule(
        optimizer, settings, num_steps=steps_per_epoch * num_epochs, steps_per_epoch=steps_per_epoch
    )
    if training.recipe.engine.compile:
        _compile(network)
    return Learner(training.fabric, network, optimizer, schedule)


def build_fixed(training: Training, network: Network) -> FixedNetwork[Network]:
    """Prepare a network that does not learn in this training."""
    if training.recipe.engine.compile:
        _compile(network)
    return FixedNetwork(training.fabric, network)


def _compile(network: nn.Module) -> None:
    """Compile the network in place when it is first called, for the one size of its crops."""
    # A size of its own for each phase, for code of a changing batch is slower.
    network.compile(dynamic=False)
    if isinstance(network, Reconstructor):
        # The classifier-updating phase calls these by themselves.
        for name in ("depths", "encode", "restore"):
            setattr(network, name, torch.compile(getattr(network, name), dynamic=False))


@runtime_checkable
class _PartlyUndecayed(Protocol):
    """A network that knows parameters, besides biases, which weight decay would harm."""

    def undecayed_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters without weight decay."""


def train_networks(
    training: Training, method: TrainingMethod[BatchT], loader: DataLoader[BatchT], *, num_epochs: int,
    networks: Networks,
) -> float:  # fmt: skip
    """Run the loop and write the weights of the networks that learned; returns the seconds of all epochs."""
    after = training.after_epoch
    after_epoch = None if after is None else partial(_call_eagerly, after, networks=networks)
    history = Trainer(training.fabric, num_epochs, training.folder, after_epoch).train(method, loader)
    if training.fabric.is_global_zero:
        for name, network in networks.items():
            write_weights(training.folder / f"{name}.safetensors", network)
    if training.recipe.engine.compile:
        # Networks share torch's limit of eight compiled graphs, and the next training needs its own.
        torch.compiler.reset()
    training.fabric.barrier()
    return sum(row["seconds"] for row in history)


def _call_eagerly(after_epoch: AfterEpoch, epoch: int, networks: Networks) -> None:
    # It may show the networks photos of any size, each of which would be compiled for.
    with torch.compiler.set_stance("force_eager"):
        after_epoch(epoch, networks)


def seed_network(training: Training) -> None:
    """Make the random weights of a network that is built next depend on the run's seed alone."""
    torch.manual_seed(training.recipe.engine.seed)


def load_network(network: Network, folder: Path, name: str) -> Network:
    """Give `network` the weights that a finished training left in `folder`."""
    network.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return network


def epoch_batches(training: Training, batch_size: int) -> EpochBatches:
    """Which photos form the batches of this process.

    Raises:
        ValueError: there are fewer photos than a batch takes, or the processes cannot share it.
    """
    fabric = training.fabric
    return EpochBatches(
        len(training.records), batch_size, seed=training.recipe.engine.seed, rank=fabric.global_rank,
        world_size=fabric.world_size,
    )  # fmt: skip


def build_loader(
    training: Training, photos: Dataset[BatchT], batch_size: int, collate: Callable[[list[BatchT]], BatchT]
) -> DataLoader[Any]:
    """Loader of `photos` in the order of `epoch_batches`; faults come as items, which a `Trainer` raises."""
    workers = training.recipe.data.num_workers
    return DataLoader(
        SamplesOrFaults(photos), batch_sampler=epoch_batches(training, batch_size),
        collate_fn=partial(collate_or_fault, collate=collate), num_workers=workers, persistent_workers=workers > 0,
        pin_memory=training.fabric.device.type == "cuda",
    )  # fmt: skip
