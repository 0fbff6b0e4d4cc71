import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tag2mask.cams.store import StoredCams, full_size_maps, read_cams, stored_names, write_cams
from tag2mask.data.label_maps import open_label_map
from tag2mask.evaluation.sweep import ThresholdSweep, sweep_photo
from tag2mask.recipes import load_recipe
from tag2mask.report.tables import read_scores

METHODS = ("baseline", "pretrained", "acr")
NAMES = {f"{index:02}" for index in range(13)}


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def results(run: Path) -> dict[str, int]:
    """Time of each file of the stages."""
    paths = [path for part in ("1-classifier", "2-cams", "scores") for path in (run / part).rglob("*")]
    return {path.relative_to(run).as_posix(): path.stat().st_mtime_ns for path in paths if path.is_file()}


def scores(run: Path, method: str) -> dict[str, tuple[float, dict[str, float]]]:
    """By the source of the threshold: mIoU and IoU of every class."""
    rows = read_scores(run / "scores.json")
    return {str(row.threshold_source): (row.miou, row.iou) for row in rows if row.method == method}


def stages_done(err: str) -> dict[str, str]:
    """What a run told of each stage, by its folder."""
    lines = [line.split(" ", 2)[2] for line in err.splitlines() if line.startswith("stage ")]
    return dict(line.split(": ", 1) for line in lines)


def test_run_leaves_every_stage_and_scores_of_every_method(finished_run: Path):
    networks = {path.relative_to(finished_run).as_posix() for path in finished_run.rglob("*.safetensors")}

    assert networks == {
        "1-classifier/baseline/classifier.safetensors",
        "1-classifier/reconstructor/reconstructor.safetensors",
        "1-classifier/pretrained/classifier.safetensors",
        "1-classifier/acr/classifier.safetensors",
        "1-classifier/acr/reconstructor.safetensors",
    }
    for method in METHODS:
        assert stored_names(finished_run / "2-cams" / method) == NAMES
    rows = read_scores(finished_run / "scores.json")
    assert {(row.method, row.threshold_source) for row in rows} == {
        (method, source) for method in METHODS for source in ("best on this split", "fixed")
    }
    assert not list(finished_run.rglob("*.tmp"))


def test_manifests_count_the_photos_of_each_stage(finished_run: Path):
    counts = {
        path.parent.relative_to(finished_run).as_posix(): json.loads(path.read_text())["counts"]["photos"]
        for path in finished_run.rglob("manifest.json")
    }

    # One of the thirteen photos has no tag: only the baseline learns from it.
    adversarial = {f"1-classifier/{name}" for name in ("reconstructor", "pretrained", "acr")}
    assert len(counts) == 10
    for folder, count in counts.items():
        assert count == (12 if folder in adversarial else 13), folder


def test_scores_are_those_of_the_stored_cams(finished_run: Path, shapes: Path):
    sweep = ThresholdSweep(2)
    for name in NAMES:
        cams = read_cams(finished_run / "2-cams" / "acr", name)
        truth = open_label_map(shapes / "masks" / f"{name}.png")
        sweep.add(sweep_photo(full_size_maps(cams), cams.class_ids, truth, num_classes=2))

    best, fixed = (row for row in read_scores(finished_run / "scores.json") if row.method == "acr")

    assert best.miou == pytest.approx(sweep.scores().miou.max())
    assert fixed.threshold == 0.25
    assert fixed.miou == pytest.approx(sweep.scores().at(0.25, ("disc", "square")).miou)
    assert best.num_photos == 13
    manifests = [
        json.loads((finished_run / folder / "manifest.json").read_text())
        for folder in ("1-classifier/baseline", "1-classifier/reconstructor", "1-classifier/acr", "2-cams/acr")
    ]
    assert best.seconds == pytest.approx(sum(manifest["seconds"] for manifest in manifests), abs=0.2)


