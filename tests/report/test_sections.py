from dataclasses import replace

import pytest
from drawn_run import DrawnRun

from tag2mask.config import AcrSettings, DataSettings
from tag2mask.report.sections import (
    Setting,
    chart_of_levels,
    duration,
    level_rows,
    setting_rows,
    splits_in_effect,
    verdict_of,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (65.2, "1 min 05 s"),
        (3599.7, "1 h 00 min"),
        (36_000, "10 h 00 min"),
    ],
)
def test_durations_have_no_more_digits_than_matter(seconds: float, text: str):
    assert duration(seconds) == text


def test_change_of_adversarial_seeds_is_against_the_network_of_the_recipe(masked_run: DrawnRun):
    content = masked_run.content()
    best = {row.method: row for row in content.scores if row.key[1::2] == ("seed", "best on this split")}
    transformer = replace(best["baseline"], method="mctformer", miou=0.1)
    scores = (best["baseline"], transformer, best["acr"])

    for section, reference in (("classifier", best["baseline"]), ("mctformer", transformer)):
        recipe = replace(content.recipe, acr=AcrSettings(classifier=section))
        rows = level_rows(replace(content, scores=scores, recipe=recipe))
        changes = {row.score.method: row.change for row in rows}

        assert changes["acr"] is not None
        assert changes["acr"].against == reference
        assert changes["baseline"] is changes["mctformer"] is None


def test_points_of_another_split_than_the_first_are_hollow(masked_run: DrawnRun):
    content = masked_run.content()
    on_train = replace(content, scores=tuple(replace(row, split="train") for row in content.scores))

    chart, chart_of_one_split = chart_of_levels(content), chart_of_levels(on_train)

    assert chart is not None
    assert chart_of_one_split is not None
    assert {line.name: line.hollow for line in chart.lines} == {
        "baseline on train": False, "ACR on train": False, "ACR on val": True, "true masks on val": True,
    }  # fmt: skip
    assert not any(line.hollow for line in chart_of_one_split.lines)


def test_where_nothing_is_measured_it_is_said_why(masked_run: DrawnRun, unmasked_run: DrawnRun):
    begun = replace(masked_run.content(), scores=())

    assert verdict_of(unmasked_run.content()) == [
        "Whether the stages helped is not known: there are no masks to measure them with."
    ]
    assert verdict_of(begun) == ["Whether the stages helped is not known: nothing has been measured yet."]


def test_classes_without_labels_are_the_headline_where_nothing_is_measured(
    masked_run: DrawnRun, unmasked_run: DrawnRun
):
    unlabelled = {"acr": "no or hardly any pixel of cat (3 photos)"}
    warning = "Warning: the pseudo-labels have no or hardly any pixel of cat (3 photos)."

    assert verdict_of(replace(unmasked_run.content(), unlabelled=unlabelled))[0] == warning
    assert verdict_of(replace(masked_run.content(), unlabelled=unlabelled))[-1] == warning
    both = verdict_of(replace(unmasked_run.content(), unlabelled=unlabelled | {"baseline": ""}))
    assert both[0] == warning.replace("labels", "labels of ACR")


def test_labels_are_said_to_be_made_of_the_training_split_where_no_other_is_named():
    unnamed = DataSettings(train_split="most", seed_split="few")

    assert splits_in_effect(unnamed) == {
        "train split": "most", "seed split": "few", "label split": "most", "val split": "none"
    }  # fmt: skip
    assert splits_in_effect(replace(unnamed, label_split="some"))["label split"] == "some"


def test_settings_tell_what_departs_from_the_defaults(masked_run: DrawnRun):
    found = setting_rows(masked_run.recipe)

    root = str(masked_run.folder.parent / "data")
    assert [setting for setting in found if setting.changed] == [
        Setting("data.root", root, "none"),
        Setting("data.val_split", "val", "none"),
        Setting("acr.reconstructor_epochs", "1", "0"),
        Setting("labels.threshold", "0.31", "0.25"),
        Setting("segmenter.supervision", "pseudo_labels, masks", "pseudo_labels"),
    ]
    assert Setting("data.resize_range", "384, 512", "384, 512") in found
