"""Learners that are compiled: they give what eager ones give, and compile in their first steps alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch._dynamo.utils import counters

from tag2mask.config import (
    AcrSettings,
    EngineSettings,
    OptimizerSettings,
    Recipe,
    ReconstructorSettings,
    RemnantSettings,
)
from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record
from tag2mask.data.transforms import FlipAugmentation, Normalisation
from tag2mask.engine import launch
from tag2mask.networks.classifier import Classifier
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.recipes import load_recipe
from tag2mask.training.acr import Acr, ClassifierAlone, ReconstructorAlone
from tag2mask.training.classification import Classification
from tag2mask.training.training import (
    Networks,
    Training,
    build_fixed,
    build_learner,
    build_loader,
    train_networks,
)

RECONSTRUCTOR = ReconstructorSettings(features=(0,), feature_channels=(4,), width=4, depth=2, max_width_factor=2)
OPTIMIZER = OptimizerSettings(momentum=0, weight_decay=0)
NORMALISATION = Normalisation((0.5,) * 3, (0.25,) * 3)
SETTINGS = AcrSettings(remnants=RemnantSettings(grid=4))


class OneLayer(nn.Module):
    """A backbone that is compiled in a moment."""

    channels, strides, normalisation = (4,), (2,), NORMALISATION

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.layer(images).relu()]


@pytest.fixture(autouse=True)
def nothing_is_compiled() -> None:
    torch.compiler.reset()
    counters.clear()


def small_classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(OneLayer(), 3, "linear")


def training_of(fabric: Fabric, *, compiled: bool) -> Training:
    records = [Record(str(number), Path(), (1,)) for number in range(400)]
    return Training(fabric, Recipe(engine=EngineSettings(compile=compiled)), records, 3, Path())


@contextmanager
def without_compiler() -> Iterator[None]:
    """The graphs are found as always, but torch's own operations run in them, with torch's own draws of dropout."""
    with torch.compiler.set_stance("default", force_backend="aot_eager"):
        yield


def test_compiled_steps_of_both_phases_give_what_eager_ones_give_and_only_the_first_compiles(
    fabric: Fabric, batch: Batch
):
    losses: dict[bool, list[dict[str, Tensor]]] = {}
    names: dict[bool, list[str]] = {}
    num_graphs = []
    for compiled in (False, True):
        training = training_of(fabric, compiled=compiled)
        classifier = small_classifier()
        # Dropout, so that the classifier is called in both modes.
        classifier.head = nn.Sequential(nn.Dropout(0.2), classifier.head)
        reconstructor = Reconstructor(OneLayer(), nn.Conv2d(4, 3, 1), RECONSTRUCTOR)
        method = Acr(
            build_learner(training, classifier, OPTIMIZER, 1, 4),
            build_learner(training, reconstructor, OPTIMIZER, 1, 4),
            SETTINGS,
        )
        names[compiled] = list(reconstructor.state_dict())
        torch.manual_seed(1)
        losses[compiled] = []
        with without_compiler():
            for _ in range(4):
                losses[compiled].append(method.training_step(batch, 0))
                num_graphs.append(counters["stats"]["unique_graphs"])

    # Classifier in both modes; reconstructor whole, and its depths, its encoding and its restoring alone.
    assert num_graphs == [0, 0, 0, 0, 6, 6, 6, 6]
    assert not counters["graph_break"]
    assert names[True] == names[False]
    for found, expected in zip(losses[True], losses[False], strict=True):
        torch.testing.assert_close(found, expected)


def reconstructor_alone(training: Training, classifier: Classifier, reconstructor: Reconstructor) -> ReconstructorAlone:
    learner = build_learner(training, reconstructor, OPTIMIZER, 1, 4)
    return ReconstructorAlone(build_fixed(training, classifier), learner, SETTINGS)


def classifier_alone(training: Training, classifier: Classifier, reconstructor: Reconstructor) -> ClassifierAlone:
    learner = build_learner(training, classifier, OPTIMIZER, 1, 4)
    return ClassifierAlone(learner, build_fixed(training, reconstructor), SETTINGS)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        # The fixed classifier and the reconstructor.
        (reconstructor_alone, 2),
        # The classifier; depths, encoding and restoring of the fixed reconstructor.
        (classifier_alone, 4),
    ],
)
def test_networks_that_do_not_learn_are_compiled_too(
    build: Callable[..., ReconstructorAlone | ClassifierAlone], expected: int, fabric: Fabric, batch: Batch
):
    losses = []
    for compiled in (False, True):
        classifier = small_classifier()
        reconstructor = Reconstructor(OneLayer(), nn.Conv2d(4, 3, 1), RECONSTRUCTOR)
        method = build(training_of(fabric, compiled=compiled), classifier, reconstructor)
        with without_compiler():
            losses.append([method.training_step(batch, 0) for _ in range(2)])

    assert counters["stats"]["unique_graphs"] == expected
    for found, eager in zip(losses[1], losses[0], strict=True):
        torch.testing.assert_close(found, eager)


def test_compiled_learner_learns_what_an_eager_one_learns_under_the_same_names(batch: Batch):
    try:
        fabric = launch(EngineSettings(accelerator="cpu", compile=True))
    except ValueError as error:
        pytest.skip(str(error))
    states = []
    for compiled in (False, True):
        learner = build_learner(training_of(fabric, compiled=compiled), small_classifier(), OPTIMIZER, 1, 4)
        for _ in range(3):
            Classification(learner).training_step(batch, 0)
        states.append(learner.state()["network"])

    assert counters["stats"]["unique_graphs"] == 2  # the classifier, and what `launch` tried
    torch.testing.assert_close(states[1], states[0])


def test_what_follows_an_epoch_may_show_a_compiled_network_photos_of_any_size(
    fabric: Fabric, tiny_recipe: Path, tmp_path: Path
):
    recipe = load_recipe(str(tiny_recipe), ["--engine.compile", "true"])
    records = [record for record in read_data_set(recipe.data).split("train") if record.tags]
    shapes: list[torch.Size] = []

    def look(epoch: int, networks: Networks) -> None:
        for side in (16, 24, 40):
            shapes.append(networks["classifier"](torch.zeros(1, 3, side, side)).cams.shape)

    training = Training(fabric, recipe, records, num_classes=3, folder=tmp_path, after_epoch=look)
    classifier = small_classifier()
    photos = TrainingPhotos(records, 3, FlipAugmentation(recipe.data, NORMALISATION), grid=4, seed=0)
    loader = build_loader(training, photos, 4, collate)
    method = Classification(build_learner(training, classifier, OPTIMIZER, 2, 4))

    with without_compiler():
        train_networks(training, method, loader, num_epochs=2, networks={"classifier": classifier})

    assert shapes == [(1, 3, side // 2, side // 2) for side in (16, 24, 40)] * 2
    assert counters["stats"]["unique_graphs"] == 1


def test_training_compiles_its_own_network_whatever_was_compiled_before_it(
    fabric: Fabric, tiny_recipe: Path, tmp_path: Path
):
    recipe = load_recipe(str(tiny_recipe), ["--engine.compile", "true"])
    records = [record for record in read_data_set(recipe.data).split("train") if record.tags][:4]
    photos = TrainingPhotos(records, 3, FlipAugmentation(recipe.data, NORMALISATION), grid=4, seed=0)

    for width in (1, 2):
        training = Training(fabric, recipe, records, num_classes=3, folder=tmp_path / str(width))
        classifier = small_classifier()
        classifier.head = nn.Sequential(nn.Conv2d(4, width, 1), nn.Conv2d(width, 3, 1))
        loader = build_loader(training, photos, 4, collate)
        method = Classification(build_learner(training, classifier, OPTIMIZER, 1, 4))
        with without_compiler(), torch._dynamo.config.patch(recompile_limit=1):
            train_networks(training, method, loader, num_epochs=1, networks={"classifier": classifier})

    assert counters["stats"]["unique_graphs"] == 2
