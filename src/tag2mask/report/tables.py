"""Measurements as rows: `scores.json` in 0..1, tables for terminal and docs in percent."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rich.markup import escape
from rich.table import Table

from tag2mask.config import Level
from tag2mask.files import replacing

ThresholdSource = Literal["best on this split", "fixed", "estimated"]


@dataclass(frozen=True)
class ScoreRow:
    """One measurement: how good the label maps of one method at one level are on one split."""

    method: str
    """How the classifier was trained: "baseline", "acr", ..."""
    level: Level
    """What was measured, in the order of the stages."""
    split: str
    """Photos it was measured on."""
    miou: float
    """Mean intersection over union of all classes and the background, in [0, 1]."""
    precision: float
    """Mean over the foreground classes, in [0, 1]."""
    recall: float
    """Mean over the foreground classes, in [0, 1]."""
    iou: dict[str, float | None]
    """Class name to intersection over union in [0, 1], background first; None for a class that no measured photo shows,
    which counts as 0 in `miou`."""
    threshold: float | None
    """Background score that made label maps of activations, where there is one."""
    threshold_source: ThresholdSource | None
    """Where the threshold comes from; the best one on this split was chosen with the true masks."""
    num_photos: int
    """Photos measured."""
    seconds: float
    """Time the stage took, measurement not included."""

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise ValueError(fault)

    @property
    def key(self) -> tuple[str, str, str, str | None, float | None]:
        """What was measured: method, level, split, threshold source, and the threshold where it is fixed."""
        fixed = self.threshold if self.threshold_source == "fixed" else None
        return self.method, self.level, self.split, self.threshold_source, fixed


def notes_on_absent_classes(rows: Sequence[ScoreRow]) -> list[str]:
    """A warning for each set of measured photos in which some class is missing, which lowers the mIoU of all."""
    notes = []
    for row in rows:
        absent = [name for name, value in row.iou.items() if value is None]
        if absent:
            highest = 100 * (1 - len(absent) / len(row.iou))
            notes.append(
                f"Warning: none of the {row.num_photos:,} measured photos of {row.split} shows {', '.join(absent)}, "
                f"which counts as 0: no mIoU on them can be above {highest:.1f}."
            )
    return list(dict.fromkeys(notes))


def read_scores(path: Path | str) -> list[ScoreRow]:
    """The rows of a scores file; none where there is no file yet."""
    path = Path(path)
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, list):
        raise ValueError(f"{path}: holds {type(content).__name__}, expected a list of rows")
    return [_row(path, number, values) for number, values in enumerate(content, start=1)]


def write_scores(path: Path, rows: Sequence[ScoreRow]) -> None:
    """Write all rows of a run, replacing an older file."""
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=2, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def scores_table(rows: Sequence[ScoreRow]) -> Table:
    """A table for the terminal, in percent."""
    table = Table()
    for heading in _TEXT_HEADINGS:
        table.add_column(heading)
    for heading in _NUMBER_HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True, style="bold" if heading == "mIoU" else None)
    for row in rows:
        table.add_row(*(escape(cell) for cell in _cells(row)))
    return table


_TEXT_HEADINGS = ("method", "level", "split")
_NUMBER_HEADINGS = ("mIoU", "precision", "recall", "threshold", "photos", "seconds")


def _cells(row: ScoreRow) -> list[str]:
    threshold = "-" if row.threshold is None else f"{row.threshold:.2f}"
    return [
        row.method,
        row.level,
        row.split,
        *(f"{100 * value:.1f}" for value in (row.miou, row.precision, row.recall)),
        threshold if row.threshold_source is None else f"{threshold} ({row.threshold_source})",
        f"{row.num_photos:,}",
        f"{row.seconds:,.0f}" if row.seconds >= 10 else f"{row.seconds:.1f}",
    ]


def _row(path: Path, number: int, values: object) -> ScoreRow:
    names = {field.name for field in dataclasses.fields(ScoreRow)}
    found = set(values) if isinstance(values, dict) else set()
    if not isinstance(values, dict) or found != names:
        difference = [f"without {name}" for name in sorted(names - found)]
        difference += [f"with an unknown {name}" for name in sorted(found - names)]
        raise ValueError(f"{path}: row {number} is {', '.join(difference)}")
    try:
        return ScoreRow(**values)
    except ValueError as error:
        raise ValueError(f"{path}: row {number}: {error}") from error


def _fault(row: ScoreRow) -> str | None:
    """What is wrong with the values, in one line."""
    if row.level not in get_args(Level):
        return f"level is {row.level!r}, expected one of {', '.join(get_args(Level))}"
    if row.threshold_source not in (None, *get_args(ThresholdSource)):
        expected = ", ".join(get_args(ThresholdSource))
        return f"threshold_source is {row.threshold_source!r}, expected none or one of {expected}"
    if not isinstance(row.iou, dict):
        return f"iou is {row.iou!r}, expected class names with values"
    values = {"miou": row.miou, "precision": row.precision, "recall": row.recall}
    values |= {f"iou of {name}": value for name, value in row.iou.items() if value is not None}
    if row.threshold is not None:
        values["threshold"] = row.threshold
    for name, value in values.items():
        if not isinstance(value, float | int) or not 0 <= value <= 1:
            return f"{name} is {value!r}, expected 0 to 1"
    for name, value in {"num_photos": row.num_photos, "seconds": row.seconds}.items():
        if not isinstance(value, float | int) or not 0 <= value < float("inf"):
            return f"{name} is {value!r}, expected a number from 0"
    return None
