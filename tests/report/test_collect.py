import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_run import CLASS_NAMES, EVIL_NAME, DrawnRun

from tag2mask.config import Recipe
from tag2mask.recipes import save_recipe
from tag2mask.report.collect import collect
from tag2mask.report.content import ReportContent, Setting


@pytest.fixture(scope="module")
def content(masked_run: DrawnRun) -> ReportContent:
    return collect(masked_run.folder, masked_run.records, CLASS_NAMES, warnings=["look here"])


def test_photos_are_counted_once(masked_run: DrawnRun, content: ReportContent):
    twice = collect(masked_run.folder, masked_run.records * 2, CLASS_NAMES)

    assert (content.data.num_photos, content.data.num_with_mask) == (16, 16)
    assert content.data.num_tags == {1: 12, 2: 4}
    assert content.data.num_of_class == (10, 10)
    assert content.data.together == ((("</script>", 4),), (("disc", 4),))
    assert content.data.sizes == "64 × 72 to 80 × 60, most often 80 × 60 (75 %)"
    assert twice.data == content.data
    assert content.warnings == ("look here",)


def test_settings_tell_what_departs_from_the_defaults(masked_run: DrawnRun, content: ReportContent):
    changed = [setting for setting in content.settings if setting.changed]

    root = str(masked_run.folder.parent / "data")
    assert changed == [Setting("data.root", root, "none"), Setting("data.val_split", "val", "none")]
    assert content.setting("data.resize_range") == "384, 512"
    assert content.setting("no.such") == ""


def test_thresholds_in_use_are_those_of_the_labels_where_these_say(content: ReportContent):
    assert content.used["seed-acr"] == 0.25
    assert content.used["refined-acr"] == 0.31


def test_stages_stand_in_the_order_in_which_they_are_done(content: ReportContent):
    assert [stage.folder for stage in content.stages[:9]] == [
        "1-classifier/baseline", "1-classifier/reconstructor", "1-classifier/acr", "2-cams/baseline", "2-cams/acr",
        "3-refined/acr/crf", "3-refined/acr/relations", "3-refined/acr/network", "3-refined/acr/maps",
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


def test_epochs_stand_in_the_order_of_their_numbers(tmp_path: Path, masked_run: DrawnRun):
    save_recipe(tmp_path / "config.yaml", Recipe())
    source = masked_run.folder / "1-classifier" / "acr" / "epochs" / "01"
    for epoch in ("09", "10", "11", "99", "100", "101"):
        shutil.copytree(source, tmp_path / "1-classifier" / "acr" / "epochs" / epoch)

    (strip,) = collect(tmp_path, masked_run.records, CLASS_NAMES).strips

    assert list(strip.folders) == [9, 10, 11, 99, 100, 101]


def test_a_run_that_has_only_begun_is_mostly_empty(tmp_path: Path, masked_run: DrawnRun):
    save_recipe(tmp_path / "config.yaml", Recipe())

    content = collect(tmp_path, masked_run.records, CLASS_NAMES)

    assert (content.scores, content.curves, content.galleries, content.stages) == ((), (), (), ())
    assert (content.trainings, content.strips, content.restorations) == ((), (), ())


def test_a_recipe_of_an_older_version_has_todays_defaults(tmp_path: Path):
    save_recipe(tmp_path / "config.yaml", Recipe())
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    start, end = lines.index("crf:"), lines.index("labels:")
    (tmp_path / "config.yaml").write_text("\n".join(lines[:start] + lines[end:]))

    assert not any(setting.changed for setting in collect(tmp_path, [], CLASS_NAMES).settings)


def test_commands_name_the_run_and_its_segmenters(masked_run: DrawnRun, tmp_path: Path):
    folder = tmp_path / "my run"
    save_recipe(folder / "config.yaml", replace(Recipe(), methods=("acr",)))
    (folder / "5-segmenter" / "acr").mkdir(parents=True)
    (folder / "5-segmenter" / "acr" / "config.json").write_text("{}")

    lines = [command.line for command in collect(folder, [], CLASS_NAMES).commands]

    assert lines[0] == f"tag2mask status '{folder}/config.yaml' --run '{folder}'"
    assert f"tag2mask predict PHOTOS --model '{folder}/5-segmenter/acr' --out DIR" in lines


def test_another_folder_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"found no config\.yaml, expected the folder of a run"):
        collect(tmp_path, [], CLASS_NAMES)
