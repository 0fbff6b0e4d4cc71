"""Which photos the report shows, and which pictures of them: found in a run folder, chosen by score and at random."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tag2mask.cams.store import stored_names
from tag2mask.config import TWIN, Level
from tag2mask.data.label_maps import label_map_names
from tag2mask.data.records import Record
from tag2mask.evaluation.label_maps import read_photo_scores
from tag2mask.report.content import METHODS, Column, Gallery
from tag2mask.runs.stages import Stage

# Photos are good or bad by the last of these levels that was measured.
_DECISIVE: tuple[Level, ...] = ("pseudo-label", "refined", "crf", "seed")
_SEED = 0

GroupKey = Literal["all", "random", "worst", "median", "best"]


class Group(NamedTuple):
    """Photos of a gallery that were chosen in the same way."""

    key: GroupKey
    records: tuple[Record, ...]


def find_galleries(
    stages: Sequence[Stage], records: Sequence[Record], *, run: Path, refined_methods: Sequence[str]
) -> tuple[Gallery, ...]:
    """Photos with CAMs and labels, and photos with predictions; a gallery without photos is left out.

    Args:
        stages: stages whose pictures are shown, and measurements by which photos are chosen.
        records: photos, each once.
        run: run folder, which is read only.
        refined_methods: methods whose seeds were made into labels; their pictures are shown from the start.
    """
    made = {stage.method for stage in stages}
    methods = [method for method in METHODS if method in made]
    chosen = [method for method in methods if method in refined_methods] or methods[-1:]
    scores = {f"{stage.level}-{stage.method}": run / stage.folder for stage in stages if stage.level}
    decisive = [f"{level}-{method}" for method in chosen for level in _DECISIVE]
    labels = _gallery("labels", records, _label_columns(stages, run, chosen), scores=scores, decisive=decisive)
    decisive = [f"segmenter-{method}" for method in (*chosen, TWIN)]
    columns = [
        Column(stage.method, "segmenter", "labels", run / stage.folder / "masks")
        for stage in _by_method(stages)
        if stage.kind == "predictions"
    ]
    predictions = _gallery("predictions", records, columns, scores=scores, decisive=decisive)
    return tuple(gallery for gallery in (labels, predictions) if gallery.records)


def candidates(gallery: Gallery) -> tuple[Record, ...]:
    """Photos that may be shown: those that were measured, or all where none were."""
    scores = _scores(gallery)
    return tuple(record for record in gallery.records if record.name in scores) or gallery.records


def choose_photos(gallery: Gallery, num_photos: int) -> list[Group]:
    """A random sample, and as many of the worst, the middle and the best each.

    The sample is drawn from all candidates, so that it tells what to expect; a photo of it may be among the others too.
    A gallery of few photos is shown whole, worst first.
    """
    scores, records = _scores(gallery), candidates(gallery)
    ranked = sorted(records, key=lambda record: scores.get(record.name, 0))
    if len(records) <= num_photos:
        return [Group("all", tuple(ranked))]
    share = num_photos // 4 if scores else 0
    groups = [Group("random", _sample(records, num_photos - 3 * share))]
    if share:
        middle = (len(ranked) - share) // 2
        groups += [
            Group("worst", tuple(ranked[:share])),
            Group("median", tuple(ranked[middle : middle + share])),
            Group("best", tuple(ranked[-share:][::-1])),
        ]
    return groups


def _scores(gallery: Gallery) -> dict[str, float]:
    """Score of each photo, by which it is good or bad."""
    return gallery.iou[gallery.decisive.key] if gallery.decisive else {}


def _label_columns(stages: Sequence[Stage], run: Path, chosen: Sequence[str]) -> list[Column]:
    ordered = [(stage.method, stage.kind, run / stage.folder) for stage in _by_method(stages)]
    cams = [(method, folder) for method, kind, folder in ordered if kind == "cams"]
    columns = [Column(method, "cam", "heat", folder) for method, folder in cams]
    columns += [Column(method, "seed", "maps", folder, method in chosen) for method, folder in cams]
    for method, kind, folder in ordered:
        match kind:
            case "crf":
                columns.append(Column(method, "crf", "labels", folder, method in chosen))
            case "maps":
                columns.append(Column(method, "refined", "maps", folder, method in chosen))
            case "labels":
                columns.append(Column(method, "pseudo-label", "labels", folder, method in chosen))
    return columns


def _by_method(stages: Sequence[Stage]) -> list[Stage]:
    """The stages that work on seeds or what follows from them, those of each method in their order."""
    order = (*METHODS, TWIN)
    return sorted((stage for stage in stages if stage.method in order), key=lambda stage: order.index(stage.method))


def _gallery(
    key: Literal["labels", "predictions"], records: Sequence[Record], columns: Sequence[Column], *,
    scores: Mapping[str, Path], decisive: Sequence[str],
) -> Gallery:  # fmt: skip
    """The photos that have a file for any column, and the columns that have a file for any photo.

    Args:
        key: key of the gallery.
        records: photos that it may show.
        columns: columns that it may have.
        scores: folders with the photos' own scores by the column that was measured.
        decisive: keys of columns by which photos are good or bad, the best to judge by first.
    """
    names = {column.key: _names(column) for column in columns}
    there = [column for column in columns if names[column.key]]
    found = tuple(record for record in records if any(record.name in names[column.key] for column in there))
    iou = {column.key: read_photo_scores(scores[column.key]) for column in there if column.key in scores}
    deciding = next((column for wanted in decisive for column in there if column.key == wanted and wanted in iou), None)
    if any(record.label_map for record in found):
        there.append(Column("", "truth", "labels", None))
    return Gallery(key, found, tuple(there), iou, deciding)


def _names(column: Column) -> set[str]:
    assert column.folder is not None
    match column.kind:
        case "labels":
            return label_map_names(column.folder)
        case _:
            return stored_names(column.folder)


def _sample(records: Sequence[Record], count: int) -> tuple[Record, ...]:
    places = np.random.default_rng(_SEED).permutation(len(records))[:count]
    return tuple(records[place] for place in places)


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the indices 0 to count - 1, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    return [math.floor(step * (count - 1) / (wanted - 1) + 0.5) for step in range(wanted)]
