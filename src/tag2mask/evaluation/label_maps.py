"""Label maps against true ones: scores of all pixels, and the IoU of each photo, which tells the best and the worst."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tag2mask.evaluation.confusion import Scores, mean_iou_of_shown, scores_from_confusion
from tag2mask.files import replacing

_FILE_NAME = "photos.csv"
_COLUMNS = ["photo", "iou"]


class LabelMapCounts:
    """Counts of the pixels of photos, and for each photo the mean IoU of the classes it shows.

    A photo shows a class, background included, if its truth or its prediction has a pixel of it that counts: where the
    truth is 255 nothing does. A predicted 255 is a pixel of its true class that was missed.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        num_labels = len(class_names) + 1
        self._total = np.zeros((num_labels + 1, num_labels), np.int64)
        self.photos: dict[str, float] = {}
        """Photo to its own IoU in [0, 1]; no entry for a photo whose truth is 255 everywhere."""

    def add(self, name: str, confusion: NDArray[np.int64]) -> None:
        """Adds a photo's counts (C + 2, C + 1), as `confusion_matrix` gives them."""
        self._total += confusion
        if confusion.any():
            self.photos[name] = mean_iou_of_shown(confusion)

    def scores(self) -> Scores:
        """Scores over the pixels of all photos together."""
        return scores_from_confusion(self._total, self._class_names)


def write_photo_scores(folder: Path, photos: Mapping[str, float]) -> None:
    """Writes the IoU of each photo as CSV, one row per photo, every digit kept."""
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


def _row(path: Path, number: int, row: list[str]) -> tuple[str, float]:
    try:
        name, iou = row
        return name, float(iou)
    except ValueError as error:
        raise ValueError(f"{path}: row {number} is {','.join(row)}, expected a photo and a number") from error
