"""What a run found: `scores.json`, pictures and the report, made anew from what its stages left."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import read_cams
from tag2mask.config import TWIN, Recipe
from tag2mask.data.drawn_masks import LabelMap
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.records import Record
from tag2mask.data.sizes import resize_label_map
from tag2mask.model_card import write_model_card
from tag2mask.recipes.paths import with_absolute_paths
from tag2mask.report.collect import collect
from tag2mask.report.content import ReportContent
from tag2mask.report.figures import (
    PANEL_SIDE,
    ComparisonRow,
    LevelRow,
    cam_comparison,
    level_comparison,
    map_comparison,
    overlay_cam,
    overlay_labels,
    threshold_curves,
)
from tag2mask.report.measurements import score_rows
from tag2mask.report.page import NUM_PHOTOS, write_report
from tag2mask.report.pictures import cam_of_class, small_photo
from tag2mask.report.tables import write_scores
from tag2mask.runs.folder import expect_run
from tag2mask.runs.plan import plan
from tag2mask.runs.stages import Photos, Stage, states_of
from tag2mask.stages.examples import one_a_class

_logger = logging.getLogger(__name__)

SCORES_FILE = "scores.json"
"""File of a run folder: what was measured, as rows."""
REPORT_FILE = "report.html"
"""File of a run folder that is written after all others."""

_CURVES, _CAMS, _MAPS, _LEVELS = "seed_curves.png", "seed_cams.png", "seed_maps.png", "levels.png"


def write_results(
    recipe: Recipe, photos: Photos, stages: Sequence[Stage], *, run: Path, warnings: Sequence[str]
) -> None:
    """Write scores.json, the figures that compare seeds and levels, and the report.

    Args:
        recipe: recipe of the run.
        photos: photos of the run by split.
        stages: the planned stages; those that are not up to date are left out.
        run: run folder, which the stages have written to.
        warnings: warnings of the check of the data, for the report.
    """
    states = states_of(stages, run)
    content = collect(with_absolute_paths(recipe), photos, states, run=run, warnings=warnings)
    done = [stage for stage, state, _ in states if state == "up to date"]
    write_scores(run / SCORES_FILE, content.scores)
    for stage in done:
        if stage.kind == "segmenter":
            renew_model_card(recipe, photos, stage, stages=stages, run=run)
    _draw_figures(done, content)
    _write_page(content, num_photos=NUM_PHOTOS)


def write_run_report(
    recipe: Recipe, photos: Photos, run: Path, *, warnings: Sequence[str], num_photos: int = NUM_PHOTOS
) -> None:
    """Write `report.html` of a run folder, from what is in it.

    Args:
        recipe: recipe of the run.
        photos: photos of the run by split.
        run: run folder, which the stages have written to.
        warnings: warnings of the check of the data, for the report.
        num_photos: most photos that the page shows.

    Raises:
        ValueError: not a run folder, or a damaged file in it.
    """
    expect_run(run)
    states = states_of(plan(recipe, photos, run), run)
    content = collect(recipe, photos, states, run=run, warnings=warnings)
    _write_page(content, num_photos=num_photos)


def renew_model_card(recipe: Recipe, photos: Photos, segmenter: Stage, *, stages: Sequence[Stage], run: Path) -> None:
    """Write in a model folder what the segmenter was trained on and, where that was measured, how good it is.

    Args:
        recipe: recipe of the run.
        photos: photos of the run by split, and the names of the classes.
        segmenter: the segmenter's training, a stage that is up to date.
        stages: the planned stages; measurements that are not up to date are ignored, as they are of another model.
        run: run folder, which the stages have written to.
    """
    if segmenter.method == TWIN:
        labels = "true masks"
    elif segmenter.source.foreign:
        labels = "label maps that the run did not make"
    else:
        labels = f"pseudo-labels from seeds of {segmenter.method}"
    facts = {"Trained on": f"{len(segmenter.records):,} photos with {labels}"}
    of_segmenter = [stage for stage in stages if (stage.method, stage.level) == (segmenter.method, "segmenter")]
    measured = [stage for stage, state, _ in states_of(of_segmenter, run) if state == "up to date"]
    for row in score_rows(recipe, photos, measured, run):
        facts[f"mIoU on {row.split}"] = f"{100 * row.miou:.1f} ({row.num_photos:,} photos)"
    write_model_card(run / segmenter.folder, recipe.segmenter, photos.class_names, facts=facts)


def _write_page(content: ReportContent, *, num_photos: int) -> None:
    if content.left_out:
        _logger.info("not in the report, as made with other settings or inputs: %s", ", ".join(content.left_out))
    write_report(content.run / REPORT_FILE, content, num_photos=num_photos)


def _draw_figures(done: Sequence[Stage], content: ReportContent) -> None:
    """Draw the curves of measured seeds, and a few photos with all that was made of them; delete older figures."""
    run = content.run
    for name in (_CURVES, _CAMS, _MAPS, _LEVELS):
        (run / name).unlink(missing_ok=True)
    seeds = [stage for stage in done if stage.level == "seed"]
    if not seeds:
        return
    curves = {curve.method: curve.scores for curve in content.curves if curve.level == "seed"}
    threshold_curves(run / _CURVES, curves)
    # Scores outlive maps that were deleted or made anew with other settings.
    folders = {stage.method: run / stage.source.folder for stage in seeds if stage.source in done}
    examples = one_a_class(seeds[0].records, len(content.class_names))
    if examples and folders:
        comparison = [_comparison(record, content.class_names, folders) for record in examples]
        cam_comparison(run / _CAMS, comparison)
        map_comparison(run / _MAPS, comparison)
        level_comparison(run / _LEVELS, _levels(examples, content.class_names, done, run))


def _comparison(record: Record, class_names: Sequence[str], folders: Mapping[str, Path]) -> ComparisonRow:
    """The activations of every method for the class that a photo stands for."""
    assert record.label_map is not None
    photo, class_id = small_photo(record.image, PANEL_SIDE), record.tags[0]
    return ComparisonRow(
        photo=np.asarray(photo),
        class_name=class_names[class_id - 1],
        cams={
            name: cam_of_class(read_cams(folder, record.name), class_id, photo.size) for name, folder in folders.items()
        },
        mask=resize_label_map(open_label_map(record.label_map), photo.size) == class_id,
    )


_LABEL_LEVELS = {"crf": ("CRF", ""), "labels": ("pseudo-label", ""), "predictions": ("prediction", "masks")}
"""Kind of stage to the level's name and the folder of its label maps in the stage's."""


def _levels(
    examples: Sequence[Record], class_names: Sequence[str], stages: Sequence[Stage], run: Path
) -> list[LevelRow]:
    """The same photos at every level that has files of all of them."""
    photos = [small_photo(record.image, PANEL_SIDE) for record in examples]
    pictures: dict[str, list[NDArray[np.uint8]]] = {}
    for stage in stages:
        folder = run / stage.folder
        if stage.kind == "cams":
            pictures[f"CAM, {stage.method}"] = [
                overlay_cam(np.asarray(photo), cam_of_class(read_cams(folder, record.name), record.tags[0], photo.size))
                for photo, record in zip(photos, examples, strict=True)
            ]
        elif stage.kind in _LABEL_LEVELS:
            heading, below = _LABEL_LEVELS[stage.kind]
            paths = [folder / below / f"{record.name}.png" for record in examples]
            if all(path.exists() for path in paths):
                pictures[f"{heading}, {stage.method}"] = _labelled(photos, paths)
    pictures["true mask"] = _labelled(photos, [record.label_map for record in examples if record.label_map])
    return [
        LevelRow(
            np.asarray(photo), class_names[record.tags[0] - 1],
            {name: column[row] for name, column in pictures.items()},
        )
        for row, (photo, record) in enumerate(zip(photos, examples, strict=True))
    ]  # fmt: skip


def _labelled(photos: Sequence[Image.Image], label_maps: Sequence[LabelMap]) -> list[NDArray[np.uint8]]:
    """Photos with the classes of their label maps over them."""
    return [
        overlay_labels(np.asarray(photo), resize_label_map(open_label_map(label_map), photo.size))
        for photo, label_map in zip(photos, label_maps, strict=True)
    ]
