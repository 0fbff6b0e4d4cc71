import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from command_process import work_together
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, distributed
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.data import DataLoader, Dataset

from tag2mask.config import AcrSettings, DataSettings, OptimizerSettings, RemnantSettings
from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.data.loading import SamplesOrFaults, collate_or_fault
from tag2mask.data.read import read_data_set
from tag2mask.data.sampling import EpochBatches
from tag2mask.data.transforms import FlipAugmentation, Normalisation
from tag2mask.networks.classifier import Classifier
from tag2mask.recipes import load_recipe
from tag2mask.training import loop
from tag2mask.training.acr import Acr
from tag2mask.training.classification import Classification
from tag2mask.training.learner import Learner
from tag2mask.training.loop import CHECKPOINT, Row, Trainer, TrainingMethod
from tag2mask.training.optim import build_optimizer, build_schedule
from tag2mask.training.training import Training, build_loader

NORMALISATION = Normalisation((0.5,) * 3, (0.25,) * 3)
SEED = 7
NUM_EPOCHS = 3


@pytest.fixture
def loader(shapes: Path) -> DataLoader[Batch]:
    """Three batches of four augmented photos an epoch."""
    return loader_of(shapes)


def loader_of(root: Path) -> DataLoader[Batch]:
    settings = DataSettings(root=root, resize_range=(36, 44), crop=32)
    records = [record for record in read_data_set(settings).split("train") if record.tags]
    photos = TrainingPhotos(records, 3, FlipAugmentation(settings, NORMALISATION), grid=4, seed=SEED)
    batches = EpochBatches(len(records), 4, seed=SEED, rank=0, world_size=1)
    return DataLoader(photos, batch_sampler=batches, collate_fn=collate)


class Watched:
    """A method that keeps what it saw, and gives the losses that `report` makes of the true ones."""

    def __init__(self, method: TrainingMethod, report: Callable[[int, int, Tensor], Tensor]) -> None:
        self.method = method
        self.learners = method.learners
        self.names: list[tuple[str, ...]] = []
        self.losses: list[float] = []
        self._report = report

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        losses = self.method.training_step(batch, epoch)
        self.names.append(batch.names)
        self.losses.append(losses["classification"].item())
        step = (len(self.names) - 1) % 3
        return {name: self._report(epoch, step, loss) for name, loss in losses.items()}


@pytest.fixture
def classification(classifier: Classifier, learn: Callable) -> Watched:
    return Watched(Classification(learn(classifier)), lambda _epoch, _step, loss: loss)


def run(fabric: Fabric, method: TrainingMethod, loader: DataLoader[Batch], folder: Path, epochs: int) -> list[Row]:
    return Trainer(fabric, epochs, folder).train(method, loader)


def learned(method: TrainingMethod) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor
        for name, learner in method.learners.items()
        for key, tensor in learner.network.state_dict().items()
    }


def test_row_holds_mean_losses_and_the_next_learning_rate(
    fabric: Fabric, classification: Watched, loader: DataLoader[Batch], tmp_path: Path
):
    history = run(fabric, classification, loader, tmp_path, 2)

    assert [row["loss/classification"] for row in history] == pytest.approx(
        [sum(classification.losses[:3]) / 3, sum(classification.losses[3:]) / 3]
    )
    assert [row["learning_rate/classifier"] for row in history] == [0.01, 0.01]
    assert all(row["seconds"] > 0 for row in history)


class Draws:
    """Its loss is what it draws from torch."""

    def __init__(self) -> None:
        self.learners: dict[str, Learner[Any]] = {}

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        return {"draw": torch.rand(())}


class SecondProcess(Fabric):
    """One process that takes itself for the second."""

    @property
    def global_rank(self) -> int:
        return 1


def test_every_epoch_of_every_process_has_draws_of_its_own(fabric: Fabric, loader: DataLoader[Batch], tmp_path: Path):
    first = run(fabric, Draws(), loader, tmp_path / "first", 2)
    second = run(SecondProcess(accelerator="cpu", devices=1), Draws(), loader, tmp_path / "second", 2)

    assert len({row["loss/draw"] for row in first + second}) == 4


