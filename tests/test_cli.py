import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tag2mask.command_line import build_parser
from tag2mask.recipes import load_recipe, save_recipe
from tag2mask.recipes.recipe_files import shipped_recipes

COMMANDS = (
    "demo", "run", "train", "cams", "refine", "label", "segment", "evaluate", "report", "status", "check", "predict",
    "export", "env", "table",
)  # fmt: skip
WITHOUT_TORCH = """
import sys
from tag2mask.cli import main
for arguments in (["--help"], ["run", "--help"], ["env"]):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0
heavy = {"torch", "torchvision", "timm", "lightning_fabric", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""

WITH_A_LIBRARY = """
import logging
from tag2mask.cli import main
main(["env"])
# Lightning does the same when it is imported.
library = logging.getLogger("library")
library.setLevel(logging.INFO)
library.info("advice")
library.warning("warning")
logging.getLogger("tag2mask.stages").info("progress")
"""


def only_line(err: str) -> str:
    """What was told, which is a single line beside the run's own log."""
    told = [line for line in err.splitlines() if not line.startswith(("run folder: ", "warning: "))]
    assert len(told) == 1, err
    assert told[0].startswith("tag2mask: ")
    return told[0]


def test_help_and_env_import_no_torch():
    command = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)

    assert command.returncode == 0, command.stderr
    for told in (*COMMANDS, "--acr.epochs", "embedded weights"):
        assert told in command.stdout


def test_full_disk_is_told_in_one_line_with_the_file_and_what_to_do(
    fill_disk: Callable[..., None], tiny_recipe: Path, tag2mask: Callable, tmp_path: Path
):
    fill_disk()

    outcome = tag2mask("train", tiny_recipe, "--run", tmp_path / "run")

    assert outcome.status == 1
    assert only_line(outcome.err) == (
        f"tag2mask: {tmp_path / 'run' / '.checked_files.json'}: No space left on device; make room, then run "
        "the same command again to resume"
    )


@pytest.mark.parametrize(("rank", "told"), [("0", "warning\nprogress\n"), ("1", "")])
def test_first_process_tells_how_it_goes_and_what_libraries_warn_of(rank: str, told: str):
    command = subprocess.run(
        [sys.executable, "-c", WITH_A_LIBRARY],
        capture_output=True, text=True, check=True, env=os.environ | {"LOCAL_RANK": rank},
    )  # fmt: skip

    assert command.stderr == told


