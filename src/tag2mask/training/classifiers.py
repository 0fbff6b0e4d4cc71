"""The trainings of classifiers and reconstructors, each from its settings to a folder with weights."""

from dataclasses import replace
from pathlib import Path

from tag2mask.config import ClassifierSection
from tag2mask.data.augmentation import DeitAugmentation
from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.data.transforms import FlipAugmentation
from tag2mask.networks.classifier import PhotoClassifier, build_classifier
from tag2mask.networks.mctformer import build_mctformer
from tag2mask.networks.reconstructor import Reconstructor, build_reconstructor
from tag2mask.training.acr import Acr, ClassifierAlone, ReconstructorAlone
from tag2mask.training.classification import Classification
from tag2mask.training.loop import TrainingMethod
from tag2mask.training.training import (
    Networks,
    Training,
    build_fixed,
    build_learner,
    build_loader,
    epoch_batches,
    load_network,
    seed_network,
    train_networks,
)


def check_plain(training: Training, section: ClassifierSection) -> None:
    """Build all that a plain training needs, so that errors show before an older one is deleted."""
    epoch_batches(training, training.recipe.plain_training(section).batch_size)
    new_classifier(training, section)


def check_adversarial(training: Training) -> None:
    """Build all that an adversarial training needs, so that errors show before an older one is deleted."""
    epoch_batches(training, training.recipe.acr.batch_size)
    new_reconstructor(training, new_classifier(training, training.recipe.acr.classifier))


def train_plain(training: Training, section: ClassifierSection) -> float:
    """Train the network of a section of the recipe on tags alone; returns the seconds it took."""
    settings = training.recipe.plain_training(section)
    classifier = new_classifier(training, section)
    learner = build_learner(training, classifier, settings.optimizer, settings.epochs, settings.batch_size)
    photos = _plain_photos(training, classifier, section)
    networks: Networks = {"classifier": classifier}
    loader = build_loader(training, photos, settings.batch_size, collate)
    return train_networks(training, Classification(learner), loader, num_epochs=settings.epochs, networks=networks)


def train_reconstructor(training: Training, plain: Path) -> float:
    """Train a reconstructor alone on the maps of the classifier in `plain`; returns the seconds it took."""
    settings = training.recipe.acr
    classifier = load_network(new_classifier(training, settings.classifier), plain, "classifier")
    reconstructor = new_reconstructor(training, classifier)
    fixed = build_fixed(training, classifier)
    epochs = settings.reconstructor_epochs
    learner = build_learner(training, reconstructor, settings.reconstructor_optimizer, epochs, settings.batch_size)
    method = ReconstructorAlone(fixed, learner, settings)
    return _train(training, classifier, method, epochs, {"reconstructor": reconstructor})


def train_pretrained(training: Training, plain: Path, reconstructor: Path) -> float:
    """Train a classifier against the fixed reconstructor in `reconstructor`; returns the seconds it took."""
    settings = training.recipe.acr
    classifier = _first_classifier(training, plain)
    trained = load_network(new_reconstructor(training, classifier), reconstructor, "reconstructor")
    fixed = build_fixed(training, trained)
    epochs = settings.decay_epochs or settings.epochs
    learner = build_learner(training, classifier, settings.classifier_optimizer, epochs, settings.batch_size)
    method = ClassifierAlone(learner, fixed, settings)
    return _train(training, classifier, method, settings.epochs, {"classifier": classifier})


def train_acr(training: Training, plain: Path, alone: Path) -> float:
    """Train classifier and reconstructor against each other; returns the seconds it took.

    Args:
        training: its settings say which networks begin with trained weights.
        plain: folder of the classifier after its plain training.
        alone: folder of the reconstructor that was trained alone.
    """
    settings = training.recipe.acr
    classifier = _first_classifier(training, plain)
    reconstructor = new_reconstructor(training, classifier)
    if settings.reconstructor_epochs:
        load_network(reconstructor, alone, "reconstructor")
    epochs = settings.decay_epochs or settings.epochs
    rate = settings.reconstructor_optimizer.learning_rate * settings.reconstructor_rate_factor
    slowed = replace(settings.reconstructor_optimizer, learning_rate=rate)
    method = Acr(
        build_learner(training, classifier, settings.classifier_optimizer, epochs, settings.batch_size),
        build_learner(training, reconstructor, slowed, epochs, settings.batch_size),
        settings,
    )
    networks: Networks = {"classifier": classifier, "reconstructor": reconstructor}
    return _train(training, classifier, method, settings.epochs, networks)


def new_classifier(training: Training, section: ClassifierSection) -> PhotoClassifier:
    """The network of a section with its pretrained weights; other weights are drawn from the run's seed."""
    seed_network(training)
    match section:
        case "classifier":
            return build_classifier(training.recipe.classifier, training.num_classes)
        case "mctformer":
            return build_mctformer(training.recipe.mctformer, training.num_classes)


def new_reconstructor(training: Training, classifier: PhotoClassifier) -> Reconstructor:
    """A reconstructor with pretrained backbone; other weights are drawn from the run's seed.

    Args:
        training: the training, whose recipe has the settings.
        classifier: the classifier it is trained with, which decides how photos are normalised for both.
    """
    seed_network(training)
    recipe = training.recipe
    normalisation = classifier.backbone.normalisation
    return build_reconstructor(recipe.classifier, recipe.acr.reconstructor, training.num_classes, normalisation)


def _plain_photos(training: Training, network: PhotoClassifier, section: ClassifierSection) -> TrainingPhotos:
    data, settings = training.recipe.data, training.recipe.mctformer
    normalisation = network.backbone.normalisation
    if section == "mctformer":
        if settings.augmentation == "deit":
            return _photos(training, DeitAugmentation(settings.crop, normalisation))
        data = replace(data, crop=settings.crop)
    return _photos(training, FlipAugmentation(data, normalisation))


def _first_classifier(training: Training, plain: Path) -> PhotoClassifier:
    classifier = new_classifier(training, training.recipe.acr.classifier)
    return load_network(classifier, plain, "classifier") if training.recipe.acr.warm_start else classifier


def _train(
    training: Training, classifier: PhotoClassifier, method: TrainingMethod[Batch], num_epochs: int,
    networks: Networks,
) -> float:  # fmt: skip
    """A training in which a reconstructor takes part, on photos normalised as the classifier wants them."""
    photos = _photos(training, FlipAugmentation(training.recipe.data, classifier.backbone.normalisation))
    loader = build_loader(training, photos, training.recipe.acr.batch_size, collate)
    return train_networks(training, method, loader, num_epochs=num_epochs, networks=networks)


def _photos(training: Training, augmentation: FlipAugmentation | DeitAugmentation) -> TrainingPhotos:
    recipe = training.recipe
    return TrainingPhotos(
        training.records, training.num_classes, augmentation,
        grid=recipe.acr.remnants.grid, seed=recipe.engine.seed,
    )  # fmt: skip