def test_losses_csv_and_events_hold_every_epoch_once_after_a_break(
    fabric: Fabric, classification: Watched, loader: DataLoader[Batch], tmp_path: Path
):
    run(fabric, classification, loader, tmp_path, 1)
    history = run(fabric, classification, loader, tmp_path, 3)

    with (tmp_path / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("epoch") for row in rows] == ["1", "2", "3"]
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == set(history[0])
    for name in history[0]:
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3]
        assert [event.value for event in events.Scalars(name)] == pytest.approx([row[name] for row in history])


def test_events_of_an_epoch_that_a_kill_left_without_checkpoint_are_forgotten(
    fabric: Fabric, classification: Watched, loader: DataLoader[Batch], tmp_path: Path
):
    run(fabric, classification, loader, tmp_path, 2)
    (tmp_path / CHECKPOINT).unlink()

    history = run(fabric, classification, loader, tmp_path, 3)

    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss/classification")
    assert [event.step for event in events] == [1, 2, 3]
    assert [event.value for event in events] == pytest.approx([row["loss/classification"] for row in history])
    # One a session.
    assert len(list(tmp_path.glob("events.*"))) == 2


def test_finished_training_does_nothing(
    fabric: Fabric, classification: Watched, loader: DataLoader[Batch], tmp_path: Path
):
    history = run(fabric, classification, loader, tmp_path, 1)
    classification.names.clear()
    before = set(tmp_path.iterdir())

    assert run(fabric, classification, loader, tmp_path, 1) == history
    assert classification.names == []
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("num_workers", [0, 2])
def test_photo_that_cannot_be_used_is_told_in_one_line(
    fabric: Fabric, classification: Watched, tiny_recipe: Path, num_workers: int, tmp_path: Path
):
    recipe = load_recipe(str(tiny_recipe), ["--data.num_workers", str(num_workers)])
    whole = [record for record in read_data_set(recipe.data).split("train") if record.tags]
    records = [*whole[1:], replace(whole[0], image=tmp_path / "absent.png")]
    training = Training(fabric, recipe, records, num_classes=2, folder=tmp_path)
    photos = TrainingPhotos(records, 3, FlipAugmentation(recipe.data, NORMALISATION), grid=4, seed=SEED)

    with pytest.raises(ValueError, match="absent") as error:
        run(fabric, classification, build_loader(training, photos, 4, collate), tmp_path, 1)

    expected = "found No such file or directory, expected a file that can be read"
    assert str(error.value) == f"{tmp_path / 'absent.png'}: {expected}"


class Photo(NamedTuple):
    """A batch of one."""

    names: tuple[str, ...]

    def to(self, device: torch.device) -> "Photo":
        return self


class FaultyPhotos(Dataset[Any]):
    """Photos of one process, one a step, one of which may be damaged."""

    def __init__(self, damaged: int | None) -> None:
        self.num_read = 0
        self._damaged = damaged

    def __getitem__(self, place: tuple[int, int]) -> Photo:
        self.num_read += 1
        if self.num_read - 1 == self._damaged:
            raise ValueError(f"photo of step {self._damaged} is damaged")
        return Photo((f"{self.num_read}",))


class Together:
    """Its steps need all processes, and one may give a loss that is not finite."""

    def __init__(self, breaks: int | None) -> None:
        self.learners: dict[str, Learner[Any]] = {}
        self._step = 0
        self._breaks = breaks

    def training_step(self, batch: Photo, epoch: int) -> dict[str, Tensor]:
        loss = torch.ones(())
        distributed.all_reduce(loss)
        self._step += 1
        return {"loss": loss * float("nan") if self._step - 1 == self._breaks else loss}