def test_run_that_another_process_works_in_is_refused_and_stays_as_it_is(
    run: Path, tag2mask: Callable, tiny_recipe: Path
):
    before = (run / "config.yaml").read_bytes()
    work = "import sys; from pathlib import Path; from tag2mask.runs.folder import alone_in\n"
    work += "with alone_in(Path(sys.argv[1])): print(flush=True); input()"
    command = [sys.executable, "-c", work, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        outcome = tag2mask("run", tiny_recipe, "--run", run, "--cams.scales", "[1.0]")
        told = tag2mask("status", tiny_recipe, "--run", run)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == f"tag2mask: {run} is in use by process {process.pid}"
    assert (run / "config.yaml").read_bytes() == before
    assert told.status == 0


def test_second_run_finds_everything_up_to_date_and_touches_nothing(run: Path, tag2mask: Callable, tiny_recipe: Path):
    before = results(run)

    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert outcome.status == 0
    assert set(stages_done(outcome.err).values()) == {"up to date"}
    assert len(stages_done(outcome.err)) == 10
    assert results(run) == before
    assert outcome.out.splitlines()[-1] == f"results: {run}"
    assert any(line.startswith("ACR ") and " the seed " in line for line in outcome.out.splitlines())


def test_changed_cam_setting_is_named_and_redoes_the_cams_and_what_follows(
    run: Path, tag2mask: Callable, tiny_recipe: Path
):
    before = results(run)

    outcome = tag2mask("run", tiny_recipe, "--run", run, "--cams.scales", "[1.0]")

    told, after = stages_done(outcome.err), results(run)
    for method in METHODS:
        assert told[f"1-classifier/{method}"] == "up to date"
        assert told[f"2-cams/{method}"] == "cams.scales changed from [1.0, 1.5] to [1.0]"
        assert told[f"scores/seed-{method}"] == f"2-cams/{method} changed"
    assert after.keys() == before.keys()
    assert {name.split("/")[0] for name in before if after[name] != before[name]} == {"2-cams", "scores"}
    assert all(after[name] != before[name] for name in before if not name.startswith("1-"))


def test_maps_in_another_arithmetic_are_nearly_the_same_and_nothing_is_trained_for_them(
    run: Path, finished_run: Path, tag2mask: Callable, tiny_recipe: Path
):
    outcome = tag2mask("run", tiny_recipe, "--run", run, "--engine.inference_precision", "bf16-mixed")

    done = stages_done(outcome.err)
    assert {folder for folder, reason in done.items() if reason != "up to date"} == {
        f"{part}{method}" for part in ("2-cams/", "scores/seed-") for method in METHODS
    }
    rounded, exact = (
        np.concatenate([full_size_maps(read_cams(folder / "2-cams/baseline", name)).ravel() for name in sorted(NAMES)])
        for folder in (run, finished_run)
    )
    differences = np.abs(rounded - exact)
    assert 0 < differences.mean() < 0.01
    assert differences.max() < 0.1


def test_photos_that_are_measured_besides_are_added_to_those_that_are_there(
    finished_run: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    some = tmp_path / "some.txt"
    some.write_text("00.png\n03.png\n05.png\n")

    fewer = tag2mask("run", tiny_recipe, "--run", run, "--data.seed_split", some)
    left, before = stored_names(run / "2-cams/acr"), results(run)
    more = tag2mask("run", tiny_recipe, "--run", run)

    assert stages_done(fewer.err)["2-cams/acr"] == "of its photos 10 no longer asked for"
    assert left == {"00", "03", "05"}
    assert stages_done(more.err)["2-cams/acr"] == "of its photos 10 new or changed"
    kept = {f"2-cams/{method}/{name}.npz" for method in METHODS for name in left}
    assert all(results(run)[path] == before[path] for path in kept)
    for method in METHODS:
        assert scores(run, method) == scores(finished_run, method)


def test_stage_that_goes_on_counts_the_seconds_of_its_earlier_sessions(
    run: Path, tag2mask: Callable, tiny_recipe: Path
):
    folder = run / "2-cams" / "acr"
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"finished": False, "seconds": 1000.0}))
    (folder / "05.npz").unlink()
    for path in folder.glob("*.npz"):
        os.utime(path, (2_000_100, 2_000_100))
    os.utime(manifest, (2_000_000, 2_000_000))

    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert stages_done(outcome.err)["2-cams/acr"] == "resumes where it was stopped"
    assert json.loads(manifest.read_text())["finished"]
    assert 1100 <= json.loads(manifest.read_text())["seconds"] < 1200


