"""The trainings that learn from label maps, each from its settings to a folder with weights."""

from torch import nn
from torch.utils.data import DataLoader

from tag2mask.config import RefinementSettings, SegmenterSettings
from tag2mask.data.batch import LabelledBatch, collate
from tag2mask.data.datasets import LabelledPhotos
from tag2mask.networks.affinitynet import AffinityNet, build_affinity_net
from tag2mask.networks.backbones import Backbone
from tag2mask.networks.deeplab import DeepLab, build_deeplab
from tag2mask.networks.irnet import BoundaryNet, build_boundary_net
from tag2mask.training.affinity import PixelAffinities
from tag2mask.training.irn import Boundaries
from tag2mask.training.loop import TrainingMethod
from tag2mask.training.segmentation import Segmentation
from tag2mask.training.training import (
    Training,
    build_learner,
    build_loader,
    epoch_batches,
    seed_network,
    train_networks,
)


def check_relations(training: Training) -> None:
    """Build all that the training needs, so that errors show before an older one is deleted."""
    epoch_batches(training, training.recipe.refinement.batch_size)
    new_relations_network(training)


def check_segmenter(training: Training) -> None:
    """Build all that the training needs, so that errors show before an older one is deleted."""
    epoch_batches(training, training.recipe.segmenter.batch_size)
    new_segmenter(training)


def train_relations(training: Training) -> float:
    """Train a network of relations on labels of confident pixels and write it to `network`; returns the seconds."""
    settings = training.recipe.refinement
    network = new_relations_network(training)
    optimizer, epochs, batch_size = settings.optimizer, settings.epochs, settings.batch_size
    method: TrainingMethod[LabelledBatch]
    match network:
        case BoundaryNet():
            method = Boundaries(build_learner(training, network, optimizer, epochs, batch_size), settings.radius)
        case AffinityNet():
            method = PixelAffinities(build_learner(training, network, optimizer, epochs, batch_size), settings.radius)
    return _train(training, method, settings, network.backbone, {"network": network})


def train_segmenter(training: Training) -> float:
    """Train a segmenter on label maps and write its weights as `model`; returns the seconds it took."""
    settings = training.recipe.segmenter
    network = new_segmenter(training)
    learner = build_learner(training, network, settings.optimizer, settings.epochs, settings.batch_size)
    return _train(training, Segmentation(learner, settings), settings, network.backbone, {"model": network})


def new_relations_network(training: Training) -> BoundaryNet | AffinityNet:
    """A network of relations with pretrained backbone; other weights are drawn from the run's seed."""
    seed_network(training)
    settings = training.recipe.refinement
    return build_affinity_net(settings) if settings.method == "affinity" else build_boundary_net(settings)


def new_segmenter(training: Training) -> DeepLab:
    """A segmenter with pretrained backbone; other weights are drawn from the run's seed."""
    seed_network(training)
    return build_deeplab(training.recipe.segmenter, training.num_classes)


def _train(
    training: Training, method: TrainingMethod[LabelledBatch], settings: RefinementSettings | SegmenterSettings,
    backbone: Backbone, networks: dict[str, nn.Module],
) -> float:  # fmt: skip
    seed = training.recipe.engine.seed
    photos = LabelledPhotos(training.records, settings, normalisation=backbone.normalisation, seed=seed)
    loader: DataLoader[LabelledBatch] = build_loader(training, photos, settings.batch_size, collate)
    return train_networks(training, method, loader, num_epochs=settings.epochs, networks=networks)
