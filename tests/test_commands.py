import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_process import ready_processes

from tag2mask.command_line import split_settings
from tag2mask.commands import Job, status
from tag2mask.config import DataSettings
from tag2mask.data.check import check_data_set, check_used_splits
from tag2mask.data.check_report import fault_lines
from tag2mask.data.faults import Fault
from tag2mask.data.known_facts import read_known_facts, write_known_facts
from tag2mask.data.result_folders import FACTS_FILE
from tag2mask.recipes import load_recipe, save_recipe
from tag2mask.runs.folder import alone_in

# What needs no network starts without torch.
if TYPE_CHECKING:
    from tag2mask.segmenter import Segmenter


def opened_files(root: Path, told: Path, *arguments: object) -> set[str]:
    """Files of a folder that a command opens, in a process that has read nothing yet."""
    process = ready_processes().Process(target=tell_what_is_opened, args=([str(word) for word in arguments], told))
    process.start()
    process.join()
    assert process.exitcode == 0
    paths = [Path(path) for path in json.loads(told.read_text())]
    return {path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root) and path.is_file()}


def tell_what_is_opened(arguments: list[str], told: Path) -> None:
    """Run a command, and write down the files that the interpreter tells to be opened."""
    from tag2mask.cli import main

    opened: list[str] = []
    sys.addaudithook(lambda event, facts: opened.append(str(facts[0])) if event == "open" else None)
    assert main(arguments) == 0
    told.write_text(json.dumps(opened))


def test_good_data_exit_0_with_the_next_command(shapes: Path, tag2mask: Callable, tmp_path: Path):
    outcome = tag2mask("check", shapes, "--write", tmp_path / "faults.csv")

    assert outcome.status == 0
    assert "photos   13 of 13 readable" in outcome.out
    assert outcome.out.splitlines()[-1].startswith(f"next     tag2mask run animals_lite0 --data.root {shapes}")
    assert "warning,rare-class,disc" in (tmp_path / "faults.csv").read_text()


def test_next_command_of_a_check_names_the_splits_that_there_are(shapes: Path, tag2mask: Callable, tmp_path: Path):
    root = shutil.copytree(shapes, tmp_path / "my photos")
    printed = tag2mask("check", root).out.splitlines()[-1].removeprefix("next")

    own, flags = split_settings(shlex.split(printed)[1:])

    data = load_recipe(own[1], flags).data
    assert (own[0], data.root) == ("run", root)
    assert own[2:] == ["--run", "runs/my photos"]
    assert (data.train_split, data.seed_split, data.val_split) == ("train", "train", None)
    assert check_data_set(data).errors == ()


