"""The trainings that learn from label maps, each from its settings to a folder with weights."""

from torch import nn
from torch.utils.data import DataLoader

from tag2mask.config import RefinementSettings, SegmenterSettings
from tag2mask.data.batch import LabelledBatch, collate_labelled
from tag2mask.data.datasets import LabelledPhotos
from tag2mask.networks.affinitynet import AffinityNet, build_affinity_net
from tag2mask.networks.backbones import Backbone
from tag2mask.networks.deeplab import DeepLab, build_deeplab
from tag2mask.networks.irnet import BoundaryNet, build_boundary_net
from tag2mask.training.affinity import PixelAffinities
from tag2mask.training.irn import Boundaries
from tag2mask.training.loop import TrainingMethod
from tag2mask.training.segmentation import Segmentation
from tag2mask.training.stage import (
    TrainingStage,
    build_learner,
    build_loader,
    epoch_batches,
    seed_network,
    train_networks,
)


def check_relations(stage: TrainingStage) -> None:
    """Build all that the training needs, so that what cannot work is told before an older one is deleted."""
    epoch_batches(stage, stage.recipe.refinement.batch_size)
    new_relations_network(stage)


def check_segmenter(stage: TrainingStage) -> None:
    """Build all that the training needs, so that what cannot work is told before an older one is deleted."""
    epoch_batches(stage, stage.recipe.segmenter.batch_size)
    new_segmenter(stage)


def train_relations(stage: TrainingStage) -> float:
    """Train a network of relations between pixels on labels of sure pixels: `network`; gives its seconds."""
    settings = stage.recipe.refinement
    network = new_relations_network(stage)
    optimizer, epochs, batch_size = settings.optimizer, settings.epochs, settings.batch_size
    method: TrainingMethod[LabelledBatch]
    match network:
        case BoundaryNet():
            method = Boundaries(build_learner(stage, network, optimizer, epochs, batch_size), settings.radius)
        case AffinityNet():
            method = PixelAffinities(build_learner(stage, network, optimizer, epochs, batch_size), settings.radius)
    return _train(stage, method, settings, network.backbone, {"network": network})


def train_segmenter(stage: TrainingStage) -> float:
    """Train a segmenter on label maps: `model`; gives its seconds."""
    settings = stage.recipe.segmenter
    network = new_segmenter(stage)
    learner = build_learner(stage, network, settings.optimizer, settings.epochs, settings.batch_size)
    return _train(stage, Segmentation(learner, settings), settings, network.backbone, {"model": network})


def new_relations_network(stage: TrainingStage) -> BoundaryNet | AffinityNet:
    """A network of relations with pretrained backbone; the rest is drawn from the run's seed."""
    seed_network(stage)
    settings = stage.recipe.refinement
    return build_affinity_net(settings) if settings.method == "affinity" else build_boundary_net(settings)


def new_segmenter(stage: TrainingStage) -> DeepLab:
    """A segmenter with pretrained backbone; the rest is drawn from the run's seed."""
    seed_network(stage)
    return build_deeplab(stage.recipe.segmenter, stage.num_classes)


def _train(
    stage: TrainingStage, method: TrainingMethod[LabelledBatch], settings: RefinementSettings | SegmenterSettings,
    backbone: Backbone, networks: dict[str, nn.Module],
) -> float:  # fmt: skip
    photos = LabelledPhotos(
        stage.records, resize_range=settings.resize_range, crop=settings.crop,
        mean=backbone.mean, std=backbone.std, seed=stage.recipe.engine.seed, long_side=settings.long_side,
    )  # fmt: skip
    loader: DataLoader[LabelledBatch] = build_loader(stage, photos, settings.batch_size, collate_labelled)
    return train_networks(stage, method, loader, num_epochs=settings.epochs, networks=networks)
