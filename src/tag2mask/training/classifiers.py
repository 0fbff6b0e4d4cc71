"""The trainings that end in a classifier, each from its settings to a folder with weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from tag2mask.config import OptimizerSettings, Recipe
from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.data.records import Record
from tag2mask.data.sampling import EpochBatches
from tag2mask.files import replacing
from tag2mask.networks.backbones import Backbone
from tag2mask.networks.classifier import Classifier, build_classifier
from tag2mask.networks.reconstructor import Reconstructor, build_reconstructor
from tag2mask.training.acr import Acr, ClassifierAlone, ReconstructorAlone
from tag2mask.training.classification import Classification
from tag2mask.training.learner import FixedNetwork, Learner
from tag2mask.training.loop import TrainingMethod, train
from tag2mask.training.optim import build_optimizer, poly_schedule

Network = TypeVar("Network", bound=Classifier | Reconstructor)
Networks = Mapping[str, Classifier | Reconstructor]


@dataclass(frozen=True)
class TrainingStage:
    """Where a training takes place and on what."""

    fabric: Fabric
    """Launched."""
    recipe: Recipe
    """Settings."""
    records: Sequence[Record]
    """Photos to train on; each has a tag where the method needs one."""
    num_classes: int
    """C, foreground classes."""
    folder: Path
    """For checkpoint, logs and weights."""


def check(stage: TrainingStage, kind: str) -> None:
    """Build all that a training needs, so that what cannot work is told before an older training is deleted."""
    settings = stage.recipe.classifier if kind == "baseline" else stage.recipe.acr
    _batches(stage, settings.batch_size)
    new_classifier(stage)
    if kind != "baseline":
        new_reconstructor(stage)


def train_baseline(stage: TrainingStage) -> float:
    """Train a classifier on tags alone; gives its seconds."""
    settings = stage.recipe.classifier
    classifier = new_classifier(stage)
    learner = _learner(stage, classifier, settings.optimizer, settings.epochs, settings.batch_size)
    return _train(stage, Classification(learner), settings.epochs, settings.batch_size, {"classifier": classifier})


def train_reconstructor(stage: TrainingStage, baseline: Path) -> float:
    """Train a reconstructor alone on the maps of the classifier in `baseline`; gives its seconds."""
    settings = stage.recipe.acr
    reconstructor = new_reconstructor(stage)
    fixed = FixedNetwork(stage.fabric, load_network(new_classifier(stage), baseline, "classifier"))
    epochs = settings.reconstructor_epochs
    learner = _learner(stage, reconstructor, settings.reconstructor_optimizer, epochs, settings.batch_size)
    method = ReconstructorAlone(fixed, learner, settings)
    return _train(stage, method, epochs, settings.batch_size, {"reconstructor": reconstructor})


def train_pretrained(stage: TrainingStage, baseline: Path, reconstructor: Path) -> float:
    """Train a classifier against the reconstructor in `reconstructor`, which stays as it is; gives its seconds."""
    settings = stage.recipe.acr
    classifier = _first_classifier(stage, baseline)
    fixed = FixedNetwork(stage.fabric, load_network(new_reconstructor(stage), reconstructor, "reconstructor"))
    epochs = settings.decay_epochs or settings.epochs
    learner = _learner(stage, classifier, settings.classifier_optimizer, epochs, settings.batch_size)
    method = ClassifierAlone(learner, fixed, settings)
    return _train(stage, method, settings.epochs, settings.batch_size, {"classifier": classifier})


def train_acr(stage: TrainingStage, baseline: Path, alone: Path) -> float:
    """Train classifier and reconstructor against each other; gives its seconds.

    Args:
        stage: its settings say which networks begin as trained ones.
        baseline: folder of the baseline.
        alone: folder of the reconstructor that was trained alone.
    """
    settings = stage.recipe.acr
    classifier, reconstructor = _first_classifier(stage, baseline), new_reconstructor(stage)
    if settings.reconstructor_epochs:
        load_network(reconstructor, alone, "reconstructor")
    epochs = settings.decay_epochs or settings.epochs
    method = Acr(
        _learner(stage, classifier, settings.classifier_optimizer, epochs, settings.batch_size),
        _learner(stage, reconstructor, settings.reconstructor_optimizer, epochs, settings.batch_size),
        settings,
    )
    networks: Networks = {"classifier": classifier, "reconstructor": reconstructor}
    return _train(stage, method, settings.epochs, settings.batch_size, networks)


def new_classifier(stage: TrainingStage) -> Classifier:
    """A classifier with pretrained backbone; its head is drawn from the run's seed."""
    torch.manual_seed(stage.recipe.engine.seed)
    return build_classifier(stage.recipe.classifier, stage.num_classes)


def new_reconstructor(stage: TrainingStage) -> Reconstructor:
    """A reconstructor with pretrained backbone; the rest is drawn from the run's seed."""
    torch.manual_seed(stage.recipe.engine.seed)
    return build_reconstructor(stage.recipe.classifier, stage.recipe.acr.reconstructor, stage.num_classes)


def load_network(network: Network, folder: Path, name: str) -> Network:
    """Give `network` the weights that a finished training left in `folder`."""
    network.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return network


def _first_classifier(stage: TrainingStage, baseline: Path) -> Classifier:
    classifier = new_classifier(stage)
    return load_network(classifier, baseline, "classifier") if stage.recipe.acr.warm_start else classifier


def _learner(
    stage: TrainingStage, network: Network, settings: OptimizerSettings, num_epochs: int, batch_size: int
) -> Learner[Network]:
    num_steps = len(stage.records) // batch_size * num_epochs
    optimizer = build_optimizer(network, network.new_parameters(), settings)
    return Learner(stage.fabric, network, optimizer, poly_schedule(optimizer, num_steps, settings.poly_power))


def _train(stage: TrainingStage, method: TrainingMethod, num_epochs: int, batch_size: int, networks: Networks) -> float:
    """Run the loop and write the weights of the networks that learned; gives the seconds of all epochs."""
    seed = stage.recipe.engine.seed
    loader = _loader(stage, batch_size, next(iter(networks.values())).backbone)
    history = train(stage.fabric, method, loader, num_epochs=num_epochs, seed=seed, folder=stage.folder)
    if stage.fabric.is_global_zero:
        for name, network in networks.items():
            weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
            with replacing(stage.folder / f"{name}.safetensors") as path:
                save_file(weights, path)
    stage.fabric.barrier()
    return sum(row["seconds"] for row in history)


def _loader(stage: TrainingStage, batch_size: int, backbone: Backbone) -> DataLoader[Batch]:
    recipe = stage.recipe
    photos = TrainingPhotos(
        stage.records, stage.num_classes, recipe.data,
        mean=backbone.mean, std=backbone.std, grid=recipe.acr.remnants.grid, seed=recipe.engine.seed,
    )  # fmt: skip
    workers = recipe.data.num_workers
    return DataLoader(
        photos, batch_sampler=_batches(stage, batch_size), collate_fn=collate, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=stage.fabric.device.type == "cuda",
    )  # fmt: skip


def _batches(stage: TrainingStage, batch_size: int) -> EpochBatches:
    fabric = stage.fabric
    return EpochBatches(
        len(stage.records), batch_size, seed=stage.recipe.engine.seed, rank=fabric.global_rank,
        world_size=fabric.world_size,
    )  # fmt: skip