def test_next_command_of_a_check_keeps_the_run_out_of_the_photos(
    shapes: Path, tag2mask: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(shapes, tmp_path / "runs" / "photos")
    monkeypatch.chdir(tmp_path)

    words = tag2mask("check", "runs/photos").out.split()

    assert words[-2:] == ["--run", "runs/photos-run"]


def test_next_command_of_a_check_measures_seeds_where_there_are_masks(shapes: Path, tag2mask: Callable, tmp_path: Path):
    root = shutil.copytree(shapes, tmp_path / "photos")
    rows = (root / "tags.csv").read_text().splitlines()
    splits = ["split", *["train"] * 6, *["val"] * 4, *["extra"] * 3]
    (root / "tags.csv").write_text("".join(f"{row},{split}\n" for row, split in zip(rows, splits, strict=True)))

    def next_splits() -> list[str]:
        words = tag2mask("check", root).out.splitlines()[-1].split()
        return [words[words.index(f"--data.{name}_split") + 1] for name in ("train", "seed", "val")]

    assert next_splits() == ["train", "train", "val"]
    for photo in range(6):
        (root / f"masks/{photo:02}.png").unlink()
    assert next_splits() == ["train", "val", "val"]
    for photo in range(6, 10):
        (root / f"masks/{photo:02}.png").unlink()
    assert next_splits() == ["train", "extra", "val"]
    shutil.rmtree(root / "masks")
    assert next_splits() == ["train", "train", "val"]


def test_demo_refuses_other_photos(shapes: Path, tag2mask: Callable, tmp_path: Path):
    outcome = tag2mask("demo", "--data.root", shapes, "--run", tmp_path / "run")

    assert outcome.status == 2
    assert outcome.err == (
        f"tag2mask: command line: --data.root is {shapes}, but demo draws its photos: leave it out\n"
    )
    assert not (tmp_path / "run").exists()


def test_refused_demo_leaves_the_recipe_of_the_demo_before(
    tag2mask: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tag2mask.data.scenes.NUM_PHOTOS", {"train": 3, "val": 3})
    recipe = load_recipe("demo")
    with alone_in(tmp_path):
        save_recipe(tmp_path / "config.yaml", replace(recipe, data=replace(recipe.data, root=tmp_path / "data")))
    before = (tmp_path / "config.yaml").read_bytes()

    outcome = tag2mask("demo", "--labels.threshold", 0.123, "--run", tmp_path)
    with alone_in(tmp_path):
        refused = subprocess.run(
            [sys.executable, "-m", "tag2mask", "demo", "--engine.seed", "7", "--run", tmp_path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert outcome.err.splitlines()[-1] == "tag2mask: labels.threshold is 0.123, expected a multiple of 0.01"
    assert refused.stderr == f"tag2mask: {tmp_path} is in use by process {os.getpid()}\n"
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_env_sets_names_and_values_apart(tag2mask: Callable):
    lines = tag2mask("env").out.splitlines()

    assert all("  " in line for line in lines)


def test_three_warnings_of_a_kind_are_told_and_the_others_counted():
    faults = [Fault("warning", "no-tag", f"{number}.png", None, "no tag", "one") for number in range(5)]
    faults.append(Fault("warning", "small", "9.png", None, "3 pixels", "more"))

    assert fault_lines(faults) == [
        ("warning", "0.png, 1.png, 2.png and 2 more: found no tag, expected one"),
        ("warning", "9.png: found 3 pixels, expected more"),
    ]


def test_run_on_a_relative_folder_is_reported_from_another_one(
    tag2mask: Callable, finished_run: Path, tiny_recipe: Path, shapes: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    run = shutil.copytree(finished_run, tmp_path / "run")
    monkeypatch.chdir(shapes.parent)
    flags = ("--run", run, "--data.root", shapes.name)
    stages = tag2mask("status", tiny_recipe, *flags).out
    assert tag2mask("evaluate", tiny_recipe, *flags).status == 0
    monkeypatch.chdir(tmp_path)

    outcome = tag2mask("report", "run")

    assert outcome.status == 0, outcome.err
    assert stages.count("up to date") == 10


def test_strict_check_counts_warnings(shapes: Path, tag2mask: Callable):
    assert tag2mask("check", shapes, "--strict").status == 1


def test_check_prints_json_alone(shapes: Path, tag2mask: Callable):
    outcome = tag2mask("check", shapes, "--json")

    assert outcome.status == 0
    assert isinstance(json.loads(outcome.out), dict)


def test_folder_that_is_not_ours_is_refused(shapes: Path, tag2mask: Callable, tiny_recipe: Path):
    before = sorted(shapes.iterdir())

    outcome = tag2mask("run", tiny_recipe, "--run", shapes)

    assert outcome.status == 1
    assert outcome.err.startswith(f"tag2mask: {shapes}: not empty and not a run of tag2mask")
    assert len(outcome.err.splitlines()) == 1
    assert sorted(shapes.iterdir()) == before


@pytest.mark.parametrize("command", ["run", "demo"])
def test_settings_of_another_program_are_left_alone(
    command: str, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    (tmp_path / "config.yaml").write_text("port: 80\n")

    outcome = tag2mask(command, *([tiny_recipe] if command == "run" else []), "--run", tmp_path)

    assert outcome.status == 1
    assert outcome.err.startswith(f"tag2mask: {tmp_path}: not empty and not a run of tag2mask")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.yaml", "port: 80\n")]


def test_folder_in_use_is_refused_before_the_data_are_read(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    work = "import sys; from pathlib import Path; from tag2mask.runs.folder import alone_in\n"
    work += "with alone_in(Path(sys.argv[1])): print(flush=True); input()"
    command = [sys.executable, "-c", work, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        outcome = tag2mask("run", tiny_recipe, "--run", tmp_path, "--data.root", "nowhere")

    assert outcome.status == 1
    assert outcome.err == f"tag2mask: {tmp_path} is in use by process {process.pid}\n"


def test_status_tells_every_stage_and_why(finished_run: Path, tag2mask: Callable, tiny_recipe: Path):
    same = tag2mask("status", tiny_recipe, "--run", finished_run)
    other = tag2mask("status", tiny_recipe, "--run", finished_run, "--cams.scales", "[1.0]")

    assert same.status == other.status == 0
    assert [line.split()[1:] for line in same.out.splitlines()] == [["up", "to", "date"]] * 10
    lines = {line.split()[0]: line for line in other.out.splitlines()}
    assert "up to date" in lines["1-classifier/acr"]
    assert "to do       cams.scales changed from [1.0, 1.5] to [1.0]" in lines["2-cams/acr"]
    assert "to do       2-cams/acr changed" in lines["scores/seed-acr"]


def test_job_takes_its_folder_as_text(finished_run: Path, tiny_recipe: Path, capsys: pytest.CaptureFixture[str]):
    job = Job(load_recipe(str(tiny_recipe)), str(finished_run))  # type: ignore[arg-type]

    status(job)

    assert job.run == finished_run
    assert "1-classifier/acr" in capsys.readouterr().out


def test_status_names_the_setting_of_a_split_that_there_is_not(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    outcome = tag2mask("status", tiny_recipe, "--run", tmp_path / "run", "--data.seed_split", "trian")

    assert outcome.status == 1
    assert outcome.err.startswith("tag2mask: data.seed_split: found 'trian', expected one of train, all, or")


@pytest.mark.parametrize(("told", "rows"), [("classes", ("disc", "robin")), ("photos", ("12.png,\n", "12.png,disc\n"))])
def test_run_of_other_photos_is_refused_where_they_would_train_its_networks_anew(
    told: str, rows: tuple[str, str], finished_run: Path, tag2mask: Callable, tiny_recipe: Path, shapes: Path,
    tmp_path: Path,
):  # fmt: skip
    run, root = shutil.copytree(finished_run, tmp_path / "run"), shutil.copytree(shapes, tmp_path / "others")
    (root / "tags.csv").write_text((root / "tags.csv").read_text().replace(*rows))
    flags = (tiny_recipe, "--run", run, "--data.root", root)

    ran, evaluated, status = (tag2mask(command, *flags) for command in ("run", "evaluate", "status"))

    line = (
        f"tag2mask: {run}: was made of the photos in {shapes}, found other {told} in {root}: choose another --run, or "
        "delete in this one 1-classifier/baseline, 1-classifier/reconstructor, 1-classifier/pretrained, "
        "1-classifier/acr to have them trained anew"
    )
    for outcome in (ran, evaluated, status):
        assert (outcome.status, outcome.err.splitlines()[-1]) == (1, line)
    assert len(status.out.splitlines()) == 10
    assert (run / "config.yaml").read_bytes() == (finished_run / "config.yaml").read_bytes()


def test_status_changes_nothing(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    outcome = tag2mask("status", tiny_recipe, "--run", tmp_path / "run")

    assert outcome.out.count("not made yet") == 10
    assert not (tmp_path / "run").exists()


def test_run_keeps_its_recipe_with_the_flags(finished_run: Path, tiny_recipe: Path):
    assert load_recipe(str(finished_run / "config.yaml")) == load_recipe(str(tiny_recipe))


@pytest.mark.parametrize("flags", [("--acr.reconstructor.classify", "false"), ("--classifier.backbone", "resnet81")])
def test_refused_recipe_leaves_the_one_of_the_run(
    flags: tuple[str, str], finished_run: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    run = shutil.copytree(finished_run, tmp_path / "run")

    outcome = tag2mask("run", tiny_recipe, "--run", run, *flags)

    assert outcome.status == 1
    assert (run / "config.yaml").read_bytes() == (finished_run / "config.yaml").read_bytes()


def test_second_run_opens_only_the_photos_that_have_changed(
    finished_run: Path, tag2mask: Callable, tiny_recipe: Path, shapes: Path, tmp_path: Path
):
    run, root = shutil.copytree(finished_run, tmp_path / "run"), shutil.copytree(shapes, tmp_path / "shapes")
    flags = (tiny_recipe, "--data.root", root, "--run", run)
    first = tag2mask("run", *flags)
    assert first.status == 0, first.err
    time = (root / "03.png").stat().st_mtime_ns
    size = (root / "03.png").stat().st_size
    # No photo any more, but nobody can see it from outside.
    (root / "03.png").write_bytes(b"?" * size)
    os.utime(root / "03.png", ns=(time, time))

    unopened = check_used_splits(DataSettings(root=root), read_known_facts(run / FACTS_FILE))
    os.utime(root / "03.png", ns=(time, time + 1))
    outcome = tag2mask("run", *flags)

    assert unopened.errors == ()
    assert outcome.status == 1
    assert "03.png: found content that begins b'????" in outcome.err


def test_finished_run_opens_no_photo_and_no_mask_again(
    finished_run: Path, tiny_recipe: Path, shapes: Path, tmp_path: Path
):
    run = shutil.copytree(finished_run, tmp_path / "run")

    opened = opened_files(shapes, tmp_path / "opened.json", "train", tiny_recipe, "--run", run)

    assert opened == {"tags.csv"}


def test_status_of_a_run_opens_the_photos_and_masks_that_have_changed(
    finished_run: Path, tiny_recipe: Path, shapes: Path, tmp_path: Path
):
    root, run = shutil.copytree(shapes, tmp_path / "shapes"), shutil.copytree(finished_run, tmp_path / "run")
    write_known_facts(run / FACTS_FILE, check_data_set(DataSettings(root=root)).known)
    for name in ("03.png", "masks/05.png"):
        os.utime(root / name, ns=(0, 1))

    flags = ("--run", run, "--data.root", root)
    opened = opened_files(root, tmp_path / "opened.json", "status", tiny_recipe, *flags)

    assert opened == {"tags.csv", "03.png", "masks/05.png"}


def test_report_of_a_folder_that_is_no_run_is_refused(tag2mask: Callable, tmp_path: Path):
    outcome = tag2mask("report", tmp_path)

    assert outcome.status == 1
    told = "found no config.yaml with stages beside it, expected the folder of a run"
    assert outcome.err == f"tag2mask: {tmp_path}: {told}\n"


def test_report_is_written_again_with_as_many_photos_as_asked(tag2mask: Callable, whole_run: Path, tmp_path: Path):
    run = shutil.copytree(whole_run, tmp_path / "run")
    whole = (run / "report.html").stat().st_size
    (run / "report.html").unlink()

    outcome = tag2mask("report", run, "--photos", 4)

    assert outcome.status == 0, outcome.err
    assert outcome.out == f"report: {run / 'report.html'}\n"
    assert (run / "report.html").stat().st_size < whole


def test_predict_names_photos_that_cannot_be_read_and_fails(
    tag2mask: Callable, whole_run: Path, shapes: Path, tmp_path: Path
):
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(shapes / "00.png", photos)
    (photos / "broken.jpg").write_bytes(b"no photo")

    outcome = tag2mask("predict", photos, "--model", whole_run / "5-segmenter/acr", "--out", tmp_path / "out")

    assert outcome.status == 1
    assert "broken.jpg: found content that begins b'no photo', expected an image" in outcome.err
    assert outcome.out == f"labelled 1 of 2 photos: {tmp_path / 'out'}\n"
    assert (tmp_path / "out/masks/00.png").exists()


def test_predict_takes_several_photos_and_folders(
    tag2mask: Callable, segmenter: "Segmenter", shapes: Path, photo_folder: Path, tmp_path: Path
):
    segmenter.save(tmp_path / "model")
    photos = shapes / "00.png", photo_folder / "more", shapes / "01.png", shapes / "00.png"

    outcome = tag2mask("predict", *photos, "--model", tmp_path / "model", "--out", tmp_path / "out")

    assert outcome.status == 0, outcome.err
    assert outcome.out == f"labelled 3 of 3 photos: {tmp_path / 'out'}\n"
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == ["00.png", "01.png", "turned.png"]


def test_predict_refuses_two_photos_for_one_mask_and_one_that_is_not_there(
    tag2mask: Callable, segmenter: "Segmenter", shapes: Path, photo_folder: Path, tmp_path: Path
):
    segmenter.save(tmp_path / "model")
    photos = photo_folder / "turned.jpg", photo_folder / "more/turned.png"
    flags = ("--model", tmp_path / "model", "--out", tmp_path / "out")

    same, absent = tag2mask("predict", *photos, *flags), tag2mask("predict", photos[0], shapes / "99.png", *flags)

    assert same.status == absent.status == 1
    assert f"{photos[0]} and {photos[1]}: found two photos for the mask turned.png" in same.err
    assert f"{shapes / '99.png'}: no such file or folder" in absent.err
    assert not (tmp_path / "out").exists()


def test_predict_refuses_a_folder_of_photos_for_its_own(
    tag2mask: Callable, segmenter: "Segmenter", shapes: Path, tmp_path: Path
):
    segmenter.save(tmp_path / "model")
    photos = tmp_path / "photos"
    (photos / "pics").mkdir(parents=True)
    shutil.copy(shapes / "00.png", photos / "pics")

    outcome = tag2mask("predict", photos, "--model", tmp_path / "model", "--out", photos / "pics")

    assert outcome.status == 1
    assert outcome.err == (
        f"tag2mask: {photos / 'pics'}: found files that this model did not make at this precision, expected a new "
        "folder: choose another --out\n"
    )
    assert [path.name for path in (photos / "pics").iterdir()] == ["00.png"]


def test_predict_works_at_the_precision_and_on_the_device_that_are_asked_for(
    tag2mask: Callable, segmenter: "Segmenter", shapes: Path, tmp_path: Path
):
    import torch
    from lightning_fabric import Fabric

    from tag2mask.segmenter import Segmenter
    from tag2mask.stages.predictions import predict_folder

    photo, model = shapes / "00.png", tmp_path / "model"
    segmenter.save(model)
    for name, dtype in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)):
        fabric = Fabric(accelerator="cpu", devices=1)
        with torch.autocast("cpu", dtype, enabled=name != "32-true"):
            predict_folder(fabric, Segmenter.load(model), {"00": photo}, folder=tmp_path / f"expected-{name}")

        flags = ("--model", model, "--out", tmp_path / name, "--device", "cpu", "--precision", name)
        outcome = tag2mask("predict", photo, *flags)

        assert outcome.status == 0, outcome.err
        mask = Path("masks/00.png")
        assert (tmp_path / name / mask).read_bytes() == (tmp_path / f"expected-{name}" / mask).read_bytes()
    assert (tmp_path / "32-true" / mask).read_bytes() != (tmp_path / "bf16-mixed" / mask).read_bytes()
    mixed = tag2mask("predict", photo, "--model", model, "--out", tmp_path / "bf16-mixed")
    assert mixed.status == 1
    assert "found files that this model did not make at this precision" in mixed.err


def test_predict_on_a_device_that_is_not_there_is_refused_in_one_line(
    tag2mask: Callable, segmenter: "Segmenter", shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    segmenter.save(tmp_path / "model")

    flags = ("--model", tmp_path / "model", "--out", tmp_path / "out", "--device", "mps")
    outcome = tag2mask("predict", shapes / "00.png", *flags)

    assert outcome.status == 1
    assert outcome.err == "tag2mask: --device mps: torch finds no such device; use auto or cpu\n"
    assert not (tmp_path / "out").exists()


def test_predictions_among_the_photos_are_never_taken_for_photos(
    tag2mask: Callable, segmenter: "Segmenter", shapes: Path, tmp_path: Path
):
    segmenter.save(tmp_path / "model")
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(shapes / "00.png", photos)

    for out in (photos / "pics", photos / "pics", photos / "more"):
        outcome = tag2mask("predict", photos, "--model", tmp_path / "model", "--out", out)

        assert outcome.status == 0, outcome.err
        assert outcome.out == f"labelled 1 of 1 photos: {out}\n"
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["finished"]
        assert manifest["counts"] == {"photos": 1}
    (photos / "00.png").unlink()
    outcome = tag2mask("predict", photos, "--model", tmp_path / "model", "--out", photos / "pics")

    assert outcome.status == 1
    assert outcome.err.startswith(f"tag2mask: {photos}: found no photo, expected files such as ")


def test_predict_with_a_run_takes_the_segmenter_that_learned_from_tags(
    tag2mask: Callable, whole_run: Path, shapes: Path, tmp_path: Path
):
    models = [whole_run, whole_run / "5-segmenter/acr", whole_run / "5-segmenter/masks"]

    masks = []
    for number, model in enumerate(models):
        out = tmp_path / str(number)
        assert tag2mask("predict", shapes / "00.png", "--model", model, "--out", out).status == 0
        masks.append((out / "masks/00.png").read_bytes())

    assert masks[0] == masks[1] != masks[2]


def test_scores_are_printed_by_the_commands_that_measure_alone(
    tag2mask: Callable, finished_run: Path, tiny_recipe: Path, tmp_path: Path
):
    run = shutil.copytree(finished_run, tmp_path / "run")

    trained, evaluated = (tag2mask(command, tiny_recipe, "--run", run) for command in ("train", "evaluate"))

    assert trained.out == f"results: {run}\n"
    assert "mIoU" in evaluated.out
    assert evaluated.out.splitlines()[-2:] == [f"report: {run / 'report.html'}", f"results: {run}"]


def test_table_in_a_folder_that_is_not_ours_is_refused(tag2mask: Callable, shapes: Path, tiny_recipe: Path):
    outcome = tag2mask("table", "table1", tiny_recipe, "--run", shapes)

    assert outcome.status == 1
    assert outcome.err.startswith(f"tag2mask: {shapes}: not empty and not a folder of tables")


def test_evaluating_a_run_without_maps_is_refused_and_leaves_nothing(
    tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    outcome = tag2mask("evaluate", tiny_recipe, "--run", tmp_path / "run")

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].endswith(
        "/run: nothing to measure, scores/seed-baseline needs 2-cams/baseline, which must be done first: not made yet"
    )
    assert not (tmp_path / "run").exists()


def test_demo_with_settings_that_contradict_each_other_leaves_nothing(tag2mask: Callable, tmp_path: Path):
    outcome = tag2mask("demo", "--run", tmp_path / "demo", "--labels.threshold", 0.333)

    assert outcome.status != 0
    assert "labels.threshold" in outcome.err.splitlines()[-1]
    assert not (tmp_path / "demo").exists()
