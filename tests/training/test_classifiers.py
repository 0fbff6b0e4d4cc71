from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

from tag2mask.config import ClassifierSection, MctformerSettings, OptimizerSettings, Recipe
from tag2mask.data.augmentation import DeitAugmentation
from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.data.read import read_data_set
from tag2mask.data.sampling import EpochBatches
from tag2mask.data.transforms import FlipAugmentation, Normalisation
from tag2mask.recipes import load_recipe
from tag2mask.training.acr import ReconstructorAlone
from tag2mask.training.classification import Classification
from tag2mask.training.classifiers import (
    Training,
    load_network,
    new_classifier,
    new_reconstructor,
    train_acr,
    train_plain,
    train_pretrained,
    train_reconstructor,
)
from tag2mask.training.loop import Row, Trainer, TrainingMethod
from tag2mask.training.training import build_fixed, build_learner

NORMALISATION = Normalisation((0.5,) * 3, (0.5,) * 3)
# Too small to move a weight in float32.
STILL = OptimizerSettings(learning_rate=1e-30, weight_decay=0)

NewTraining = Callable[..., Training]


@pytest.fixture
def new_training(fabric: Fabric, tiny_recipe: Path, tmp_path: Path) -> NewTraining:
    """Makes a training on the tagged shapes, one epoch long, whose networks do not move unless they are told to."""
    recipe = load_recipe(str(tiny_recipe))
    records = [record for record in read_data_set(recipe.data).split("train") if record.tags]

    def new_training(**changes: object) -> Training:
        acr = replace(recipe.acr, epochs=1, classifier_optimizer=STILL, reconstructor_optimizer=STILL)
        changed: Recipe = replace(recipe, acr=replace(acr, **changes))
        return Training(fabric, changed, records, num_classes=2, folder=tmp_path)

    return new_training


def equal(found: dict[str, Tensor], expected: dict[str, Tensor], names: Sequence[str] | None = None) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in names or found)


def classifier(training: Training) -> dict[str, Tensor]:
    """Weights of a new one."""
    return new_classifier(training, "classifier").state_dict()


def reconstructor(training: Training) -> dict[str, Tensor]:
    """Weights of a new one."""
    return new_reconstructor(training, new_classifier(training, "classifier")).state_dict()


def trained(run: Path, kind: str, name: str) -> dict[str, Tensor]:
    return load_file(run / "1-classifier" / kind / f"{name}.safetensors")