def train_with_a_fault(fabric: Fabric, kind: str, rank: int, step: int, folder: Path) -> None:
    at = step if fabric.global_rank == rank else None
    photos = SamplesOrFaults(FaultyPhotos(at if kind == "damaged" else None))
    batches = EpochBatches(6, 2, seed=0, rank=fabric.global_rank, world_size=2)
    loader: DataLoader[Any] = DataLoader(
        photos, batch_sampler=batches, collate_fn=lambda samples: collate_or_fault(samples, lambda whole: whole[0])
    )
    try:
        Trainer(fabric, 2, folder).train(Together(at if kind == "breaks" else None), loader)
    except (ValueError, FloatingPointError, SystemExit) as end:
        (folder / f"told by {fabric.global_rank}").write_text(repr(end))


# Of three steps an epoch: the first ones, those between and the last ones.
@pytest.mark.parametrize(("rank", "step"), [(0, 0), (1, 1), (1, 3), (0, 5)])
def test_damaged_photo_of_one_process_stops_all_and_is_told_by_the_first(rank: int, step: int, tmp_path: Path):
    assert work_together(train_with_a_fault, "damaged", rank, step, tmp_path) == [0, 0]

    assert (tmp_path / "told by 0").read_text() == f"ValueError('photo of step {step} is damaged')"
    assert (tmp_path / "told by 1").read_text() == "SystemExit(1)"
    assert (tmp_path / CHECKPOINT).exists() == (step >= 3)


@pytest.mark.parametrize(("rank", "step"), [(0, 1), (1, 5)])
def test_loss_of_one_process_that_is_not_finite_stops_all(rank: int, step: int, tmp_path: Path):
    assert work_together(train_with_a_fault, "breaks", rank, step, tmp_path) == [0, 0]

    told = [(tmp_path / f"told by {rank}").read_text() for rank in "01"]
    assert told[0] == told[1]
    assert (
        f"not finite in epoch {step // 3 + 1}, step {step % 3 + 1}: loss nan; photos {step + 1}, {step + 1};" in told[0]
    )


