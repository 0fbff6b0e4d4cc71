"""The trainings that end in a classifier, each from its settings to a folder with weights."""

from collections.abc import Mapping
from pathlib import Path

from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.networks.classifier import Classifier, build_classifier
from tag2mask.networks.reconstructor import Reconstructor, build_reconstructor
from tag2mask.training.acr import Acr, ClassifierAlone, ReconstructorAlone
from tag2mask.training.classification import Classification
from tag2mask.training.learner import FixedNetwork
from tag2mask.training.loop import TrainingMethod
from tag2mask.training.stage import (
    TrainingStage,
    build_learner,
    build_loader,
    epoch_batches,
    load_network,
    seed_network,
    train_networks,
)

Networks = Mapping[str, Classifier | Reconstructor]


def check(stage: TrainingStage, kind: str) -> None:
    """Build all that a training needs, so that what cannot work is told before an older training is deleted."""
    settings = stage.recipe.classifier if kind == "baseline" else stage.recipe.acr
    epoch_batches(stage, settings.batch_size)
    new_classifier(stage)
    if kind != "baseline":
        new_reconstructor(stage)


def train_baseline(stage: TrainingStage) -> float:
    """Train a classifier on tags alone; gives its seconds."""
    settings = stage.recipe.classifier
    classifier = new_classifier(stage)
    learner = build_learner(stage, classifier, settings.optimizer, settings.epochs, settings.batch_size)
    return _train(stage, Classification(learner), settings.epochs, settings.batch_size, {"classifier": classifier})


def train_reconstructor(stage: TrainingStage, baseline: Path) -> float:
    """Train a reconstructor alone on the maps of the classifier in `baseline`; gives its seconds."""
    settings = stage.recipe.acr
    reconstructor = new_reconstructor(stage)
    fixed = FixedNetwork(stage.fabric, load_network(new_classifier(stage), baseline, "classifier"))
    epochs = settings.reconstructor_epochs
    learner = build_learner(stage, reconstructor, settings.reconstructor_optimizer, epochs, settings.batch_size)
    method = ReconstructorAlone(fixed, learner, settings)
    return _train(stage, method, epochs, settings.batch_size, {"reconstructor": reconstructor})


def train_pretrained(stage: TrainingStage, baseline: Path, reconstructor: Path) -> float:
    """Train a classifier against the reconstructor in `reconstructor`, which stays as it is; gives its seconds."""
    settings = stage.recipe.acr
    classifier = _first_classifier(stage, baseline)
    fixed = FixedNetwork(stage.fabric, load_network(new_reconstructor(stage), reconstructor, "reconstructor"))
    epochs = settings.decay_epochs or settings.epochs
    learner = build_learner(stage, classifier, settings.classifier_optimizer, epochs, settings.batch_size)
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
        build_learner(stage, classifier, settings.classifier_optimizer, epochs, settings.batch_size),
        build_learner(stage, reconstructor, settings.reconstructor_optimizer, epochs, settings.batch_size),
        settings,
    )
    networks: Networks = {"classifier": classifier, "reconstructor": reconstructor}
    return _train(stage, method, settings.epochs, settings.batch_size, networks)


def new_classifier(stage: TrainingStage) -> Classifier:
    """A classifier with pretrained backbone; its head is drawn from the run's seed."""
    seed_network(stage)
    return build_classifier(stage.recipe.classifier, stage.num_classes)


def new_reconstructor(stage: TrainingStage) -> Reconstructor:
    """A reconstructor with pretrained backbone; the rest is drawn from the run's seed."""
    seed_network(stage)
    return build_reconstructor(stage.recipe.classifier, stage.recipe.acr.reconstructor, stage.num_classes)


def _first_classifier(stage: TrainingStage, baseline: Path) -> Classifier:
    classifier = new_classifier(stage)
    return load_network(classifier, baseline, "classifier") if stage.recipe.acr.warm_start else classifier


def _train(
    stage: TrainingStage, method: TrainingMethod[Batch], num_epochs: int, batch_size: int, networks: Networks
) -> float:
    recipe, backbone = stage.recipe, next(iter(networks.values())).backbone
    photos = TrainingPhotos(
        stage.records, stage.num_classes, recipe.data,
        mean=backbone.mean, std=backbone.std, grid=recipe.acr.remnants.grid, seed=recipe.engine.seed,
    )  # fmt: skip
    loader = build_loader(stage, photos, batch_size, collate)
    return train_networks(stage, method, loader, num_epochs=num_epochs, networks=networks)
