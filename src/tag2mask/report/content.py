"""What the report shows of a run, as values; what a run did not make is empty."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from tag2mask.config import Level, Method, Recipe
from tag2mask.data.records import Record
from tag2mask.evaluation.sweep import SweepScores
from tag2mask.report.tables import ScoreRow

METHODS: tuple[Method, ...] = get_args(Method)
"""In the order in which they are shown."""


@dataclass(frozen=True)
class DataFacts:
    """The photos of a run, counted."""

    num_photos: int
    num_with_mask: int
    num_tags: dict[int, int]
    """Number of photos with each number of tags, by the number of tags."""
    num_of_class: tuple[int, ...]
    """Photos of each class."""
    together: tuple[tuple[tuple[str, int], ...], ...]
    """For each class the classes that appear with it and in how many photos, most first."""
    sizes: str
    """In words."""


class Curve(NamedTuple):
    """Scores of one method's maps at every threshold."""

    method: str
    level: Level
    scores: SweepScores


@dataclass(frozen=True)
class Column:
    """One kind of picture that a gallery shows of every photo."""

    method: str
    """Empty for the truth."""
    level: Level | Literal["cam", "truth"]
    kind: Literal["heat", "maps", "labels"]
    """Activations, label maps that follow from activations at a threshold, or label maps from PNGs."""
    folder: Path | None
    """Folder of the files; None where every record knows its own file."""
    shown: bool = True
    """Whether it is there before it is asked for."""

    @property
    def key(self) -> str:
        """Unique key in a gallery; if the column is measured, also the name of the folder with its scores."""
        return f"{self.level}-{self.method}"

    @property
    def source(self) -> str:
        """Key of the column whose files it is drawn from: seeds are drawn from CAMs."""
        return f"cam-{self.method}" if self.level == "seed" else self.key


@dataclass(frozen=True)
class Gallery:
    """Photos that have pictures of the same kinds."""

    key: Literal["labels", "predictions"]
    records: tuple[Record, ...]
    columns: tuple[Column, ...]
    iou: dict[str, dict[str, float]]
    """By column and photo: mean IoU of the classes that the photo shows."""
    decisive: Column | None
    """Tells which photos are good or bad; None where nothing was measured photo by photo."""


class TrainingCurves(NamedTuple):
    """Means over every epoch of one training."""

    folder: str
    """Below the run folder."""
    epochs: tuple[float, ...]
    losses: dict[str, tuple[float, ...]]
    """By the name of the term."""
    rates: dict[str, tuple[float, ...]]
    """Learning rates by the name of the network."""


class EpochStrip(NamedTuple):
    """CAMs of the same photos after several epochs of a training: the paper's figure 5."""

    method: str
    folders: dict[int, Path]
    """By epoch, in order."""
    records: tuple[Record, ...]
    """With the tags that have CAMs, the first of which is shown."""


class Restoration(NamedTuple):
    """A photo, and what is restored of it from the target segment and from the rest: the paper's figure 3."""

    name: str
    photo: Path
    target: Path
    rest: Path


class StageFacts(NamedTuple):
    """What a stage's manifest says."""

    folder: str
    """Below the run folder."""
    finished: bool
    seconds: float
    num_photos: int | None
    peak_memory: int | None
    """In MiB; None where it was not measured."""


class Command(NamedTuple):
    """Something to do next."""

    purpose: str
    line: str


@dataclass(frozen=True)
class ReportContent:
    """All that the report shows of a run."""

    run: Path
    recipe: Recipe
    class_names: tuple[str, ...]
    """Foreground classes in the order of their ids."""
    data: DataFacts
    is_measurable: bool
    """Whether there are masks to measure any stage with."""
    scores: tuple[ScoreRow, ...]
    unlabelled: dict[str, str]
    """By method: which classes have no pixel in its pseudo-labels, or hardly any, in words; empty where all have."""
    curves: tuple[Curve, ...]
    used: dict[str, float]
    """By column of activations: the threshold that the run uses, which needs no mask."""
    galleries: tuple[Gallery, ...]
    trainings: tuple[TrainingCurves, ...]
    strips: tuple[EpochStrip, ...]
    restorations: tuple[Restoration, ...]
    stages: tuple[StageFacts, ...]
    foreign: tuple[str, ...]
    """Folders of stages below the run folder whose files this run did not make."""
    left_out: tuple[str, ...]
    """Folders of stages below the run folder that are of other settings or inputs than the recipe's."""
    warnings: tuple[str, ...]
    """Warnings of the check of the data."""
    commands: tuple[Command, ...]
    written: str
    """Day and minute."""
    version: str
    """Version of this package."""
    machine: str
