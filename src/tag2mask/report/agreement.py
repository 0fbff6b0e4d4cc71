"""What can be said of labels without masks: how much of the photos is foreground, and where two levels agree."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tag2mask.cams.store import full_size_maps
from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.data.records import Record
from tag2mask.pseudo_labels import label_map_from_maps
from tag2mask.report.content import Column, Gallery
from tag2mask.report.pictures import cams_of, labels_of


class LevelFacts(NamedTuple):
    """How much is foreground or unlabelled at one level of one method, and how far it agrees with the level before."""

    column: Column
    num_photos: int
    foreground: float
    """Share of the pixels that are of a class, in [0, 1]; those left unlabelled do not count."""
    unlabelled: float
    """Share of all pixels that are 255, in [0, 1]."""
    agreement: float | None
    """Share of the pixels that both label which are labelled as on the level before; None on the first level."""


def compare_levels(gallery: Gallery, records: Sequence[Record], thresholds: Mapping[str, float]) -> list[LevelFacts]:
    """Compare every level of the gallery with the one before it, at the photos' full size.

    Args:
        gallery: says where the labels are.
        records: photos to measure on.
        thresholds: background threshold of each column of activations, by its key.
    """
    columns = [column for column in gallery.columns if column.level not in ("cam", "truth")]
    facts = []
    for place, column in enumerate(columns):
        before = [other for other in columns[:place] if other.method == column.method][-1:]
        counts = np.zeros(5, np.int64)
        num_photos = 0
        for record in records:
            labels = _label_map(record, column, thresholds)
            if labels is None:
                continue
            num_photos += 1
            counts[:3] += _foreground(labels)
            others = _label_map(record, before[0], thresholds) if before else None
            if others is not None:
                counts[3:] += _equal(labels, others)
        if num_photos:
            foreground, known, num_pixels, equal, compared = counts.tolist()
            agreement = equal / compared if compared else None
            facts.append(
                LevelFacts(column, num_photos, foreground / max(known, 1), (num_pixels - known) / num_pixels, agreement)
            )
    return facts


def _label_map(record: Record, column: Column, thresholds: Mapping[str, float]) -> NDArray[np.uint8] | None:
    if column.kind == "labels":
        return labels_of(record, column)
    cams = cams_of(record, column)
    if cams is None:
        return None
    return label_map_from_maps(full_size_maps(cams), cams.class_ids, threshold=thresholds[column.key], uncertain=0)


def _foreground(labels: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Number of foreground pixels, of labelled pixels, and of all pixels."""
    known = labels != IGNORE
    return int((known & (labels != BACKGROUND)).sum()), int(known.sum()), labels.size


def _equal(labels: NDArray[np.uint8], others: NDArray[np.uint8]) -> tuple[int, int]:
    """Number of pixels with equal labels, and of pixels that are labelled in both."""
    known = (labels != IGNORE) & (others != IGNORE)
    return int((known & (labels == others)).sum()), int(known.sum())