class WithoutFloat64(TorchDispatchMode):
    """A device that refuses it, as those of Apple do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor) and value.dtype == torch.float64:
                raise TypeError(f"{func} makes float64")
        return result


def test_training_needs_no_float64(
    fabric: Fabric, new_reconstructor: Callable, new_classifier: Callable, loader: DataLoader[Batch], tmp_path: Path
):
    method = adversaries(fabric, new_reconstructor, new_classifier)

    with WithoutFloat64():
        history = run(fabric, method, loader, tmp_path, 1)

    assert len(history) == 1


def adversaries(fabric: Fabric, new_reconstructor: Callable, new_classifier: Callable) -> Acr:
    """With dropout, momentum and a falling learning rate, all of which a checkpoint has to bring back."""

    def learner(network: torch.nn.Module, settings: OptimizerSettings) -> Learner[torch.nn.Module]:
        optimizer = build_optimizer(network, network.new_parameters(), settings)
        schedule = build_schedule(optimizer, settings, num_steps=3 * NUM_EPOCHS, steps_per_epoch=3)
        return Learner(fabric, network, optimizer, schedule)

    settings = AcrSettings(remnants=RemnantSettings(grid=4))
    return Acr(
        learner(new_classifier(), OptimizerSettings()),
        learner(new_reconstructor(dropout=0.5), OptimizerSettings(name="adam", learning_rate=0.001)),
        settings,
    )


def test_training_resumed_at_an_epoch_boundary_gives_the_same_digits(
    fabric: Fabric, shapes: Path, new_reconstructor: Callable, new_classifier: Callable, tmp_path: Path
):
    unbroken, begun, resumed = (adversaries(fabric, new_reconstructor, new_classifier) for _ in range(3))

    expected = run(fabric, unbroken, loader_of(shapes), tmp_path / "unbroken", NUM_EPOCHS)
    run(fabric, begun, loader_of(shapes), tmp_path / "broken", 2)
    torch.manual_seed(99)
    found = run(fabric, resumed, loader_of(shapes), tmp_path / "broken", NUM_EPOCHS)

    for row in expected + found:
        del row["seconds"]
    assert found == expected
    weights = learned(resumed)
    for name, tensor in learned(unbroken).items():
        assert torch.equal(weights[name], tensor), name
    assert not torch.equal(learned(begun)["classifier.head.weight"], weights["classifier.head.weight"])


def test_checkpoint_brings_back_the_scale_of_the_losses(
    shapes: Path, new_reconstructor: Callable, new_classifier: Callable, tmp_path: Path
):
    def scaling() -> tuple[Fabric, torch.amp.GradScaler]:
        # Doubles in every other step, so that each epoch ends with another scale.
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
        return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler)), scaler

    (begun, scaler), (resumed, new_scaler) = scaling(), scaling()
    run(begun, adversaries(begun, new_reconstructor, new_classifier), loader_of(shapes), tmp_path, 1)
    scale = scaler.get_scale()

    run(resumed, adversaries(resumed, new_reconstructor, new_classifier), loader_of(shapes), tmp_path, 1)

    assert scale > 4.0
    assert new_scaler.get_scale() == scale


@pytest.mark.parametrize(("steps_between_looks", "num_steps"), [(1, 5), (2, 5), (10, 6)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_with_step_terms_and_photos(
    value: float, steps_between_looks: int, num_steps: int, fabric: Fabric, classification: Watched,
    loader: DataLoader[Batch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
):  # fmt: skip
    monkeypatch.setattr(loop, "_STEPS_BETWEEN_LOOKS", steps_between_looks)
    breaking = Watched(
        classification.method, lambda epoch, step, loss: loss * value if (epoch, step) == (1, 1) else loss
    )

    with pytest.raises(FloatingPointError) as stop:
        run(fabric, breaking, loader, tmp_path, 3)

    told = str(stop.value)
    assert "epoch 2, step 2" in told
    assert f"classification {value}" in told
    assert f"photos {', '.join(breaking.names[4])};" in told
    assert len(breaking.names) == num_steps
    assert "\n" not in told


def test_full_disk_is_told_with_the_checkpoint_that_it_refused(
    fill_disk: Callable[..., None], fabric: Fabric, classification: Watched, loader: DataLoader[Batch], tmp_path: Path
):
    # The losses.
    fill_disk(but=1)

    with pytest.raises(OSError, match="No space left on device") as error:
        run(fabric, classification, loader, tmp_path, 1)

    assert error.value.filename == str(tmp_path / CHECKPOINT)
    assert not (tmp_path / CHECKPOINT).exists()


def test_checkpoint_of_the_last_whole_epoch_stays_after_a_stop(
    fabric: Fabric, classification: Watched, loader: DataLoader[Batch], tmp_path: Path
):
    run(fabric, classification, loader, tmp_path, 1)
    before = (tmp_path / CHECKPOINT).read_bytes()
    breaking = Watched(classification.method, lambda _epoch, _step, loss: loss * float("nan"))

    with pytest.raises(FloatingPointError, match="epoch 2, step 1"):
        run(fabric, breaking, loader, tmp_path, 2)

    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert len(run(fabric, classification, loader, tmp_path, 2)) == 2


def test_learning_rate_that_is_far_too_high_stops_by_itself(
    fabric: Fabric, classifier: Classifier, learn: Callable, loader: DataLoader[Batch], tmp_path: Path
):
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        run(fabric, Classification(learn(classifier, 1e12)), loader, tmp_path, 2)


def test_photos_come_in_another_order_in_each_epoch(
    fabric: Fabric, classification: Watched, loader: DataLoader[Batch], tmp_path: Path
):
    run(fabric, classification, loader, tmp_path, 2)

    first = [name for names in classification.names[:3] for name in names]
    second = [name for names in classification.names[3:] for name in names]
    assert sorted(first) == sorted(second)
    assert first != second
