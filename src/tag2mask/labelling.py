"""The stage of `4-pseudo-labels`: label maps of the photos' own size from maps or from what the CRF made of seeds."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tag2mask.cams.store import full_size_maps, read_cams, stored_maps
from tag2mask.config import LabelSettings
from tag2mask.data.classes import IGNORE, voc_palette
from tag2mask.data.label_maps import label_map_names, open_label_map, write_label_map
from tag2mask.data.photos import open_photo, photo_size
from tag2mask.data.records import Record
from tag2mask.files import replacing
from tag2mask.progress import track
from tag2mask.pseudo_labels import estimate_threshold, label_map_from_maps

_THRESHOLD_FILE = "threshold.json"


class ChosenThreshold(NamedTuple):
    """The background score of a set of pseudo-labels."""

    used: float
    """What the labels were made with."""
    estimated: float | None
    """What photos and maps alone suggest; None where they suggest nothing."""


def write_pseudo_labels(records: Sequence[Record], maps: Path, folder: Path, *, settings: LabelSettings) -> None:
    """Write label maps of activation maps, and the threshold; those that are there already are left alone.

    Args:
        records: photos.
        maps: folder of their activation maps.
        folder: one PNG a photo, and `threshold.json`.
        settings: of the threshold.

    Raises:
        ValueError: the threshold is to be estimated, and nothing follows from the photos.
    """
    threshold = _choose_threshold(records, maps, settings)
    with replacing(folder / _THRESHOLD_FILE) as path:
        path.write_text(json.dumps(threshold._asdict()) + "\n")
    missing = _missing(records, folder)
    for record in track(missing, len(missing), "pseudo-labels"):
        stored = read_cams(maps, record.name)
        label_map = label_map_from_maps(
            full_size_maps(stored), stored.class_ids, threshold=threshold.used, uncertain=settings.uncertain
        )
        write_label_map(folder / f"{record.name}.png", label_map, voc_palette())


def copy_label_maps(records: Sequence[Record], labels: Path, folder: Path) -> None:
    """Take label maps as they are for pseudo-labels; those that are there already are left alone."""
    for record in _missing(records, folder):
        write_label_map(folder / f"{record.name}.png", open_label_map(labels / f"{record.name}.png"), voc_palette())


def check_label_maps(records: Sequence[Record], folder: Path, num_classes: int) -> None:
    """Refuse label maps of another origin that cannot be learned from.

    Raises:
        ValueError: one is missing, of another size than its photo, or has a class beyond the data set's.
    """
    for record in records:
        path = folder / f"{record.name}.png"
        label_map = open_label_map(path)
        width, height = photo_size(record.image)
        if label_map.shape != (height, width):
            found = f"{label_map.shape[1]} x {label_map.shape[0]}"
            raise ValueError(f"{path}: found {found} pixels, expected {width} x {height} as the photo has")
        top = label_map[label_map != IGNORE].max(initial=0)
        if top > num_classes:
            raise ValueError(f"{path}: found class id {top}, expected 0 to {num_classes}, or {IGNORE} where unsure")


def read_threshold(folder: Path) -> ChosenThreshold | None:
    """The threshold of the pseudo-labels in a folder, None where they were not made by one."""
    path = folder / _THRESHOLD_FILE
    return ChosenThreshold(**json.loads(path.read_text())) if path.exists() else None


def _choose_threshold(records: Sequence[Record], maps: Path, settings: LabelSettings) -> ChosenThreshold:
    try:
        estimated = estimate_threshold(_small_photos(records, maps))
    except ValueError:
        if settings.threshold_source == "estimated":
            raise
        return ChosenThreshold(settings.threshold, None)
    return ChosenThreshold(estimated if settings.threshold_source == "estimated" else settings.threshold, estimated)


def _small_photos(records: Sequence[Record], maps: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    for record in track(records, len(records), "threshold"):
        yield np.asarray(open_photo(record.image)), stored_maps(read_cams(maps, record.name))


def _missing(records: Sequence[Record], folder: Path) -> list[Record]:
    done = label_map_names(folder)
    return [record for record in records if record.name not in done]
