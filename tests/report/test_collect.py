import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_run import EVIL_NAME, DrawnRun

from tag2mask.cams.store import read_cams, write_cams
from tag2mask.config import CamSettings, LabelSettings
from tag2mask.report.content import ReportContent
from tag2mask.runs.manifest import read_manifest, write_manifest


@pytest.fixture(scope="module")
def content(masked_run: DrawnRun) -> ReportContent:
    return masked_run.content(warnings=["look here"])


@pytest.fixture
def run(masked_run: DrawnRun, tmp_path: Path) -> DrawnRun:
    """A drawn run that a test may change."""
    return replace(masked_run, folder=shutil.copytree(masked_run.folder, tmp_path / "my run"))


def test_photos_are_counted_once(masked_run: DrawnRun, content: ReportContent):
    photos = masked_run.photos
    twice = replace(masked_run, photos=photos._replace(val=[*photos.val, *photos.val])).content()

    assert (content.data.num_photos, content.data.num_with_mask) == (16, 16)
    assert content.data.num_tags == {1: 12, 2: 4}
    assert content.data.num_of_class == (10, 10)
    assert content.data.together == ((("</script>", 4),), (("disc", 4),))
    assert content.data.sizes == "64 × 72 to 80 × 60, most often 80 × 60 (75 %)"
    assert twice.data == content.data
    assert content.warnings == ("look here",)


def test_thresholds_in_use_are_those_of_the_labels_where_these_say(content: ReportContent):
    assert content.used["seed-acr"] == 0.25
    assert content.used["refined-acr"] == 0.31


def test_time_of_a_measurement_is_that_of_all_that_led_to_it(masked_run: DrawnRun, content: ReportContent):
    led = [read_manifest(masked_run.folder / folder) for folder in ("1-classifier/baseline", "2-cams/baseline")]

    times = {row.seconds for row in content.scores if (row.method, row.level) == ("baseline", "seed")}

    assert times == {sum(manifest.seconds for manifest in led if manifest)}


def test_stages_stand_in_the_order_in_which_they_are_done(content: ReportContent):
    assert [stage.folder for stage in content.stages[:10]] == [
        "1-classifier/baseline", "1-classifier/reconstructor", "1-classifier/acr", "2-cams/baseline", "2-cams/acr",
        "3-refined/acr/crf", "3-refined/acr/relations", "3-refined/acr/network", "3-refined/acr/maps",
        "4-pseudo-labels/acr",
    ]  # fmt: skip
    first = content.stages[0]
    assert (first.finished, first.seconds, first.num_photos, first.peak_memory) == (True, 7.5, 12, 300)


def test_curves_are_those_of_the_files(masked_run: DrawnRun, content: ReportContent):
    with (masked_run.folder / "1-classifier" / "acr" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))

    training = content.trainings[1]

    assert [part.folder for part in content.trainings] == [
        "1-classifier/baseline", "1-classifier/acr", "3-refined/acr/network", "5-segmenter/acr",
    ]  # fmt: skip
    assert training.losses == {"main": tuple(float(row["loss/main"]) for row in rows)}
    assert training.rates == {"network": tuple(float(row["learning_rate/network"]) for row in rows)}
    assert [(curve.method, curve.level) for curve in content.curves] == [
        ("baseline", "seed"), ("acr", "seed"), ("acr", "refined"),
    ]  # fmt: skip


def test_examples_of_the_training_are_found(content: ReportContent):
    (strip,) = content.strips

    assert list(strip.folders) == list(range(1, 10))
    assert [record.name for record in strip.records] == [EVIL_NAME, "train_01", "train_02"]
    assert [part.name for part in content.restorations] == [EVIL_NAME, "train_01"]


def test_examples_are_of_the_class_whose_maps_are_kept(run: DrawnRun):
    epochs = run.folder / "1-classifier" / "acr" / "epochs"
    for folder in epochs.iterdir():
        write_cams(folder, EVIL_NAME, replace(read_cams(folder, EVIL_NAME), class_ids=np.uint8([2])))

    (strip,) = run.content().strips

    assert run.photos.train[0].tags == (1,)
    assert (strip.records[0].name, strip.records[0].tags) == (EVIL_NAME, (2,))


def test_epochs_stand_in_the_order_of_their_numbers(run: DrawnRun):
    folder = run.folder / "1-classifier" / "acr" / "epochs"
    for epoch in ("09", "10", "11", "99", "100", "101"):
        shutil.copytree(folder / "01", folder / epoch, dirs_exist_ok=True)

    (strip,) = run.content().strips

    assert list(strip.folders) == [*range(1, 12), 99, 100, 101]


