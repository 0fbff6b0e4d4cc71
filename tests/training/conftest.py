"""Networks so small that a step takes milliseconds, a batch for them, and learners."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from tag2mask.config import ClassifierSettings, DataSettings, OptimizerSettings, ReconstructorSettings
from tag2mask.data.batch import Batch, LabelledBatch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.data.read import read_data_set
from tag2mask.data.transforms import FlipAugmentation, Normalisation
from tag2mask.networks.classifier import Classifier, build_classifier
from tag2mask.networks.reconstructor import Reconstructor, build_reconstructor
from tag2mask.training.learner import Learner
from tag2mask.training.optim import build_optimizer, build_schedule

Network = TypeVar("Network", bound=nn.Module)
Learn = Callable[..., Learner[nn.Module]]

NUM_CLASSES = 3
CLASSIFIER = ClassifierSettings(backbone="test_resnet", output_stride=8)
RECONSTRUCTOR = ReconstructorSettings(
    features=(2, 3, -1), feature_channels=(4, 4, 8), width=4, depth=4, max_width_factor=4, dropout=0
)


@pytest.fixture(autouse=True, scope="module")
def in_one_thread(one_thread: None) -> None:
    """For all tests of this folder."""


@pytest.fixture
def batch() -> Batch:
    """Four photos of 64x64 with one to three tags."""
    generator = torch.Generator().manual_seed(1)
    tags = torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]])
    return Batch(
        images=torch.randn(4, 3, 64, 64, generator=generator),
        tags=tags,
        targets=torch.tensor([0, 2, 1, 2]),
        grid_draws=torch.rand(4, 1, 4, 4, generator=generator),
        names=("a", "b", "c", "d"),
    )


@pytest.fixture
def labelled_batch() -> LabelledBatch:
    """Two photos of 64x64 whose left and right halves differ in colour and class, the corners unlabelled."""
    generator = torch.Generator().manual_seed(1)
    images = 0.1 * torch.randn(2, 3, 64, 64, generator=generator)
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    images[0, :, :, 30:] += 1.5
    labels[0, :, 30:] = 1
    images[1, 0, :, :38] -= 2
    labels[1, :, :38] = 2
    labels[:, :8, :8] = 255
    return LabelledBatch(images, labels, ("a", "b"))


@pytest.fixture(scope="session")
def drawn_batch(shapes: Path) -> Batch:
    """Eight of the drawn photos, augmented."""
    settings = DataSettings(root=shapes, resize_range=(36, 44), crop=32)
    records = read_data_set(settings).split("train")
    augmentation = FlipAugmentation(settings, Normalisation((0.5,) * 3, (0.25,) * 3))
    photos = TrainingPhotos(records, NUM_CLASSES, augmentation, grid=4, seed=0)
    return collate([photos[0, index] for index in range(8)])


@pytest.fixture
def classifier() -> Classifier:
    """Its CAMs are 8x8."""
    return _new_classifier()


@pytest.fixture
def new_classifier() -> Callable[[], Classifier]:
    """Makes the same classifier each time."""
    return _new_classifier


@pytest.fixture
def new_reconstructor() -> Callable[..., Reconstructor]:
    """Makes the same reconstructor each time, but for the settings that are changed."""
    return _new_reconstructor


@pytest.fixture
def learn(fabric: Fabric) -> Learn:
    """Makes a learner that descends by plain steps of constant size."""

    def learn(network: nn.Module, learning_rate: float = 0.01) -> Learner[nn.Module]:
        settings = OptimizerSettings(
            learning_rate=learning_rate, momentum=0, weight_decay=0, bias_factor=1, poly_power=0
        )
        optimizer = build_optimizer(network, [], settings)
        return Learner(
            fabric, network, optimizer, build_schedule(optimizer, settings, num_steps=100, steps_per_epoch=10)
        )

    return learn


def _new_classifier() -> Classifier:
    torch.manual_seed(0)
    return _with_live_branches(build_classifier(CLASSIFIER, NUM_CLASSES))


def _new_reconstructor(**changes: Any) -> Reconstructor:
    torch.manual_seed(0)
    return _with_live_branches(build_reconstructor(CLASSIFIER, replace(RECONSTRUCTOR, **changes), NUM_CLASSES))


def _with_live_branches(network: Network) -> Network:
    """Draws the BatchNorm weights, which timm lets begin at 0 where a branch ends: no gradient would pass there."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network
