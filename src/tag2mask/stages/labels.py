"""The stage `4-pseudo-labels`: label maps at the photos' own size, from maps or from the seeds after the CRF."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tag2mask.cams.store import full_size_maps, read_cams, stored_maps
from tag2mask.config import LabelSettings
from tag2mask.data.classes import BACKGROUND, IGNORE, voc_palette
from tag2mask.data.label_maps import label_map_names, open_label_map, refuse_other_size, write_label_map
from tag2mask.data.photos import open_photo, photo_size
from tag2mask.data.records import Record
from tag2mask.evaluation.thresholds import NUM_STEPS
from tag2mask.files import replacing
from tag2mask.progress import track
from tag2mask.pseudo_labels import estimate_threshold, foreground_shares, label_map_from_maps, threshold_of_share
from tag2mask.runs.contradictions import most_uncertain
from tag2mask.stages.missing import write_missing
from tag2mask.workers import Inference, refused_together

_logger = logging.getLogger(__name__)

_TITLE = "pseudo-labels"
_THRESHOLD_FILE = "threshold.json"
# Share of the pixels of the photos that are tagged with a class.
_LEAST_SHARE = 0.001
_MOST_OPENED = 50


class ChosenThreshold(NamedTuple):
    """The background score that a set of pseudo-labels was made with."""

    used: float
    source: Literal["fixed", "estimated"]
    """As `labels.threshold_source` has it."""


def write_pseudo_labels(inference: Inference, *, maps: Path, seeds: Path, settings: LabelSettings) -> None:
    """Write the label maps of activation maps at one threshold; those that are there already are left alone.

    Args:
        inference: its folder gets one PNG per photo, and the threshold.
        maps: folder of the photos' activation maps.
        seeds: folder of the seeds that `maps` were made of, or `maps` itself.
        settings: which threshold is asked for, and the margin around it that stays unlabelled (255), which is narrower
            where an estimated threshold leaves no room for it.

    Raises:
        ValueError: the threshold is to be estimated, and nothing follows from the photos.
    """
    fabric, folder = inference.fabric, inference.folder
    with refused_together(fabric):
        if fabric.is_global_zero:
            write_threshold(folder, choose_threshold(inference.records, maps, seeds, settings))
    # All processes read the one that the first has chosen.
    threshold = read_threshold(folder)
    assert threshold is not None
    uncertain = _uncertain_at(threshold.used, settings.uncertain)
    if uncertain != settings.uncertain and fabric.is_global_zero:
        _logger.info(
            "warning: labels.uncertain is %s, but the %s threshold is %s, which would leave no pixel sure on one side "
            "of it: %s is taken", settings.uncertain, threshold.source, threshold.used, uncertain,
        )  # fmt: skip
    write = partial(_write_pseudo_label, maps=maps, folder=folder, threshold=threshold.used, uncertain=uncertain)
    write_missing(inference, write, title=_TITLE)


def copy_label_maps(inference: Inference, *, labels: Path) -> None:
    """Copy label maps unchanged as pseudo-labels; those that are there already are left alone.

    Args:
        inference: its folder gets one PNG per photo.
        labels: folder of the photos' label maps.
    """
    write = partial(_copy_label_map, labels=labels, folder=inference.folder)
    write_missing(inference, write, title=_TITLE)


def choose_threshold(records: Sequence[Record], maps: Path, seeds: Path, settings: LabelSettings) -> ChosenThreshold:
    """The threshold for labels of photos; only one that is to be estimated opens them.

    Args:
        records: photos that are to be labelled.
        maps: folder of their activation maps.
        seeds: folder of the seeds that `maps` were made of, or `maps` itself: an estimate is made on these, and the
            labels are given as large a share of foreground.
        settings: which threshold is asked for.

    Raises:
        ValueError: the threshold is to be estimated, and nothing follows from the photos.
    """
    match settings.threshold_source:
        case "fixed":
            return ChosenThreshold(settings.threshold, "fixed")
        case "estimated":
            return ChosenThreshold(_estimate(records, maps, seeds), "estimated")


def _estimate(records: Sequence[Record], maps: Path, seeds: Path) -> float:
    threshold = estimate_threshold(_photos_with_maps(records, seeds))
    if maps == seeds:
        return threshold
    shares = foreground_shares(_maps(records, seeds))
    return threshold_of_share(_maps(records, maps), float(shares[round(threshold * NUM_STEPS)]))


def _uncertain_at(threshold: float, uncertain: float) -> float:
    """The asked-for margin around a threshold, or half of the way to the nearer end of [0, 1] if it reaches beyond."""
    most = most_uncertain(threshold)
    return uncertain if uncertain <= most else most / 2


def write_threshold(folder: Path, threshold: ChosenThreshold) -> None:
    """Keep the threshold of the pseudo-labels in a folder."""
    with replacing(folder / _THRESHOLD_FILE) as path:
        path.write_text(json.dumps(threshold._asdict()) + "\n")


def read_threshold(folder: Path) -> ChosenThreshold | None:
    """The threshold of the pseudo-labels in a folder; None if they were made without one."""
    path = folder / _THRESHOLD_FILE
    if not path.exists():
        return None
    return ChosenThreshold(**json.loads(path.read_text()))


def check_maps(records: Sequence[Record], folder: Path, num_classes: int) -> list[str]:
    """Refuse activation maps of another origin that no labels can be made of.

    Returns:
        Names of the photos with maps of a class that their tags lack.

    Raises:
        ValueError: one is missing or not a file of maps in [0, 1], is of another size than its photo, or has a class
            beyond the data set's.
    """
    untagged = []
    for record in records:
        stored = read_cams(folder, record.name)
        path = folder / f"{record.name}.npz"
        width, height = photo_size(record.image)
        if (stored.width, stored.height) != (width, height):
            found = f"maps of a photo of {stored.width} x {stored.height} pixels"
            raise ValueError(f"{path}: found {found}, expected {width} x {height} as the photo has")
        top = stored.class_ids.max(initial=0)
        if top > num_classes:
            raise ValueError(f"{path}: found class id {top}, expected 1 to {num_classes}")
        if not set(stored.class_ids.tolist()) <= set(record.tags):
            untagged.append(record.name)
    return untagged


def check_label_maps(records: Sequence[Record], folder: Path, num_classes: int) -> list[str]:
    """Refuse label maps of another origin that cannot be learned from.

    Returns:
        Names of the photos whose label map has a class that their tags lack.

    Raises:
        ValueError: one is missing, of another size than its photo, or has a class beyond the data set's; or none of
            them has a class.
    """
    untagged = []
    values: set[int] = set()
    for record in records:
        shown = _ids_in_label_map(record, folder, num_classes)
        values |= shown
        if not shown <= {BACKGROUND, IGNORE, *record.tags}:
            untagged.append(record.name)
    if values and values <= {BACKGROUND, IGNORE}:
        found = " and ".join(str(value) for value in sorted(values))
        raise ValueError(
            f"{folder}: found no pixel of any class in {len(records)} label maps, only {found}, expected class ids "
            f"from 1 to {num_classes}, and {IGNORE} where unsure"
        )
    return untagged


def check_predictions(records: Sequence[Record], folder: Path, num_classes: int) -> None:
    """Refuse predictions of another origin that cannot be measured; tags do not matter, and all may be background.

    Raises:
        ValueError: one is missing, of another size than its photo, or has a class beyond the data set's.
    """
    for record in records:
        _ids_in_label_map(record, folder, num_classes)


def note_on_unlabelled_classes(records: Sequence[Record], folder: Path, class_names: Sequence[str]) -> str:
    """Message saying which classes have (almost) no pixel in the label maps of their photos; empty if all have enough.

    Almost none is less than 0.1 % of the photos tagged with the class. At most 50 of these are opened, evenly chosen,
    so that large data sets take seconds too.

    Args:
        records: photos with their tags.
        folder: folder of their label maps; photos without one do not count.
        class_names: foreground classes in the order of their ids.

    Raises:
        ValueError: a label map is damaged.
    """
    labelled = label_map_names(folder)
    unlabelled = []
    for class_id, name in enumerate(class_names, start=1):
        tagged = [record.name for record in records if class_id in record.tags and record.name in labelled]
        opened = tagged[:: math.ceil(len(tagged) / _MOST_OPENED)] if tagged else []
        shares = [float((open_label_map(folder / f"{photo}.png") == class_id).mean()) for photo in opened]
        if shares and sum(shares) / len(shares) < _LEAST_SHARE:
            unlabelled.append(f"{name} ({len(tagged):,} photo{'s' * (len(tagged) != 1)})")
    if not unlabelled:
        return ""
    return (
        f"no or hardly any pixel of {', '.join(unlabelled)}, which a segmenter cannot learn from these labels; if the "
        "maps show nothing either, train the classifier longer"
    )


def _ids_in_label_map(record: Record, folder: Path, num_classes: int) -> set[int]:
    """Class ids in a photo's label map, which is refused if it does not fit the photo or the classes."""
    path = folder / f"{record.name}.png"
    label_map = open_label_map(path)
    height, width = label_map.shape
    refuse_other_size(path, (width, height), photo_size(record.image))
    top = label_map[label_map != IGNORE].max(initial=0)
    if top > num_classes:
        raise ValueError(f"{path}: found class id {top}, expected 0 to {num_classes}, or {IGNORE} where unsure")
    return set(np.unique(label_map).tolist())


def _photos_with_maps(records: Sequence[Record], maps: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    for record in track(records, len(records), "threshold"):
        yield np.asarray(open_photo(record.image)), stored_maps(read_cams(maps, record.name))


def _maps(records: Sequence[Record], folder: Path) -> Iterator[NDArray[np.float32]]:
    return (stored_maps(read_cams(folder, record.name)) for record in records)


def _write_pseudo_label(record: Record, *, maps: Path, folder: Path, threshold: float, uncertain: float) -> None:
    stored = read_cams(maps, record.name)
    maps_of_photo = full_size_maps(stored)
    label_map = label_map_from_maps(maps_of_photo, stored.class_ids, threshold=threshold, uncertain=uncertain)
    write_label_map(folder / f"{record.name}.png", label_map, voc_palette())


def _copy_label_map(record: Record, *, labels: Path, folder: Path) -> None:
    write_label_map(folder / f"{record.name}.png", open_label_map(labels / f"{record.name}.png"), voc_palette())
