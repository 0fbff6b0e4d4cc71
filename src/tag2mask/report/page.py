"""One self-contained HTML page per run: what each stage gained, and photos that show it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tag2mask.data.records import Record
from tag2mask.files import replacing
from tag2mask.report.agreement import LevelFacts, compare_levels
from tag2mask.report.colours import METHOD_COLOURS, class_colours
from tag2mask.report.content import Column, EpochStrip, Gallery, ReportContent, Restoration
from tag2mask.report.galleries import Group, GroupKey, candidates, choose_photos, evenly_spaced
from tag2mask.report.pictures import PhotoPictures, photo_pictures, small_picture, strip_pictures
from tag2mask.report.sections import (
    ThresholdPanel,
    chart_of_levels,
    class_table,
    duration,
    level_rows,
    setting_rows,
    splits_in_effect,
    start_threshold,
    threshold_panels,
    training_charts,
    verdict_of,
)
from tag2mask.report.verdict import EFFECT_WORDS, level_name, method_name

NUM_PHOTOS = 96
MAX_BYTES = 20 * 2**20
"""Largest size of a page; browsers become slow beyond."""

_MAX_STRIP_EPOCHS = 7
_MAX_STRIP_PHOTOS = 6
# What goes first where the page is too large.
_DROPPED_FIRST: tuple[GroupKey, ...] = ("random", "all", "median", "best", "worst")


@dataclass(frozen=True)
class ShownGroup:
    """Photos of a gallery that were chosen in the same way, with their pictures."""

    key: GroupKey
    photos: list[PhotoPictures]


@dataclass(frozen=True)
class ShownGallery:
    """A gallery as the page shows it."""

    gallery: Gallery
    groups: list[ShownGroup]


def write_report(
    path: Path, content: ReportContent, *, num_photos: int = NUM_PHOTOS, max_bytes: int = MAX_BYTES
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: path of the HTML file.
        content: what the page shows.
        num_photos: photos shown in all. If a run has predictions, half of them with these; at least one of each kind.
        max_bytes: largest size of the page; photos are left out, those of the random sample first, until it fits.
    """
    share = max(1, num_photos // max(1, len(content.galleries)))
    galleries = [_show(gallery, choose_photos(gallery, share)) for gallery in content.galleries]
    page = _render(content, galleries, num_dropped=0)
    num_dropped = _drop(galleries, len(page.encode()) - max_bytes)
    if num_dropped:
        left = [replace(shown, groups=[group for group in shown.groups if group.photos]) for shown in galleries]
        page = _render(content, left, num_dropped=num_dropped)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _show(gallery: Gallery, groups: Sequence[Group]) -> ShownGallery:
    unique = {record.name: record for group in groups for record in group.records}
    pictures = {name: photo_pictures(record, gallery.columns) for name, record in unique.items()}
    return ShownGallery(
        gallery, [ShownGroup(group.key, [pictures[record.name] for record in group.records]) for group in groups]
    )


def _drop(galleries: Sequence[ShownGallery], excess: int) -> int:
    """Take photos away until `excess` bytes are gone; returns how many."""
    num_dropped = 0
    for key in _DROPPED_FIRST:
        groups = [group for shown in galleries for group in shown.groups if group.key == key]
        while excess > 0 and any(group.photos for group in groups):
            longest = max(groups, key=lambda group: len(group.photos))
            excess -= longest.photos.pop().num_bytes
            num_dropped += 1
    return num_dropped


def _render(content: ReportContent, galleries: Sequence[ShownGallery], *, num_dropped: int) -> str:
    headings, classes = class_table(content)
    panels = threshold_panels(content)
    template = _environment(content, galleries).from_string(_asset("page.html"))
    return template.render(
        content=content,
        title=content.run.resolve().name,
        sentences=verdict_of(content),
        splits=splits_in_effect(content.recipe.data),
        levels=level_rows(content),
        level_chart=chart_of_levels(content),
        unmeasured=[] if content.scores else _compare(content, galleries),
        headings=headings,
        classes=classes,
        panels=panels,
        galleries=galleries,
        num_dropped=num_dropped,
        trainings=[training_charts(training) for training in content.trainings if training.epochs],
        strips=[_strip(strip) for strip in content.strips],
        restorations=[_restored(restoration) for restoration in content.restorations],
        settings=setting_rows(content.recipe),
        heat=_heat(9),
        data=_json(_data(content, panels, galleries)),
        script=Markup(_asset("viewer.js")),
        style=Markup(_asset("viewer.css")),
    )


def _environment(content: ReportContent, galleries: Sequence[ShownGallery]) -> Environment:
    """Jinja environment of the page's template, with the functions that the template calls."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    refinement = content.recipe.refinement.method
    environment.globals |= {
        "duration": duration,
        "level_name": lambda level: level_name(level, refinement),
        "method_name": method_name,
        "column_name": lambda column, gallery: _column_name(column, gallery, refinement),
        "effect_words": EFFECT_WORDS,
        "colour_of": METHOD_COLOURS.__getitem__,
        "candidates": candidates,
        "start_of": lambda level: start_threshold(content, level),
        "levels_of_maps": _levels_of_maps(galleries),
        "tag_names": lambda record: _tag_names(record, content.class_names),
    }
    return environment


def _asset(name: str) -> str:
    return files("tag2mask.report").joinpath(name).read_text(encoding="utf-8")


def _column_name(column: Column, gallery: Gallery, refinement: str) -> str:
    """Name of the level, with the method if several have it."""
    level = "prediction" if column.level == "segmenter" else level_name(column.level, refinement)
    alone = sum(other.level == column.level for other in gallery.columns) == 1
    return level if alone else f"{level} {method_name(column.method)}"


def _tag_names(record: Record, class_names: Sequence[str]) -> str:
    return ", ".join(class_names[tag - 1] for tag in record.tags) or "with nothing"


def _levels_of_maps(galleries: Sequence[ShownGallery]) -> list[str]:
    """Levels whose label maps follow from a threshold, each once."""
    columns = [column for shown in galleries for column in shown.gallery.columns if column.kind == "maps"]
    return list(dict.fromkeys(column.level for column in columns))


def _compare(content: ReportContent, galleries: Sequence[ShownGallery]) -> list[LevelFacts]:
    """Levels of labels compared with one another, where there are no masks to measure them with."""
    return [
        facts
        for shown in galleries
        if shown.gallery.key == "labels"
        for facts in compare_levels(
            shown.gallery, [photo.record for group in shown.groups for photo in group.photos], content.used
        )
    ]


def _strip(strip: EpochStrip) -> dict[str, Any]:
    """A row of pictures for each of a few photos, over evenly spaced epochs."""
    known = list(strip.folders)
    epochs = [known[place] for place in evenly_spaced(len(known), _MAX_STRIP_EPOCHS)]
    records = strip.records[:_MAX_STRIP_PHOTOS]
    return {
        "method": strip.method,
        "epochs": epochs,
        "rows": [(record, strip_pictures(strip, record, epochs)) for record in records],
    }


def _restored(restoration: Restoration) -> tuple[str, str, str, str]:
    """Name, photo, and what is restored of it from the target segment and from the rest."""
    photo, target, rest = (small_picture(path) for path in (restoration.photo, restoration.target, restoration.rest))
    return restoration.name, photo, target, rest


def _heat(num_colours: int) -> list[str]:
    """Colours of activations from 0 to 1, the same as in the pictures that are files."""
    colours = matplotlib.colormaps["inferno"](0.15 + 0.8 * np.linspace(0, 1, num_colours), bytes=True)[:, :3]
    return ["#" + "".join(f"{channel:02x}" for channel in colour) for colour in colours.tolist()]


def _data(content: ReportContent, panels: Sequence[ThresholdPanel], galleries: Sequence[ShownGallery]) -> Any:
    """Data for the page's script."""
    refinement = content.recipe.refinement.method
    colours = class_colours(len(content.class_names))
    return {
        "classes": [
            {"id": class_id, "name": name, "colour": colour}
            for class_id, (name, colour) in enumerate(zip(content.class_names, colours, strict=True), start=1)
        ],
        "heat": _heat(256),
        "thresholds": {level: round(100 * start_threshold(content, level)) for level in _levels_of_maps(galleries)},
        "panels": [_panel_data(panel) for panel in panels],
        "galleries": [
            {
                "columns": [_column_data(column, shown.gallery, refinement) for column in shown.gallery.columns],
                "groups": [
                    {"key": group.key, "photos": [_photo_data(photo, shown.gallery) for photo in group.photos]}
                    for group in shown.groups
                ],
            }
            for shown in galleries
        ],
    }


def _panel_data(panel: ThresholdPanel) -> Any:
    x, y = panel.chart.x, panel.chart.y
    return {
        "level": panel.level,
        "x": [x.start, x.end],
        "y": [y.start, y.end, y.low, y.high],
        "curves": [
            {
                "method": method_name(curve.method),
                "miou": np.round(100 * curve.scores.miou, 3).tolist(),
                "classes": np.round(100 * curve.scores.iou.T, 3).tolist(),
            }
            for curve in panel.curves
        ],
    }


def _column_data(column: Column, gallery: Gallery, refinement: str) -> Any:
    return {
        "key": column.key,
        "name": _column_name(column, gallery, refinement),
        "kind": column.kind,
        "level": column.level,
        "source": column.source,
        "shown": column.shown,
    }


def _photo_data(photo: PhotoPictures, gallery: Gallery) -> Any:
    iou = {key: scores[photo.record.name] for key, scores in gallery.iou.items() if photo.record.name in scores}
    return {
        "name": photo.record.name + photo.record.image.suffix,
        "tags": photo.record.tags,
        "width": photo.width,
        "height": photo.height,
        "iou": {key: round(value, 4) for key, value in iou.items()},
        "pictures": {
            source: {"source": picture.source, "ids": picture.class_ids} for source, picture in photo.pictures.items()
        },
    }


def _json(value: Any) -> Markup:
    """JSON, escaped so that it cannot end the script element that holds it."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
