"""The trainings that end in a classifier, each from its settings to a folder with weights."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tag2mask.config import Augmentation, ClassifierSection, DataSettings
from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.networks.backbones import Normalising
from tag2mask.networks.classifier import PhotoClassifier, build_classifier
from tag2mask.networks.mctformer import build_mctformer
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

Networks = Mapping[str, PhotoClassifier | Reconstructor]


def check_plain(stage: TrainingStage, section: ClassifierSection) -> None:
    """Build all that a plain training needs, so that what cannot work is told before an older one is deleted."""
    epoch_batches(stage, stage.recipe.plain_training(section).batch_size)
    new_classifier(stage, section)


def check_adversarial(stage: TrainingStage) -> None:
    """Build all that an adversarial training needs, for the same reason."""
    epoch_batches(stage, stage.recipe.acr.batch_size)
    new_reconstructor(stage, new_classifier(stage, stage.recipe.acr.classifier).backbone)


def train_plain(stage: TrainingStage, section: ClassifierSection) -> float:
    """Train the network of a section of the recipe on tags alone; gives its seconds."""
    settings = stage.recipe.plain_training(section)
    classifier = new_classifier(stage, section)
    learner = build_learner(stage, classifier, settings.optimizer, settings.epochs, settings.batch_size)
    photos = _plain_photos(stage, classifier, section)
    networks: Networks = {"classifier": classifier}
    loader = build_loader(stage, photos, settings.batch_size, collate)
    return train_networks(stage, Classification(learner), loader, num_epochs=settings.epochs, networks=networks)


def train_reconstructor(stage: TrainingStage, plain: Path) -> float:
    """Train a reconstructor alone on the maps of the classifier in `plain`; gives its seconds."""
    settings = stage.recipe.acr
    classifier = load_network(new_classifier(stage, settings.classifier), plain, "classifier")
    reconstructor = new_reconstructor(stage, classifier.backbone)
    fixed = FixedNetwork(stage.fabric, classifier)
    epochs = settings.reconstructor_epochs
    learner = build_learner(stage, reconstructor, settings.reconstructor_optimizer, epochs, settings.batch_size)
    method = ReconstructorAlone(fixed, learner, settings)
    return _train(stage, classifier, method, epochs, {"reconstructor": reconstructor})


def train_pretrained(stage: TrainingStage, plain: Path, reconstructor: Path) -> float:
    """Train a classifier against the reconstructor in `reconstructor`, which stays as it is; gives its seconds."""
    settings = stage.recipe.acr
    classifier = _first_classifier(stage, plain)
    trained = load_network(new_reconstructor(stage, classifier.backbone), reconstructor, "reconstructor")
    fixed = FixedNetwork(stage.fabric, trained)
    epochs = settings.decay_epochs or settings.epochs
    learner = build_learner(stage, classifier, settings.classifier_optimizer, epochs, settings.batch_size)
    method = ClassifierAlone(learner, fixed, settings)
    return _train(stage, classifier, method, settings.epochs, {"classifier": classifier})


def train_acr(stage: TrainingStage, plain: Path, alone: Path) -> float:
    """Train classifier and reconstructor against each other; gives its seconds.

    Args:
        stage: its settings say which networks begin as trained ones.
        plain: folder of the classifier after its plain training.
        alone: folder of the reconstructor that was trained alone.
    """
    settings = stage.recipe.acr
    classifier = _first_classifier(stage, plain)
    reconstructor = new_reconstructor(stage, classifier.backbone)
    if settings.reconstructor_epochs:
        load_network(reconstructor, alone, "reconstructor")
    epochs = settings.decay_epochs or settings.epochs
    method = Acr(
        build_learner(stage, classifier, settings.classifier_optimizer, epochs, settings.batch_size),
        build_learner(stage, reconstructor, settings.reconstructor_optimizer, epochs, settings.batch_size),
        settings,
    )
    networks: Networks = {"classifier": classifier, "reconstructor": reconstructor}
    return _train(stage, classifier, method, settings.epochs, networks)


def new_classifier(stage: TrainingStage, section: ClassifierSection) -> PhotoClassifier:
    """The network of a section, with its pretrained weights; the rest is drawn from the run's seed."""
    seed_network(stage)
    match section:
        case "classifier":
            return build_classifier(stage.recipe.classifier, stage.num_classes)
        case "mctformer":
            return build_mctformer(stage.recipe.mctformer, stage.num_classes)


def new_reconstructor(stage: TrainingStage, photos: Normalising) -> Reconstructor:
    """A reconstructor with pretrained backbone; the rest is drawn from the run's seed.

    Args:
        stage: of the training.
        photos: backbone of the classifier, which decides how photos are normalised for both.
    """
    seed_network(stage)
    return build_reconstructor(stage.recipe.classifier, stage.recipe.acr.reconstructor, stage.num_classes, photos)


def _plain_photos(stage: TrainingStage, network: PhotoClassifier, section: ClassifierSection) -> TrainingPhotos:
    match section:
        case "classifier":
            return _photos(stage, network, stage.recipe.data)
        case "mctformer":
            settings = stage.recipe.mctformer
            data = replace(stage.recipe.data, crop=settings.crop)
            return _photos(stage, network, data, augmentation=settings.augmentation)


def _first_classifier(stage: TrainingStage, plain: Path) -> PhotoClassifier:
    classifier = new_classifier(stage, stage.recipe.acr.classifier)
    return load_network(classifier, plain, "classifier") if stage.recipe.acr.warm_start else classifier


def _train(
    stage: TrainingStage, classifier: PhotoClassifier, method: TrainingMethod[Batch], num_epochs: int,
    networks: Networks,
) -> float:  # fmt: skip
    """A training in which a reconstructor takes part, on photos normalised as the classifier wants them."""
    photos = _photos(stage, classifier, stage.recipe.data)
    loader = build_loader(stage, photos, stage.recipe.acr.batch_size, collate)
    return train_networks(stage, method, loader, num_epochs=num_epochs, networks=networks)


def _photos(
    stage: TrainingStage, network: PhotoClassifier, data: DataSettings, *,
    augmentation: Augmentation = "flip",
) -> TrainingPhotos:  # fmt: skip
    recipe, backbone = stage.recipe, network.backbone
    return TrainingPhotos(
        stage.records, stage.num_classes, data,
        mean=backbone.mean, std=backbone.std, grid=recipe.acr.remnants.grid, seed=recipe.engine.seed,
        augmentation=augmentation,
    )  # fmt: skip
