"""Commands in processes of their own: several that work together, and some that are killed and started again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_process import kill_when, on_two_devices, wait_for_end
from safetensors.torch import load_file

from tag2mask.cams.store import read_cams, stored_names

NAMES = {f"{index:02}" for index in range(13)}
NETWORKS = (
    "baseline/classifier",
    "reconstructor/reconstructor",
    "pretrained/classifier",
    "acr/classifier",
    "acr/reconstructor",
)
# Stages whose photos the processes share, after the seeds.
SHARED_WORK = (
    "3-refined/acr/crf", "3-refined/acr/relations", "3-refined/acr/maps", "4-pseudo-labels/acr", "6-predictions/acr",
    "6-predictions/masks",
)  # fmt: skip


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob(pattern)}


def test_two_processes_give_the_weights_and_maps_of_one(finished_run: Path, tiny_recipe: Path, tmp_path: Path):
    run = tmp_path / "run"

    done = on_two_devices("run", tiny_recipe, "--run", run)

    assert done.returncode == 0, done.stderr
    for name in NETWORKS:
        found, expected = (load_file(folder / "1-classifier" / f"{name}.safetensors") for folder in (run, finished_run))
        assert found.keys() == expected.keys()
        for key in expected:
            torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5, msg=f"{name} {key}")
    for method in ("baseline", "pretrained", "acr"):
        assert stored_names(run / "2-cams" / method) == NAMES
        for name in NAMES:
            found, expected = (read_cams(folder / "2-cams" / method, name) for folder in (run, finished_run))
            assert np.array_equal(found.class_ids, expected.class_ids)
            assert np.abs(found.maps.astype(int) - expected.maps).max(initial=0) <= 2, (method, name)
    assert done.stdout.count("results: ") == 1
    # Each thing is told once, by the first process.
    assert done.stderr.count("stage 1/10") == 1


def test_two_processes_give_the_labels_and_predictions_of_one(whole_run: Path, whole_recipe: Path, tmp_path: Path):
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    for folder in SHARED_WORK:
        shutil.rmtree(run / folder)

    done = on_two_devices("run", whole_recipe, "--run", run)

    assert done.returncode == 0, done.stderr
    # Nothing was trained again.
    assert files(run, "*.safetensors") == files(whole_run, "*.safetensors")
    for folder in SHARED_WORK:
        found, expected = (files(parent / folder, "*.*") for parent in (run, whole_run))
        # Manifests tell how long it took.
        assert {*found} == {*expected}
        assert {name for name in expected if found[name] != expected[name]} <= {"manifest.json"}, folder


@pytest.mark.parametrize(
    ("command", "flags", "told"),
    [
        (("run",), ("--acr.reconstructor_epochs", 0), "methods has pretrained, but acr.reconstructor_epochs is 0"),
        (("cams",), (), "2-cams/baseline needs 1-classifier/baseline, which must be done first: not made yet"),
        (("table", "table1"), ("--classifier.batch_size", 3), "batch size 3 cannot be shared by 2 processes"),
    ],
)
def test_what_all_processes_are_refused_for_is_told_once(
    command: tuple[str, ...], flags: tuple[object, ...], told: str, tiny_recipe: Path, tmp_path: Path
):
    done = on_two_devices(*command, tiny_recipe, "--run", tmp_path / "run", *flags)

    (line,) = (line for line in done.stderr.splitlines() if line.startswith("tag2mask: "))
    assert told in line
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


SLEEPERS = """
import os, sys, time
from pathlib import Path
from tag2mask.config import EngineSettings
from tag2mask.engine import launch

fabric = launch(EngineSettings(accelerator="cpu", devices=2))
written = Path(sys.argv[1]) / f"{fabric.global_rank}.written"
written.write_text(str(os.getpid()))
written.rename(written.with_suffix(""))
time.sleep(600)
"""


@pytest.mark.parametrize("killed", [0, 1])
def test_killed_process_takes_the_other_one_with_it(killed: int, tmp_path: Path):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    folder = tmp_path / "said"
    folder.mkdir()
    first = subprocess.Popen([sys.executable, str(script), str(folder)], stderr=subprocess.DEVNULL)
    while not all((folder / rank).exists() for rank in "01"):
        time.sleep(0.05)
        assert first.poll() is None
    both = [int((folder / rank).read_text()) for rank in "01"]

    os.kill(both[killed], signal.SIGKILL)
    left = wait_for_end(*both)

    for process in left:
        os.kill(process, signal.SIGKILL)
    first.wait()
    assert left == []


def test_photo_damaged_during_a_training_is_told_once(shapes: Path, tiny_recipe: Path, tmp_path: Path):
    photos, run = Path(shutil.copytree(shapes, tmp_path / "photos")), tmp_path / "run"
    flags = ("--data.root", photos, "--classifier.epochs", 1000, "--engine.devices", 2)
    command = [sys.executable, "-m", "tag2mask", "train", tiny_recipe, "--run", run, *flags]
    process = subprocess.Popen(
        [str(word) for word in command], env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    while not (run / "1-classifier" / "baseline" / "checkpoint.pt").exists():
        time.sleep(0.05)
        assert process.poll() is None
    (photos / "03.png").write_text("damaged")

    # Ends when all that write there have ended.
    _, told = process.communicate()

    assert process.returncode == 1
    assert "Traceback" not in told
    (line,) = (line for line in told.splitlines() if line.startswith("tag2mask: "))
    assert "03.png" in line


def test_killed_run_goes_on_to_the_same_weights_and_maps(
    finished_run: Path, tiny_recipe: Path, tag2mask: Callable, tmp_path: Path
):
    run, told = tmp_path / "run", tmp_path / "told.txt"
    command = ("run", tiny_recipe, "--run", run)

    kill_when((run / "1-classifier" / "baseline" / "checkpoint.pt").exists, *command, told=told)
    trained = len(list((run / "1-classifier").rglob("*.safetensors")))
    kill_when(lambda: bool(files(run / "2-cams", "*.npz")), *command, told=told)
    mapped = len(files(run / "2-cams", "*.npz"))
    outcome = tag2mask(*command)

    assert trained < len(NETWORKS)
    assert 0 < mapped < 3 * len(NAMES)
    assert outcome.status == 0
    assert "resumes where it was stopped" in outcome.err
    for pattern in ("*.safetensors", "*.npz"):
        assert files(run / "1-classifier", pattern) == files(finished_run / "1-classifier", pattern)
    assert files(run / "2-cams", "*.npz") == files(finished_run / "2-cams", "*.npz")