def test_commands_of_the_stages_one_by_one_give_what_run_gives(
    finished_run: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    for command in ("train", "cams", "evaluate"):
        outcome = tag2mask(command, tiny_recipe, "--run", tmp_path / "run", "--methods", "[baseline]")
        assert outcome.status == 0, outcome.err

    for name in ("1-classifier/baseline/classifier.safetensors", *(f"2-cams/baseline/{name}.npz" for name in NAMES)):
        assert (tmp_path / "run" / name).read_bytes() == (finished_run / name).read_bytes(), name
    assert scores(tmp_path / "run", "baseline") == scores(finished_run, "baseline")


def test_stage_without_the_one_before_tells_which(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    outcome = tag2mask("cams", tiny_recipe, "--run", tmp_path / "run")

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        "tag2mask: 2-cams/baseline needs 1-classifier/baseline, which must be done first: not made yet"
    )
    assert not (tmp_path / "run").exists()


def test_refused_command_leaves_the_recipe_of_the_run(run: Path, tag2mask: Callable, tiny_recipe: Path):
    before = (run / "config.yaml").read_bytes()

    outcome = tag2mask("cams", tiny_recipe, "--run", run, "--classifier.epochs", 9)

    assert outcome.status == 1
    assert "2-cams/baseline needs 1-classifier/baseline, which must be done first: " in outcome.err
    assert (run / "config.yaml").read_bytes() == before


def test_new_run_without_anything_to_do_is_refused(run: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    flags = ("segment", tiny_recipe, "--segmenter.supervision", "[]", "--run")

    refused = tag2mask(*flags, tmp_path / "new")

    assert refused.status == 1
    assert refused.err.endswith("/new: nothing to do with these settings, photos and masks\n")
    assert not (tmp_path / "new").exists()
    # A script may go through all stages, whatever a recipe has of them.
    assert tag2mask(*flags, run).status == 0


def test_what_can_be_done_is_done_before_what_cannot_is_refused(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    run = ("--run", tmp_path / "run")
    assert tag2mask("train", tiny_recipe, *run, "--methods", "[baseline]").status == 0

    outcome = tag2mask("cams", tiny_recipe, *run)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("tag2mask: 2-cams/pretrained needs 1-classifier/pretrained")
    assert json.loads((tmp_path / "run/2-cams/baseline/manifest.json").read_text())["finished"]


@pytest.fixture
def foreign(run: Path) -> Path:
    """CAMs of another origin in the place of the baseline's: no manifest says how they were made."""
    folder = run / "2-cams" / "baseline"
    shutil.rmtree(folder)
    folder.mkdir()
    for name in NAMES:
        shutil.copy(run / "2-cams" / "acr" / f"{name}.npz", folder)
    return folder


def test_cams_of_somebody_else_stay_and_are_measured(run: Path, foreign: Path, tag2mask: Callable, tiny_recipe: Path):
    before = {path.name: path.read_bytes() for path in foreign.iterdir()}

    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert stages_done(outcome.err)["2-cams/baseline"] == "up to date (somebody else's, taken as they are)"
    assert {path.name: path.read_bytes() for path in foreign.iterdir()} == before
    assert scores(run, "baseline") == scores(run, "acr")


def test_cams_of_somebody_else_with_unknown_classes_are_refused_before_anything_is_trained(
    run: Path, foreign: Path, tag2mask: Callable, tiny_recipe: Path
):
    shutil.rmtree(run / "1-classifier" / "acr")
    cams = read_cams(foreign, "03")
    write_cams(foreign, "03", StoredCams(np.array([9], np.uint8), cams.maps[:1], cams.height, cams.width))

    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == f"tag2mask: {foreign / '03.npz'}: found class id 9, expected 1 to 2"
    assert not (run / "1-classifier" / "acr").exists()


def test_training_that_diverges_ends_in_one_line(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    outcome = tag2mask(
        "train", tiny_recipe, "--run", tmp_path / "run", "--methods", "[baseline]",
        "--classifier.optimizer.learning_rate", 1e12,
    )  # fmt: skip

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("tag2mask: a loss is not finite in epoch 1, step ")
    assert not (tmp_path / "run" / "1-classifier" / "baseline" / "classifier.safetensors").exists()


def test_training_that_a_mistyped_setting_replaced_is_taken_back(run: Path, tag2mask: Callable, tiny_recipe: Path):
    before = results(run)

    mistyped = tag2mask("run", tiny_recipe, "--run", run, "--classifier.optimizer.learning_rate", 1e12)
    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert mistyped.status == 1
    told = stages_done(outcome.err)
    assert told.pop("1-classifier/baseline") == f"taken from {run / '.replaced'}"
    assert set(told.values()) == {"up to date"}
    assert results(run) == before
    assert not (run / ".replaced").exists()


def test_replaced_training_is_kept_no_longer_than_the_new_one_takes(run: Path, tag2mask: Callable, tiny_recipe: Path):
    outcome = tag2mask("train", tiny_recipe, "--run", run, "--methods", "[baseline]", "--classifier.epochs", 1)

    assert stages_done(outcome.err) == {"1-classifier/baseline": "classifier.epochs changed from 3 to 1"}
    assert not (run / ".replaced").exists()


def test_finished_trainings_keep_no_checkpoint(run: Path, tag2mask: Callable, tiny_recipe: Path):
    assert not list(run.rglob("checkpoint.pt"))
    # Of a run that was killed before it could delete it.
    (run / "1-classifier" / "acr" / "checkpoint.pt").touch()

    tag2mask("run", tiny_recipe, "--run", run)

    assert not list(run.rglob("checkpoint.pt"))


def test_photos_without_tags_are_left_out_of_adversarial_training_aloud(
    tag2mask: Callable, tiny_recipe: Path, run: Path
):
    shutil.rmtree(run / "1-classifier" / "acr")

    outcome = tag2mask("train", tiny_recipe, "--run", run, "--acr.epochs", 1, "--methods", "[acr]")

    assert "acr: leaves out 1 photos without tags" in outcome.err


def test_finished_training_needs_its_pretrained_weights_no_more(
    run: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    weights, elsewhere = tmp_path / "nets" / "pretrained.safetensors", tmp_path / "elsewhere"
    for folder in (weights.parent, elsewhere):
        folder.mkdir()
    shutil.copy(run / "1-classifier/baseline/classifier.safetensors", weights)
    flags = ("--run", run, "--methods", "[baseline]", "--classifier.epochs", 1, "--classifier.weights")
    monkeypatch.chdir(weights.parent)
    trained = tag2mask("train", tiny_recipe, *flags, weights.name)
    monkeypatch.chdir(elsewhere)
    shutil.copy(weights, elsewhere / "copy.safetensors")

    from_copy = tag2mask("status", tiny_recipe, *flags, "copy.safetensors")
    from_elsewhere = tag2mask("status", run / "config.yaml", "--run", run)
    weights.unlink()
    written = tag2mask("cams", run / "config.yaml", "--run", run)
    from_gone = tag2mask("status", run / "config.yaml", "--run", run)
    other = tag2mask("status", tiny_recipe, *flags, tmp_path / "other.safetensors")

    assert trained.status == written.status == 0, trained.err + written.err
    for told in (from_copy, from_elsewhere, from_gone):
        assert told.out.splitlines()[0].split()[1:] == ["up", "to", "date"]
    assert from_gone.out.splitlines()[1].split()[1:] == ["up", "to", "date"]
    assert "to do       classifier.weights changed from pretrained.safetensors to " in other.out


def test_setting_that_cannot_work_leaves_the_finished_training(run: Path, tag2mask: Callable, tiny_recipe: Path):
    outcome = tag2mask("train", tiny_recipe, "--run", run, "--classifier.backbone", "resnet81")

    assert outcome.status == 1
    assert (run / "1-classifier" / "baseline" / "classifier.safetensors").exists()


def test_crop_that_fits_no_reconstructor_is_fine_where_none_is_trained(
    tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    flags = ("--methods", "[baseline]", "--data.crop", 40, "--classifier.epochs", 1)

    outcome = tag2mask("train", tiny_recipe, "--run", tmp_path / "run", *flags)

    assert outcome.status == 0, outcome.err


def test_setting_of_a_later_training_that_cannot_work_is_told_before_the_first_one(
    tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    outcome = tag2mask("run", tiny_recipe, "--run", tmp_path / "run", "--acr.batch_size", 100)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        "tag2mask: 1-classifier/reconstructor: 12 photos to train on, but a batch takes 100: lower the batch size"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stage", ["1-classifier/baseline", "scores/seed-acr"])
def test_stage_whose_manifest_is_lost_is_not_gone_on_with(run: Path, stage: str, tag2mask: Callable, tiny_recipe: Path):
    (run / stage / "manifest.json").unlink()
    before = results(run)

    outcome = tag2mask("run", tiny_recipe, "--run", run, "--classifier.optimizer.learning_rate", 0.01)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        f"tag2mask: {run / stage}: found files but no manifest.json: delete the folder to redo this stage"
    )
    assert results(run) == before


def test_folder_that_a_kill_left_without_manifest_is_gone_on_with(run: Path, tag2mask: Callable, tiny_recipe: Path):
    shutil.rmtree(run / "scores/seed-acr")
    (run / "scores/seed-acr").mkdir()
    (run / "scores/seed-acr/.manifest.json.1.tmp").touch()

    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert outcome.status == 0, outcome.err
    assert not list((run / "scores").rglob(".*"))


def test_what_a_kill_left_beside_the_results_is_gone_with_the_next_run(
    run: Path, tag2mask: Callable, tiny_recipe: Path
):
    (run / ".f9c1.17.tmp").write_text("half a report")

    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert outcome.status == 0, outcome.err
    assert not list(run.rglob("*.tmp"))


def test_another_class_redoes_the_training(
    run: Path, tag2mask: Callable, tiny_recipe: Path, shapes: Path, tmp_path: Path
):
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    flags = ("--data.root", root, "--methods", "[baseline]", "--cams.scales", "[1.0]")
    # The photos move before a class is added to them.
    moved = tag2mask("evaluate", run, "--data.root", root)
    (root / "classes.txt").write_text("disc\nsquare\ncone\n")

    outcome = tag2mask("run", tiny_recipe, "--run", run, *flags)

    assert moved.status == 0, moved.err
    assert stages_done(outcome.err)["1-classifier/baseline"] == "classes changed"


def test_photos_that_have_moved_and_changed_train_anew_where_the_older_training_was_deleted(
    run: Path, tag2mask: Callable, shapes: Path, tmp_path: Path
):
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    (root / "tags.csv").write_text((root / "tags.csv").read_text().replace("12.png,\n", "12.png,disc\n"))
    flags = ("--data.root", root, "--methods", "[baseline]", "--cams.scales", "[1.0]")

    refused = tag2mask("run", run, *flags)
    shutil.rmtree(run / "1-classifier/baseline")
    outcome = tag2mask("run", run, *flags)

    assert refused.err.endswith("or delete in this one 1-classifier/baseline to have them trained anew\n")
    assert outcome.status == 0, outcome.err
    assert stages_done(outcome.err)["1-classifier/baseline"] == "not made yet"
    assert load_recipe(str(run / "config.yaml")).data.root == root
