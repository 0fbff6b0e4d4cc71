"""The rows of `scores.json`, from what the measurements of a run left and what is known of the stages they measured."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tag2mask.config import Recipe
from tag2mask.evaluation.sweep import read_sweep
from tag2mask.report.tables import ScoreRow, ThresholdSource
from tag2mask.runs.stages import Photos, Stage, seconds_with_all_before
from tag2mask.stages.labels import read_threshold
from tag2mask.stages.scores import SWEPT_LEVELS, read_label_scores


def score_rows(recipe: Recipe, photos: Photos, stages: Sequence[Stage], run: Path) -> list[ScoreRow]:
    """The rows of all measurements, each with the time of all stages that led to it.

    Args:
        recipe: recipe of the run.
        photos: photos of the run by split, and the names of the classes.
        stages: stages that the run folder holds as planned; no thresholds are read of others.
        run: run folder, which is read only.
    """
    return [row for stage in stages if stage.level for row in _rows(recipe, photos, stage, stages, run)]


def _rows(recipe: Recipe, photos: Photos, stage: Stage, stages: Sequence[Stage], run: Path) -> list[ScoreRow]:
    """One row for label maps; for activations one row each for the best, the fixed and the labels' threshold."""
    assert stage.level is not None
    source = stage.source
    blank = ScoreRow(
        method=stage.method, level=stage.level, split=_split(recipe, stage), miou=0, precision=0, recall=0, iou={},
        threshold=None, threshold_source=None, num_photos=len(stage.records),
        seconds=seconds_with_all_before(source, run),
    )  # fmt: skip
    if stage.level not in SWEPT_LEVELS:
        row = replace(blank, **asdict(read_label_scores(run / stage.folder)))
        is_ours = source.kind == "labels" and source in stages and not source.foreign
        chosen = read_threshold(run / source.folder) if is_ours else None
        return [replace(row, threshold=chosen.used, threshold_source=chosen.source) if chosen else row]
    sweep = read_sweep(run / stage.folder).scores()
    thresholds: list[tuple[ThresholdSource, float]] = [
        ("best on this split", sweep.best()),
        ("fixed", recipe.cams.threshold if stage.level == "seed" else recipe.labels.threshold),
    ]
    for other in stages:
        if other.kind == "labels" and not other.foreign and other.source == source:
            made_with = read_threshold(run / other.folder)
            if made_with:
                thresholds.append((made_with.source, made_with.used))
    return [
        replace(blank, **asdict(sweep.at(value, photos.class_names)), threshold=value, threshold_source=name)
        for name, value in dict.fromkeys(thresholds)
    ]


def _split(recipe: Recipe, stage: Stage) -> str:
    split = recipe.data.val_split if stage.level == "segmenter" else recipe.data.seed_split
    assert split is not None
    return split