def rows(folder: Path) -> list[Row]:
    """What a training tells of each epoch, but the seconds."""
    history = torch.load(folder / "checkpoint.pt", weights_only=True)["history"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def losses(folder: Path, name: str) -> Row:
    """The losses of one network in a training of one epoch."""
    (row,) = rows(folder)
    return {key: value for key, value in row.items() if key.startswith(f"loss/{name}/")}


def rows_by_hand(
    training: Training, method: TrainingMethod[Batch], folder: Path, *, num_epochs: int,
    augmentation: DeitAugmentation | None = None,
) -> list[Row]:  # fmt: skip
    """What `rows` gives after the bare loop, on photos that are given what the tiny recipe says."""
    seed, num_photos = training.recipe.engine.seed, len(training.records)
    flip = FlipAugmentation(replace(training.recipe.data, crop=32), NORMALISATION)
    photos = TrainingPhotos(training.records, 2, augmentation or flip, grid=4, seed=seed)
    batches = EpochBatches(num_photos, 4, seed=seed, rank=0, world_size=1)
    loader = DataLoader(photos, batch_sampler=batches, collate_fn=collate)
    Trainer(training.fabric, num_epochs, folder).train(method, loader)
    return rows(folder)


def test_networks_begin_the_same_for_a_seed_and_differ_for_another(new_training: NewTraining):
    training = new_training()
    other = replace(training, recipe=replace(training.recipe, engine=replace(training.recipe.engine, seed=1)))

    assert equal(classifier(training), classifier(training))
    assert equal(reconstructor(training), reconstructor(training))
    assert not equal(classifier(training), classifier(other))


def test_baseline_leaves_its_weights_and_gives_the_seconds_of_its_epochs(new_training: NewTraining):
    training = new_training()

    seconds = train_plain(training, "classifier")

    found = load_network(new_classifier(training, "classifier"), training.folder, "classifier").state_dict()
    checkpoint = torch.load(training.folder / "checkpoint.pt", weights_only=True)
    assert equal(found, checkpoint["learners"]["classifier"]["network"])
    assert not equal(found, classifier(training))
    assert seconds == pytest.approx(sum(row["seconds"] for row in checkpoint["history"]))
    assert len(checkpoint["history"]) == 3


@pytest.mark.parametrize(
    ("section", "augmentation"), [("classifier", None), ("mctformer", DeitAugmentation(48, NORMALISATION))]
)
def test_plain_training_is_the_loop_on_the_photos_of_its_section(
    section: ClassifierSection, augmentation: DeitAugmentation | None, new_training: NewTraining, tmp_path: Path
):
    training = new_training()
    transformer = MctformerSettings(backbone="test_vit", weights="none", drop_path=0.5, crop=48, epochs=2, batch_size=4)
    training = replace(training, recipe=replace(training.recipe, mctformer=transformer))
    settings = training.recipe.plain_training(section)

    train_plain(training, section)

    learner = build_learner(training, new_classifier(training, section), settings.optimizer, settings.epochs, 4)
    assert rows(training.folder) == rows_by_hand(
        training, Classification(learner), tmp_path / "by hand", num_epochs=settings.epochs, augmentation=augmentation
    )


@pytest.mark.parametrize("train", [train_acr, train_pretrained])
@pytest.mark.parametrize("warm_start", [True, False])
def test_adversarial_classifier_begins_as_the_baseline_or_anew(
    warm_start: bool, train: Callable[..., float], new_training: NewTraining, finished_run: Path, tmp_path: Path
):
    training = new_training(warm_start=warm_start)
    folder = finished_run / "1-classifier"

    train(training, folder / "baseline", folder / "reconstructor")

    expected = trained(finished_run, "baseline", "classifier") if warm_start else classifier(training)
    assert equal(load_file(tmp_path / "classifier.safetensors"), expected)


@pytest.mark.parametrize("epochs", [0, 1])
def test_adversarial_reconstructor_begins_as_the_one_trained_alone_or_anew(
    epochs: int, new_training: NewTraining, finished_run: Path, tmp_path: Path
):
    training = new_training(reconstructor_epochs=epochs)
    folder = finished_run / "1-classifier"

    train_acr(training, folder / "baseline", folder / "reconstructor")

    expected = trained(finished_run, "reconstructor", "reconstructor") if epochs else reconstructor(training)
    assert equal(load_file(tmp_path / "reconstructor.safetensors"), expected)


def test_reconstructor_learns_at_its_share_of_the_rate_beside_the_classifier(
    new_training: NewTraining, finished_run: Path, tmp_path: Path
):
    moving = OptimizerSettings(learning_rate=0.001)
    training = new_training(classifier_optimizer=moving, reconstructor_optimizer=moving, reconstructor_rate_factor=0.25)
    folder = finished_run / "1-classifier"

    train_acr(training, folder / "baseline", folder / "reconstructor")

    (row,) = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["history"]
    assert row["learning_rate/classifier"] > 0
    assert row["learning_rate/reconstructor"] == pytest.approx(0.25 * row["learning_rate/classifier"])


def test_reconstructor_trained_alone_learns_on_the_maps_of_the_baseline(
    new_training: NewTraining, finished_run: Path, tmp_path: Path
):
    training = new_training(reconstructor_optimizer=OptimizerSettings())
    baseline = finished_run / "1-classifier" / "baseline"

    train_reconstructor(training, baseline)

    assert equal(
        load_file(tmp_path / "reconstructor.safetensors"), trained(finished_run, "reconstructor", "reconstructor")
    )
    assert not (tmp_path / "classifier.safetensors").exists()


def test_reconstructor_alone_is_the_loop_on_the_maps_of_the_baseline(
    new_training: NewTraining, finished_run: Path, tmp_path: Path
):
    training = new_training(reconstructor_optimizer=OptimizerSettings())
    dropping = replace(training.recipe.acr, reconstructor=replace(training.recipe.acr.reconstructor, dropout=0.5))
    training = replace(training, recipe=replace(training.recipe, acr=dropping))
    baseline = finished_run / "1-classifier" / "baseline"

    train_reconstructor(training, baseline)

    fixed = load_network(new_classifier(training, "classifier"), baseline, "classifier")
    learner = build_learner(training, new_reconstructor(training, fixed), OptimizerSettings(), 1, 4)
    method = ReconstructorAlone(build_fixed(training, fixed), learner, dropping)
    assert rows(training.folder) == rows_by_hand(training, method, tmp_path / "by hand", num_epochs=1)


def test_pretrained_variant_learns_against_the_reconstructor_that_was_trained_alone(
    new_training: NewTraining, finished_run: Path, tmp_path: Path
):
    training = new_training()
    folder = finished_run / "1-classifier"

    # Where neither network moves, the reconstructor that learns beside the classifier stays the one trained alone.
    train_acr(replace(training, folder=tmp_path / "acr"), folder / "baseline", folder / "reconstructor")
    train_pretrained(training, folder / "baseline", folder / "reconstructor")

    assert losses(tmp_path, "classifier") == pytest.approx(losses(tmp_path / "acr", "classifier"))


def test_pretrained_variant_trains_the_classifier_alone(new_training: NewTraining, finished_run: Path, tmp_path: Path):
    training = new_training(classifier_optimizer=OptimizerSettings())
    folder = finished_run / "1-classifier"

    train_pretrained(training, folder / "baseline", folder / "reconstructor")

    assert not equal(load_file(tmp_path / "classifier.safetensors"), trained(finished_run, "baseline", "classifier"))
    assert not (tmp_path / "reconstructor.safetensors").exists()


@pytest.mark.parametrize("train", [train_acr, train_pretrained])
@pytest.mark.parametrize(("decay_epochs", "shares_left"), [(0, (1 / 2, 1 / 6)), (1, (1 / 3, 1 / 3))])
def test_learning_rate_decays_over_all_epochs_or_fewer(
    decay_epochs: int, shares_left: tuple[float, float], train: Callable[..., float], new_training: NewTraining,
    finished_run: Path,
):  # fmt: skip
    # Three steps an epoch.
    optimizer = replace(STILL, poly_power=1)
    training = new_training(epochs=2, decay_epochs=decay_epochs, classifier_optimizer=optimizer)
    folder = finished_run / "1-classifier"

    train(training, folder / "baseline", folder / "reconstructor")

    history = torch.load(training.folder / "checkpoint.pt", weights_only=True)["history"]
    rates = [row["learning_rate/classifier"] / STILL.learning_rate for row in history]
    assert rates == pytest.approx(shares_left)
