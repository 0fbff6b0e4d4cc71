"""Label maps against true ones: scores of all pixels, and the IoU of each photo, which tells the best and the worst."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tag2mask.evaluation.confusion import Scores, class_scores, confusion_matrix, scores_from_confusion
from tag2mask.files import replacing

_FILE_NAME = "photos.csv"
_COLUMNS = ["photo", "iou"]


class LabelMapScores(NamedTuple):
    """What the label maps of many photos are worth."""

    scores: Scores
    """Of the pixels of all photos together."""
    photos: dict[str, float]
    """Photo to its own IoU in [0, 1]; no entry for a photo whose truth is 255 everywhere."""


def measure_label_maps(
    pairs: Iterable[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]], class_names: Sequence[str]
) -> LabelMapScores:
    """Counts pixels over all photos, and for each photo the mean IoU of the classes it shows.

    A photo shows a class, background included, if its truth or its prediction has a pixel of it that counts: where the
    truth is 255 nothing does. A predicted 255 is a pixel of its true class that was missed.

    Args:
        pairs: names of photos with predicted and true class ids (H, W), 0 to C or 255.
        class_names: the C foreground classes in the order of their ids.

    Raises:
        ValueError: the two label maps of a photo differ in size, or have a class beyond C.
    """
    num_labels = len(class_names) + 1
    total = np.zeros((num_labels + 1, num_labels), np.int64)
    photos = {}
    for name, prediction, label_map in pairs:
        try:
            confusion = confusion_matrix(prediction, label_map, num_classes=len(class_names))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        total += confusion
        if confusion.any():
            photos[name] = _mean_iou_of_shown(confusion)
    return LabelMapScores(scores_from_confusion(total, class_names), photos)


def write_photo_scores(folder: Path, photos: Mapping[str, float]) -> None:
    """Writes the IoU of each photo as CSV, a row a photo, every digit kept."""
    with replacing(folder / _FILE_NAME) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(photos.items())


def read_photo_scores(folder: Path) -> dict[str, float]:
    """What `write_photo_scores` wrote; a ValueError of one line where the file holds something else."""
    path = folder / _FILE_NAME
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if rows[:1] != [_COLUMNS]:
        found = ",".join(rows[0]) if rows else "none"
        raise ValueError(f"{path}: columns are {found}, expected {','.join(_COLUMNS)}")
    return dict(_row(path, number, row) for number, row in enumerate(rows[1:], start=2))


def _mean_iou_of_shown(confusion: NDArray[np.int64]) -> float:
    """Mean IoU of the classes with a pixel in the counts (C + 2, C + 1)."""
    shown = confusion[:-1].any(axis=1) | confusion.any(axis=0)
    return float(class_scores(confusion).iou[shown].mean())


def _row(path: Path, number: int, row: list[str]) -> tuple[str, float]:
    try:
        name, iou = row
        return name, float(iou)
    except ValueError as error:
        raise ValueError(f"{path}: row {number} is {','.join(row)}, expected a photo and a number") from error
