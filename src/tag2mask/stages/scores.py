"""How good the maps or label maps of a stage are: pixel counts, and a score of each photo, on disk."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tag2mask.cams.store import full_size_maps, read_cams
from tag2mask.config import Level
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.records import Record
from tag2mask.evaluation.confusion import Scores, confusion_matrix
from tag2mask.evaluation.label_maps import LabelMapCounts, write_photo_scores
from tag2mask.evaluation.sweep import PhotoSweep, ThresholdSweep, sweep_photo, write_sweep
from tag2mask.evaluation.thresholds import NUM_STEPS
from tag2mask.files import replacing
from tag2mask.runs.stages import Stage
from tag2mask.workers import for_each, num_cores

SWEPT_LEVELS: tuple[Level, ...] = ("seed", "refined")
"""Levels of activation maps, which are measured at every threshold."""

_SCORES_FILE = "label_maps.json"
# Counting these takes longer than to start a process.
_PHOTOS_A_PROCESS = 200
Result = TypeVar("Result")


class _Measured(NamedTuple):
    """Scores of all photos together, and the IoU of each photo."""

    scores: Scores
    photos: dict[str, float]


def measure(stage: Stage, source: Path, folder: Path, *, class_names: Sequence[str], num_processes: int) -> None:
    """Compare a stage's results with the true masks.

    Maps are counted at every threshold (`sweep.npz`); label maps, and maps at their best threshold, are scored as a
    whole (`label_maps.json`) and photo by photo (`photos.csv`).

    Args:
        stage: the measurement; its photos have true masks.
        source: folder of the maps or label maps that are measured.
        folder: gets the results.
        class_names: foreground classes in the order of their ids.
        num_processes: most processes that are started for many photos; 0 = one per core.

    Raises:
        ValueError: what is measured of a photo does not fit its true mask, or one of the two is damaged.
    """
    if stage.level in SWEPT_LEVELS:
        measured = _measure_maps(stage, source, folder, class_names, num_processes)
    else:
        label_maps = source / "masks" if stage.level == "segmenter" else source
        measured = _measure_label_maps(stage, label_maps, class_names, num_processes)
    # In the order of the photos, of which any may be ready first.
    found = {record.name: measured.photos[record.name] for record in stage.records if record.name in measured.photos}
    write_photo_scores(folder, found)
    with replacing(folder / _SCORES_FILE) as path:
        path.write_text(json.dumps(asdict(measured.scores)) + "\n")


def read_label_scores(folder: Path) -> Scores:
    """The scores of label maps as a whole."""
    return Scores(**json.loads((folder / _SCORES_FILE).read_text()))


def _measure_maps(stage: Stage, maps: Path, folder: Path, class_names: Sequence[str], num_processes: int) -> _Measured:
    sweep = ThresholdSweep(len(class_names))
    iou: dict[str, NDArray[np.float64]] = {}

    def add(photo: tuple[str, PhotoSweep, NDArray[np.float64]]) -> None:
        name, counted, iou[name] = photo
        sweep.add(counted)

    _for_each_photo(partial(_sweep, maps=maps, num_classes=len(class_names)), stage, num_processes, take=add)
    write_sweep(folder, sweep)
    scores = sweep.scores()
    best = scores.best()
    return _Measured(
        scores.at(best, class_names),
        {name: float(values[round(best * NUM_STEPS)]) for name, values in iou.items() if len(values)},
    )


def _measure_label_maps(stage: Stage, label_maps: Path, class_names: Sequence[str], num_processes: int) -> _Measured:
    counts = LabelMapCounts(class_names)

    def add(photo: tuple[str, NDArray[np.int64]]) -> None:
        counts.add(*photo)

    _for_each_photo(partial(_compare, folder=label_maps, num_classes=len(class_names)), stage, num_processes, take=add)
    return _Measured(counts.scores(), counts.photos)


def _for_each_photo(
    work: Callable[[Record], Result], stage: Stage, num_processes: int, *, take: Callable[[Result], object]
) -> None:
    most = max(1, len(stage.records) // _PHOTOS_A_PROCESS)
    for_each(
        work, stage.records, num_processes=min(num_processes or num_cores(), most),
        title=f"scores of {stage.level}, {stage.method}", take=take,
    )  # fmt: skip


def _sweep(record: Record, *, maps: Path, num_classes: int) -> tuple[str, PhotoSweep, NDArray[np.float64]]:
    """Name, counts, and IoU at every threshold of a photo's maps."""
    stored, truth = read_cams(maps, record.name), _truth(record)
    with _named(record):
        counted = sweep_photo(full_size_maps(stored), stored.class_ids, truth, num_classes=num_classes)
    return record.name, counted, counted.iou()


def _compare(record: Record, *, folder: Path, num_classes: int) -> tuple[str, NDArray[np.int64]]:
    """Name and counts of a photo's label map."""
    label_map, truth = open_label_map(folder / f"{record.name}.png"), _truth(record)
    with _named(record):
        return record.name, confusion_matrix(label_map, truth, num_classes=num_classes)


@contextmanager
def _named(record: Record) -> Iterator[None]:
    """Begin an error's message with the photo's name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{record.name}: {error}") from error


def _truth(record: Record) -> NDArray[np.uint8]:
    assert record.label_map is not None
    return open_label_map(record.label_map)