def test_character_that_the_output_does_not_have_stops_nothing(tmp_path: Path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "tags.csv").write_text("image,tags\na.png,−猫\n", encoding="utf-8")

    command = subprocess.run(
        [sys.executable, "-m", "tag2mask", "check", str(tmp_path)],
        capture_output=True, encoding="cp1252", check=False, env=os.environ | {"PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip

    assert command.stderr == ""
    assert "error    ??: found it in the only photo, expected some without it." in command.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, tag2mask: Callable):
    outcome = tag2mask(name, "--help")

    assert outcome.status == 0
    assert f"usage: tag2mask {name}" in outcome.out


def test_every_argument_of_every_command_says_what_it_is_for():
    (subparsers,) = (action for action in build_parser()._actions if action.dest == "command")

    silent = [
        (name, action.dest) for name, command in subparsers.choices.items() for action in command._actions
        if not action.help
    ]  # fmt: skip
    assert silent == []


def test_version_is_told(tag2mask: Callable):
    assert tag2mask("--version").out.startswith("tag2mask 0.")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--acr.epoch", 3), "no setting is called acr.epoch; did you mean acr.epochs?"),
        (("--acr.epochs", "many"), "acr.epochs"),
        (("--acr.epochs", -1), "acr.epochs"),
        (("--cams.threshold=2",), "cams.threshold"),
        (("--methods", "[baseline,acrobat]"), "acrobat"),
        (("--acr.epochs",), "--acr.epochs has no value"),
        (
            ("--engine.accelerator", "cudda"),
            "engine.accelerator is cudda, expected one of auto, cpu, gpu, cuda, mps",
        ),
        (("--run", Path(__file__)), f"--run is the file {__file__}, expected a folder"),
        (("stray",), "stray"),
        (("--epochs", 3), "run does not know --epochs 3; did you mean --classifier.epochs or --mctformer.epochs or "),
        (("--recipe", "demo"), "run does not know --recipe demo"),
        (("--extends", "demo"), "extends stands in a recipe's file"),
    ],
)
def test_mistaken_flag_exits_2_with_one_line_that_names_it(
    arguments: tuple[object, ...], told: str, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    outcome = tag2mask("run", tiny_recipe, "--run", tmp_path / "run", *arguments)

    assert outcome.status == 2
    assert told in only_line(outcome.err)
    assert not (tmp_path / "run").exists()


def test_unknown_recipe_exits_2_with_the_known_ones(tag2mask: Callable):
    outcome = tag2mask("run", "voc12_resnet83")

    assert outcome.status == 2
    line = only_line(outcome.err)
    assert "no recipe voc12_resnet83" in line
    assert "did you mean voc12_resnet38?" in line
    assert all(name in line for name in shipped_recipes())


def test_unknown_command_exits_2_with_the_known_ones(tag2mask: Callable):
    outcome = tag2mask("rum")

    assert outcome.status == 2
    assert len(outcome.err.splitlines()) < 3
    assert all(name in outcome.err for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data.root", "nowhere"), "nowhere: found no such folder"),
        (("--data.train_split", "trian"), "data.train_split: found 'trian'"),
        (("--data.train_split", "trian"), "Did you mean 'train'?"),
        (("--data.val_split", "valley"), "Or null: no predictions are measured."),
        (("--data.crop", 40), "data.crop is 40, but a reconstructor of depth 4 needs a multiple of 16"),
        (("--cams.scales", "[]"), "cams.scales is empty, expected one or more"),
        (("--methods", "[acr,acr]", "--data.root", "nowhere"), "methods has acr more than once, expected each once"),
        (("--acr.reconstructor_epochs", 0), "methods has pretrained, but acr.reconstructor_epochs is 0"),
    ],
)
def test_setting_that_does_not_fit_exits_1_with_one_line(
    arguments: tuple[object, ...], told: str, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    outcome = tag2mask("run", tiny_recipe, "--run", tmp_path / "run", *arguments)

    assert outcome.status == 1
    assert told in only_line(outcome.err)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--classifier.batch_size", 100), "13 photos to train on, but a batch takes 100"),
        (("--acr.reconstructor.classify", "false"), "reconstructor_loss.classification"),
    ],
)
def test_setting_that_cannot_work_exits_1_with_one_line(
    arguments: tuple[object, ...], told: str, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    outcome = tag2mask("run", tiny_recipe, "--run", tmp_path / "run", "--classifier.epochs", 1, *arguments)

    assert outcome.status == 1
    assert told in outcome.err


def test_settings_that_contradict_each_other_are_told_before_the_data_are_read(
    tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    flags = ("--acr.reconstructor_epochs", 0, "--data.root", "nowhere")

    outcome = tag2mask("run", tiny_recipe, "--run", tmp_path / "run", *flags)

    assert outcome.status == 1
    assert "methods has pretrained, but acr.reconstructor_epochs is 0" in only_line(outcome.err)


def test_flags_may_stand_before_the_recipe(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    outcome = tag2mask("status", "--acr.epochs", 3, tiny_recipe, "--run", tmp_path)

    assert outcome.status == 0


def test_misspelt_flag_of_check_is_named(tag2mask: Callable, shapes: Path):
    outcome = tag2mask("check", shapes, "--strickt")

    assert outcome.status == 2
    assert "did you mean --strict?" in outcome.err


@pytest.fixture
def faulty(tmp_path: Path, shapes: Path) -> Path:
    """Data set with a row without photo and a photo that is none."""
    root = tmp_path / "faulty"
    root.mkdir()
    (root / "00.png").write_bytes((shapes / "00.png").read_bytes())
    (root / "01.png").write_bytes(b"no photo")
    (root / "tags.csv").write_text("image,tags\n00.png,disc\n01.png,disc\n02.png,square\n")
    return root


def test_faults_of_the_data_exit_1_with_a_line_each(
    faulty: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    checked = tag2mask("check", faulty)
    ran = tag2mask("run", tiny_recipe, "--data.root", faulty, "--run", tmp_path / "run")

    for outcome, text in ((checked, checked.out), (ran, ran.err)):
        assert outcome.status == 1
        assert "tags.csv row 4: found '02.png'" in text
        assert "01.png: found content that begins b'no photo'" in text
        assert "Traceback" not in text
    assert not (tmp_path / "run" / "1-classifier").exists()


def test_debug_shows_where_an_error_arose(tag2mask: Callable, tiny_recipe: Path, shapes: Path):
    with pytest.raises(ValueError, match="not a run of tag2mask"):
        tag2mask("run", tiny_recipe, "--run", shapes, "--debug")


@pytest.mark.parametrize(
    ("arguments", "unbuffered", "status"), [(("run", "--help"), "", 0), (("env",), "", 1), (("env",), "1", 1)]
)
def test_reader_that_has_enough_ends_the_command_quietly(arguments: tuple[str, ...], unbuffered: str, status: int):
    command = subprocess.Popen(
        [sys.executable, "-m", "tag2mask", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert command.stdout
    command.stdout.close()

    _, err = command.communicate()

    assert (command.returncode, err) == (status, b"")


def test_command_without_an_output_ends_well():
    command = subprocess.run(
        ["sh", "-c", 'exec "$0" -m tag2mask env >&-', sys.executable], capture_output=True, check=False
    )

    assert (command.returncode, command.stderr) == (0, b"")


@pytest.mark.parametrize("command", [("run",), ("table", "table1")])
def test_folder_that_cannot_be_made_is_told_before_the_data_are_read(
    command: tuple[str, ...], tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    file = tmp_path / "file"
    file.touch()

    outcome = tag2mask(*command, tiny_recipe, "--run", file / "run", "--data.root", "nowhere")

    assert outcome.status == 1
    assert outcome.err == f"tag2mask: {file}: found a file, expected a folder for the run\n"


def test_recipe_is_printed_whole_with_the_flags(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    printed = tag2mask("run", tiny_recipe, "--acr.epochs", 7, "--run", tmp_path / "run", "--print-config")
    (tmp_path / "whole.yaml").write_text(printed.out)

    assert printed.status == 0
    assert load_recipe(str(tmp_path / "whole.yaml")) == load_recipe(str(tiny_recipe), ["--acr.epochs", "7"])
    assert "extends: null" in printed.out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["run", "status"])
def test_folder_of_photos_in_the_place_of_a_recipe_is_told(command: str, tag2mask: Callable, shapes: Path):
    outcome = tag2mask(command, shapes)

    assert outcome.status == 2
    assert f"no recipe {shapes}: found a folder, expected a file" in only_line(outcome.err)
    assert outcome.err.endswith(f"--data.root {shapes} names photos\n")


def test_recipe_without_photos_beside_a_run_is_told_that_the_run_has_its_own(tag2mask: Callable, finished_run: Path):
    outcome = tag2mask("evaluate", "animals_lite0", "--run", finished_run)

    assert outcome.status == 1
    assert only_line(outcome.err) == (
        "tag2mask: data.root is not set: pass --data.root PHOTOS, or continue this run with its own settings: "
        f"tag2mask evaluate {finished_run}"
    )


@pytest.mark.parametrize("command", ["report", "status", "evaluate"])
def test_run_whose_photos_have_moved_is_told_where_they_are(
    command: str, tag2mask: Callable, finished_run: Path, tiny_recipe: Path, shapes: Path, tmp_path: Path
):
    run, root = shutil.copytree(finished_run, tmp_path / "run"), tmp_path / "moved"
    recipe = load_recipe(str(tiny_recipe))
    save_recipe(run / "config.yaml", replace(recipe, data=replace(recipe.data, root=tmp_path / "gone")))
    shutil.copytree(shapes, root)

    lost, found = tag2mask(command, run), tag2mask(command, run, "--data.root", root)

    gone = tmp_path / "gone"
    assert lost.status == 1
    assert only_line(lost.err) == (
        f"tag2mask: {gone}: no such folder. If the photos of {run} have moved, pass --data.root NEW_FOLDER"
    )
    assert found.status == 0, found.err
    assert "changed" not in found.out + found.err


@pytest.mark.parametrize("named", ["", "config.yaml"])
def test_run_names_its_recipe_and_its_folder(named: str, tag2mask: Callable, finished_run: Path):
    outcome = tag2mask("status", finished_run / named)

    assert outcome.status == 0
    assert "up to date" in outcome.out
    assert "not made yet" not in outcome.out


@pytest.mark.parametrize("command", ["status", "report", "evaluate"])
def test_run_that_was_copied_without_hidden_files_goes_on(
    command: str, tag2mask: Callable, finished_run: Path, tmp_path: Path
):
    run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns(".*"))

    outcome = tag2mask(command, run)

    assert outcome.status == 0, outcome.err
    assert "not made yet" not in outcome.out
    assert list(tmp_path.iterdir()) == [run]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\nframe #0"),
            "9 bytes.",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "Tried to allocate 2.00 GiB."),
        (BrokenProcessPool("A process was terminated abruptly"), "terminated abruptly"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (MemoryError(), "out of memory"),
    ],
)
def test_want_of_memory_exits_1_with_one_line_that_says_what_takes_less(
    error: Exception, told: str, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("tag2mask.commands._work", fail)

    outcome = tag2mask("train", tiny_recipe, "--run", tmp_path / "run")

    assert outcome.status == 1
    line = only_line(outcome.err)
    assert told in line
    assert line.endswith("smaller crops, batches or long_side, or fewer engine.workers, take less")
    assert outcome.out == ""


@pytest.mark.parametrize(("command", "told"), [("train", "resume"), ("env", "start over")])
def test_interrupted_command_says_what_comes_of_the_same_one(
    command: str, told: str, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tag2mask.commands._work", interrupt)
    monkeypatch.setattr("tag2mask.environment.facts", interrupt)

    outcome = tag2mask(command, *((tiny_recipe, "--run", tmp_path / "run") if command == "train" else ()))

    assert outcome.status == 130
    assert outcome.err == f"interrupted; run the same command again to {told}\n"


def test_fault_of_the_program_keeps_its_traceback(
    tag2mask: Callable, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("tag2mask.commands._work", fail)

    with pytest.raises(RuntimeError, match="shapes differ"):
        tag2mask("train", tiny_recipe, "--run", tmp_path / "run")


def test_export_for_the_test_server_needs_masks_and_names(tag2mask: Callable, whole_run: Path, tmp_path: Path):
    model = whole_run / "5-segmenter/acr"

    outcome = tag2mask("export", model, "--to", "voc-server", "--out", tmp_path / "results.tar")

    assert outcome.status == 2
    assert outcome.err == "tag2mask: command line: --to voc-server needs --masks DIR and --names FILE\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("tabel1", "demo"), "no table tabel1: neither a file nor one of table1, table2, table3, table3_vit, table4"),
        (("table1", "dmo"), "no recipe dmo: neither a file nor one of"),
        (
            ("table1", "demo", "--acr.epoch", 3),
            "command line: no setting is called acr.epoch; did you mean acr.epochs?",
        ),
        (("table1", "demo", "--seed", 3), "table does not know --seed 3; did you mean --seeds?"),
    ],
)
def test_mistaken_table_exits_2_with_one_line(
    arguments: tuple[object, ...], told: str, tag2mask: Callable, tmp_path: Path
):
    outcome = tag2mask("table", *arguments, "--run", tmp_path / "run")

    assert outcome.status == 2
    assert told in only_line(outcome.err)
    assert not (tmp_path / "run").exists()


def test_table_without_seeds_is_refused(tag2mask: Callable):
    outcome = tag2mask("table", "table1", "demo", "--seeds", 0)

    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].endswith("argument --seeds: found 0, expected a whole number, 1 or more")