def test_what_is_of_other_settings_is_named_and_not_shown(masked_run: DrawnRun):
    changed = replace(masked_run.recipe, cams=CamSettings(scales=(0.5,)))

    content = replace(masked_run, recipe=changed).content()

    assert content.left_out == (
        "2-cams/acr", "2-cams/baseline", "3-refined/acr/crf", "3-refined/acr/maps", "3-refined/acr/network",
        "3-refined/acr/relations", "4-pseudo-labels/acr", "5-segmenter/acr", "6-predictions/acr", "scores/crf-acr",
        "scores/pseudo-label-acr", "scores/refined-acr", "scores/seed-acr", "scores/seed-baseline",
        "scores/segmenter-acr",
    )  # fmt: skip
    assert [row.key for row in content.scores] == [("masks", "segmenter", "val", None, None)]
    assert (content.curves, len(content.galleries)) == ((), 1)
    assert [training.folder for training in content.trainings] == ["1-classifier/baseline", "1-classifier/acr"]
    assert not {stage.folder for stage in content.stages} & set(content.left_out)
    assert not any("5-segmenter/acr" in command.line for command in content.commands)


def test_what_the_recipe_does_not_ask_for_is_not_shown(masked_run: DrawnRun):
    changed = replace(masked_run.recipe, methods=("baseline",), refined_methods=())

    content = replace(masked_run, recipe=changed).content()

    assert {row.method for row in content.scores} == {"baseline", "masks"}
    assert {column.key for gallery in content.galleries for column in gallery.columns} == {
        "cam-baseline", "seed-baseline", "segmenter-masks", "truth-",
    }  # fmt: skip
    assert (content.strips, content.restorations) == ((), ())
    assert {"1-classifier/acr", "6-predictions/acr"} <= set(content.left_out)


def test_folders_on_their_way_to_be_deleted_are_not_named(run: DrawnRun):
    (run.folder / "2-cams" / "acr").rename(run.folder / "2-cams" / ".acr.cleared")

    assert run.content().left_out == ()


def test_predictions_of_other_photos_in_the_run_folder_are_not_named(run: DrawnRun):
    shutil.copytree(run.folder / "6-predictions" / "acr", run.folder / "mine")
    shutil.copytree(run.folder / "2-cams" / "acr", run.folder / "2-cams" / "older")

    assert run.content().left_out == ("2-cams/older",)


def test_maps_are_not_shown_at_the_threshold_of_older_labels(masked_run: DrawnRun):
    changed = replace(masked_run.recipe, labels=LabelSettings(threshold=0.4))

    content = replace(masked_run, recipe=changed).content()

    assert content.used["refined-acr"] == 0.4
    refined = {row.threshold_source: row.threshold for row in content.scores if row.level == "refined"}
    assert refined["fixed"] == 0.4


def test_half_of_a_stage_is_shown_and_half_of_a_measurement_is_not(run: DrawnRun):
    stages = {stage.folder: stage for stage in run.stages}
    for folder in ("1-classifier/acr", "scores/seed-acr"):
        write_manifest(run.folder / folder, stages[folder].manifest)

    content = run.content()

    finished = {stage.folder: stage.finished for stage in content.stages}
    assert not finished["1-classifier/acr"]
    assert "1-classifier/acr" in [training.folder for training in content.trainings]
    assert ("acr", "seed") not in {(row.method, row.level) for row in content.scores}
    assert content.left_out == ()


def test_a_run_that_has_only_begun_is_mostly_empty(tmp_path: Path, masked_run: DrawnRun):
    content = replace(masked_run, folder=tmp_path).content()

    assert content.is_measurable
    assert (content.scores, content.curves, content.galleries, content.stages) == ((), (), (), ())
    assert (content.trainings, content.strips, content.restorations, content.left_out) == ((), (), (), ())


def test_commands_name_the_run_and_its_segmenters(run: DrawnRun):
    (run.folder / "5-segmenter" / "acr" / "config.json").write_text("{}")

    lines = [command.line for command in run.content().commands]

    folder = run.folder
    assert lines[:2] == [f"tag2mask status '{folder}'", f"tag2mask run '{folder}'"]
    assert [line for line in lines if "predict" in line] == [
        f"tag2mask predict PHOTOS --model '{folder}/5-segmenter/acr' --out DIR"
    ]
