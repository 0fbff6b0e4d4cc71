"""How good the maps or label maps of a stage are: pixel counts, and a score of each photo, on disk."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tag2mask.cams.store import full_size_maps, read_cams
from tag2mask.config import Level
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.records import Record
from tag2mask.evaluation.confusion import Scores
from tag2mask.evaluation.label_maps import measure_label_maps, write_photo_scores
from tag2mask.evaluation.sweep import ThresholdSweep, write_sweep
from tag2mask.files import replacing
from tag2mask.progress import track
from tag2mask.pseudo_labels import label_map_from_maps
from tag2mask.runs.stages import Stage

SWEPT_LEVELS: tuple[Level, ...] = ("seed", "refined")
"""Of activation maps, which are measured at every threshold."""

_SCORES_FILE = "label_maps.json"
LabelPair = tuple[str, NDArray[np.uint8], NDArray[np.uint8]]


def measure(stage: Stage, source: Path, folder: Path, *, class_names: Sequence[str]) -> None:
    """Compare a stage's results with the true masks.

    Maps are counted at every threshold (`sweep.npz`); label maps, and maps at their best threshold, are scored as a
    whole (`label_maps.json`) and photo by photo (`photos.csv`).

    Args:
        stage: the measurement; its photos have true masks.
        source: folder of what is measured.
        folder: of the results.
        class_names: foreground classes in the order of their ids.
    """
    title = f"scores of {stage.level}, {stage.method}"
    match stage.level:
        case level if level in SWEPT_LEVELS:
            sweep = _sweep(stage.records, source, len(class_names), title)
            write_sweep(folder, sweep)
            pairs = _pairs_from_maps(stage.records, source, sweep.scores().best())
        case "segmenter":
            pairs = _pairs_from_files(stage.records, source / "masks")
        case _:
            pairs = _pairs_from_files(stage.records, source)
    measured = measure_label_maps(track(pairs, len(stage.records), title), class_names)
    write_photo_scores(folder, measured.photos)
    with replacing(folder / _SCORES_FILE) as path:
        path.write_text(json.dumps(asdict(measured.scores)) + "\n")


def read_label_scores(folder: Path) -> Scores:
    """The scores of label maps as a whole."""
    return Scores(**json.loads((folder / _SCORES_FILE).read_text()))


def _sweep(records: Sequence[Record], maps: Path, num_classes: int, title: str) -> ThresholdSweep:
    sweep = ThresholdSweep(num_classes)
    for record in track(records, len(records), title):
        stored = read_cams(maps, record.name)
        try:
            sweep.add(full_size_maps(stored), stored.class_ids, _truth(record))
        except ValueError as error:
            raise ValueError(f"{record.name}: {error}") from error
    return sweep


def _pairs_from_maps(records: Sequence[Record], maps: Path, threshold: float) -> Iterator[LabelPair]:
    for record in records:
        stored = read_cams(maps, record.name)
        label_map = label_map_from_maps(full_size_maps(stored), stored.class_ids, threshold=threshold, uncertain=0)
        yield record.name, label_map, _truth(record)


def _pairs_from_files(records: Sequence[Record], folder: Path) -> Iterator[LabelPair]:
    for record in records:
        yield record.name, open_label_map(folder / f"{record.name}.png"), _truth(record)


def _truth(record: Record) -> NDArray[np.uint8]:
    assert record.label_map is not None
    return open_label_map(record.label_map)
