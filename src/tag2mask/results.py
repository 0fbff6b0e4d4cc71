"""What a run found: `scores.json`, pictures and the report, made anew from what its stages left."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tag2mask.cams.store import full_size_maps, read_cams
from tag2mask.config import TWIN, Recipe
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.evaluation.sweep import read_sweep
from tag2mask.model_card import write_model_card
from tag2mask.report.collect import collect
from tag2mask.report.figures import (
    ComparisonRow,
    LevelRow,
    cam_comparison,
    level_comparison,
    map_comparison,
    overlay_cam,
    overlay_labels,
    threshold_curves,
)
from tag2mask.report.page import NUM_PHOTOS, write_report
from tag2mask.report.tables import ScoreRow, ThresholdSource, write_scores
from tag2mask.runs.stages import Photos, Stage, seconds_with_all_before, state_of
from tag2mask.stages.examples import one_a_class
from tag2mask.stages.labels import read_threshold
from tag2mask.stages.scores import read_label_scores


def write_results(
    recipe: Recipe, photos: Photos, stages: Sequence[Stage], *, run: Path, warnings: Sequence[str]
) -> None:
    """Write the rows of all stages that are measured, curves and CAMs side by side of the seeds, and the report.

    Args:
        recipe: of the run.
        photos: of the run.
        stages: as planned; those that are not up to date are left out.
        run: folder.
        warnings: lines of the check of the data.
    """
    done = [stage for stage in stages if state_of(stage, run).state == "up to date"]
    measured = [stage for stage in done if stage.level]
    rows = [row for stage in measured for row in _rows(recipe, photos, stage, done, run)]
    write_scores(run / "scores.json", rows)
    _write_model_cards(recipe, photos, rows, run)
    seeds = [stage for stage in measured if stage.level == "seed"]
    if seeds:
        sweeps = {str(stage.method): read_sweep(run / stage.folder / "sweep.npz") for stage in seeds}
        threshold_curves(run / "seed_curves.png", {name: sweep.scores() for name, sweep in sweeps.items()})
        folders = {str(stage.method): run / stage.before[0].folder for stage in seeds}
        examples = one_a_class(seeds[0].records, len(photos.class_names))
        if examples:
            comparison = [_comparison(record, photos.class_names, folders) for record in examples]
            cam_comparison(run / "seed_cams.png", comparison)
            map_comparison(run / "seed_maps.png", comparison)
            level_comparison(run / "levels.png", _levels(examples, photos.class_names, done, run))
    write_run_report(photos, run, warnings=warnings)


def write_run_report(photos: Photos, run: Path, *, warnings: Sequence[str], num_photos: int = NUM_PHOTOS) -> None:
    """Write `report.html` of a run folder, from what is in it.

    Args:
        photos: of the run.
        run: folder.
        warnings: lines of the check of the data.
        num_photos: that the page shows at most.
    """
    records = [*photos.mapped, *photos.train, *photos.val]
    content = collect(run, records, photos.class_names, warnings=warnings)
    write_report(run / "report.html", content, num_photos=num_photos)


def _write_model_cards(recipe: Recipe, photos: Photos, rows: Sequence[ScoreRow], run: Path) -> None:
    """Say in the model folders what the segmenters were trained on and how good they are."""
    for row in rows:
        if row.level == "segmenter":
            labels = "true masks" if row.method == TWIN else f"pseudo-labels from seeds of {row.method}"
            learned = [record for record in photos.label if row.method != TWIN or record.label_map]
            facts = {
                "Trained on": f"{len(learned):,} photos with {labels}",
                f"mIoU on {row.split}": f"{100 * row.miou:.1f} ({row.num_photos:,} photos)",
            }
            write_model_card(run / "5-segmenter" / row.method, recipe.segmenter, photos.class_names, facts=facts)


def _rows(recipe: Recipe, photos: Photos, stage: Stage, done: Sequence[Stage], run: Path) -> list[ScoreRow]:
    """The rows of a measured stage, with the time of all that led to it; labels of older maps tell it no threshold."""
    assert stage.level is not None
    (source,) = stage.before
    blank = ScoreRow(
        method=str(stage.method), level=stage.level, split=_split(recipe, stage), miou=0, precision=0, recall=0, iou={},
        threshold=None, threshold_source=None, num_photos=len(stage.records),
        seconds=seconds_with_all_before(source, run),
    )  # fmt: skip
    if stage.level not in ("seed", "refined"):
        row = replace(blank, **asdict(read_label_scores(run / stage.folder)))
        chosen = read_threshold(run / source.folder) if source.kind == "labels" and not source.foreign else None
        return [replace(row, threshold=chosen.used, threshold_source=chosen.source) if chosen else row]
    sweep = read_sweep(run / stage.folder / "sweep.npz").scores()
    thresholds: dict[ThresholdSource, float] = {
        "best on this split": sweep.best(),
        "fixed": recipe.cams.threshold if stage.level == "seed" else recipe.labels.threshold,
    }
    for other in done:
        if other.kind == "labels" and source in other.before:
            made_with = read_threshold(run / other.folder)
            if made_with and made_with.source == "estimated":
                thresholds["estimated"] = made_with.used
    return [
        replace(blank, **asdict(sweep.at(value, photos.class_names)), threshold=value, threshold_source=name)
        for name, value in thresholds.items()
    ]


def _split(recipe: Recipe, stage: Stage) -> str:
    split = recipe.data.val_split if stage.level == "segmenter" else recipe.data.seed_split
    assert split is not None
    return split


def _comparison(record: Record, class_names: Sequence[str], folders: dict[str, Path]) -> ComparisonRow:
    """One photo's first class, as every method sees it."""
    assert record.label_map is not None
    class_id = record.tags[0]
    cams = {name: _cam_of_first_tag(record, folder) for name, folder in folders.items()}
    return ComparisonRow(
        photo=np.asarray(open_photo(record.image)),
        class_name=class_names[class_id - 1],
        cams=cams,
        mask=open_label_map(record.label_map) == class_id,
    )


