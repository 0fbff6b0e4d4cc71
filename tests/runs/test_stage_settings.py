from dataclasses import fields, replace
from typing import Literal

import pytest

from tag2mask.config import Recipe
from tag2mask.runs import stage_settings

RECIPE = Recipe()
REFINED = replace(RECIPE, refinement=replace(RECIPE.refinement, long_side=384))
SEGMENTED = replace(RECIPE, segmenter=replace(RECIPE.segmenter, long_side=384))


@pytest.mark.parametrize("stage", ["relations", "relations_training", "walk"])
def test_size_that_photos_are_brought_down_to_decides_every_stage_of_the_refinement(stage: str):
    settings = getattr(stage_settings, stage)

    assert settings(REFINED) == settings(RECIPE) | {"refinement.long_side": 384}
    assert settings(SEGMENTED) == settings(RECIPE)


def test_size_that_photos_are_brought_down_to_decides_training_and_predictions():
    training, predictions = stage_settings.segmenter_training, stage_settings.predictions

    assert training(SEGMENTED) == training(RECIPE) | {"segmenter.long_side": 384}
    assert predictions(SEGMENTED) == predictions(RECIPE) | {"segmenter.long_side": 384}
    assert training(REFINED) == training(RECIPE)


def test_size_that_photos_are_brought_down_to_decides_the_seeds_after_the_crf():
    reduced = replace(RECIPE, crf=replace(RECIPE.crf, long_side=384))

    assert stage_settings.crf(reduced) == stage_settings.crf(RECIPE) | {"crf.long_side": 384}
    assert stage_settings.relations(reduced) == stage_settings.relations(RECIPE)


def test_power_of_the_maps_decides_their_walk_alone_and_only_where_it_changes_them():
    raised = replace(RECIPE, refinement=replace(RECIPE.refinement, power=1.3))

    assert stage_settings.walk(raised) == stage_settings.walk(RECIPE) | {"refinement.power": 1.3}
    # Maps that walked before there was a choice are those of 1.
    assert "refinement.power" not in stage_settings.walk(RECIPE)
    for stage in (stage_settings.relations, stage_settings.relations_training, stage_settings.labels):
        assert stage(raised) == stage(RECIPE)


def test_threshold_decides_labels_only_where_none_is_estimated():
    def labelled(source: Literal["fixed", "estimated"], threshold: float) -> Recipe:
        return replace(RECIPE, labels=replace(RECIPE.labels, threshold_source=source, threshold=threshold))

    assert stage_settings.labels(labelled("fixed", 0.2)) != stage_settings.labels(labelled("fixed", 0.3))
    assert stage_settings.labels(labelled("estimated", 0.2)) == stage_settings.labels(labelled("estimated", 0.3))


def test_score_of_predicted_classes_decides_maps_only_where_classes_are_predicted():
    def mapped(classes: Literal["tags", "predicted"], score: float) -> Recipe:
        return replace(RECIPE, cams=replace(RECIPE.cams, classes=classes, predicted_score=score))

    def settings(recipe: Recipe) -> dict[str, object]:
        return stage_settings.cams(recipe, "baseline")

    assert settings(mapped("predicted", 0.4)) != settings(mapped("predicted", 0.5))
    assert settings(mapped("tags", 0.4)) == settings(RECIPE)
    assert "cams.predicted_score" not in settings(RECIPE)


def test_size_of_batches_does_not_decide_the_maps():
    larger = replace(RECIPE, cams=replace(RECIPE.cams, batch_pixels=1))

    assert stage_settings.cams(larger, "baseline") == stage_settings.cams(RECIPE, "baseline")


@pytest.mark.parametrize(
    ("method", "of_the_other"), [("irn", {"low_alpha", "high_alpha"}), ("affinity", {"foreground", "uncertain"})]
)
def test_every_setting_of_the_refinement_decides_a_stage_of_its_method(
    method: Literal["irn", "affinity"], of_the_other: set[str]
):
    recipe = replace(RECIPE, refinement=replace(RECIPE.refinement, method=method, power=1.3))

    decisive = {
        name.split(".")[1]
        for stage in (stage_settings.relations, stage_settings.relations_training, stage_settings.walk)
        for name in stage(recipe)
        if name.startswith("refinement.")
    }

    assert decisive == {field.name for field in fields(recipe.refinement)} - of_the_other


@pytest.mark.parametrize(("background", "decisive"), [("constant", "cams.threshold"), ("power", "crf.alpha")])
def test_score_of_the_background_decides_the_seeds_after_the_crf(
    background: Literal["constant", "power"], decisive: str
):
    recipe = replace(RECIPE, crf=replace(RECIPE.crf, background=background))

    settings = stage_settings.crf(recipe)

    assert settings.keys() & {"cams.threshold", "crf.alpha"} == {decisive}
