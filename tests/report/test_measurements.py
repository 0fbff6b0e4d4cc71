from dataclasses import replace

import pytest
from drawn_run import DrawnRun

from tag2mask.config import CamSettings, CrfSettings, RefinementSettings
from tag2mask.evaluation.sweep import read_sweep
from tag2mask.report.measurements import score_rows


@pytest.mark.parametrize("threshold", [0.25, 0.31])
def test_seeds_that_labels_are_made_of_are_measured_at_the_threshold_of_the_labels_too(
    threshold: float, masked_run: DrawnRun
):
    recipe = replace(
        masked_run.recipe, cams=CamSettings(threshold=threshold), crf=CrfSettings(enabled=False),
        refinement=RefinementSettings(method="none"),
    )  # fmt: skip
    stages = replace(masked_run, recipe=recipe).stages

    rows = score_rows(recipe, masked_run.photos, stages, masked_run.folder)

    fixed = {
        method: [row for row in rows if row.key[:2] == (method, "seed") and row.threshold_source == "fixed"]
        for method in ("baseline", "acr")
    }
    sweep = read_sweep(masked_run.folder / "scores/seed-acr").scores()
    # The labels' threshold is 0.31.
    assert [(row.threshold, row.miou) for row in fixed["acr"]] == [
        (value, sweep.at(value, masked_run.photos.class_names).miou) for value in sorted({threshold, 0.31})
    ]
    assert [row.threshold for row in fixed["baseline"]] == [threshold]


def test_refined_maps_that_labels_are_made_of_are_measured_once_at_their_threshold(masked_run: DrawnRun):
    rows = score_rows(masked_run.recipe, masked_run.photos, masked_run.stages, masked_run.folder)

    thresholds = {
        level: [row.threshold for row in rows if row.level == level and row.threshold_source == "fixed"]
        for level in ("seed", "refined", "pseudo-label")
    }
    assert thresholds == {"seed": [0.25, 0.25], "refined": [0.31], "pseudo-label": [0.31]}