_LABEL_LEVELS = {"crf": ("CRF", ""), "labels": ("pseudo-label", ""), "predictions": ("prediction", "masks")}
"""Kind of stage to the level's name and the folder of its label maps in the stage's."""


def _levels(
    examples: Sequence[Record], class_names: Sequence[str], stages: Sequence[Stage], run: Path
) -> list[LevelRow]:
    """The same photos at every level that has files of all of them."""
    pictures: dict[str, list[NDArray[np.uint8]]] = {}
    shown = [np.asarray(open_photo(record.image)) for record in examples]
    for stage in stages:
        if stage.kind == "cams":
            cams = [_cam_of_first_tag(record, run / stage.folder) for record in examples]
            pictures[f"CAM, {stage.method}"] = [overlay_cam(*pair) for pair in zip(shown, cams, strict=True)]
        elif stage.kind in _LABEL_LEVELS:
            heading, below = _LABEL_LEVELS[stage.kind]
            paths = [run / stage.folder / below / f"{record.name}.png" for record in examples]
            if all(path.exists() for path in paths):
                labels = [open_label_map(path) for path in paths]
                pictures[f"{heading}, {stage.method}"] = [
                    overlay_labels(*pair) for pair in zip(shown, labels, strict=True)
                ]
    truths = [record.label_map for record in examples]
    pictures["true mask"] = [
        overlay_labels(photo, open_label_map(truth)) for photo, truth in zip(shown, truths, strict=True) if truth
    ]
    complete = {name: column for name, column in pictures.items() if len(column) == len(examples)}
    return [
        LevelRow(photo, class_names[record.tags[0] - 1], {name: column[row] for name, column in complete.items()})
        for row, (photo, record) in enumerate(zip(shown, examples, strict=True))
    ]


def _cam_of_first_tag(record: Record, folder: Path) -> NDArray[np.float32]:
    """Activations (H, W) of a photo's first class, 0 where there are none."""
    cams = read_cams(folder, record.name)
    maps = dict(zip(cams.class_ids.tolist(), full_size_maps(cams), strict=True))
    found: NDArray[np.float32] = maps.get(record.tags[0], np.zeros((cams.height, cams.width), np.float32))
    return found
