import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tag2mask.data.result_folders import FACTS_FILE
from tag2mask.runs.folder import (
    LOCK_FILE,
    RECIPE_FILE,
    alone_in,
    expect_run,
    is_run,
    refuse_foreign,
    refuse_foreign_tables,
    refuse_in_use,
    refuse_unwritable,
)


def test_run_may_begin_in_a_new_or_empty_folder_and_go_on_in_its_own(tmp_path: Path):
    refuse_foreign(tmp_path / "absent")
    refuse_foreign(tmp_path)
    with alone_in(tmp_path):
        (tmp_path / RECIPE_FILE).touch()
        (tmp_path / "scores.json").touch()

    refuse_foreign(tmp_path)
    expect_run(tmp_path)


def test_run_that_was_copied_without_hidden_files_is_one(tmp_path: Path):
    (tmp_path / RECIPE_FILE).touch()
    (tmp_path / "1-classifier/acr").mkdir(parents=True)
    (tmp_path / "1-classifier/acr/manifest.json").touch()

    assert is_run(tmp_path)
    refuse_foreign(tmp_path)
    expect_run(tmp_path)


@pytest.mark.parametrize("others", [["photo.jpg"], [RECIPE_FILE], [RECIPE_FILE, "1-drafts", "masks"]])
def test_folder_of_other_files_is_no_run(others: list[str], tmp_path: Path):
    for name in others:
        (tmp_path / name).touch()

    assert not is_run(tmp_path)
    with pytest.raises(ValueError, match=r"not empty and not a run of tag2mask \(no config\.yaml with stages"):
        refuse_foreign(tmp_path)
    with pytest.raises(ValueError, match=r"found no config\.yaml with stages .*, expected the folder of a run"):
        expect_run(tmp_path)


def test_run_may_begin_with_maps_labels_and_predictions_of_somebody_else(tmp_path: Path):
    (tmp_path / "2-cams/acr").mkdir(parents=True)
    (tmp_path / "4-pseudo-labels/acr").mkdir(parents=True)
    (tmp_path / "6-predictions/acr").mkdir(parents=True)
    refuse_foreign(tmp_path)
    (tmp_path / "5-segmenter").mkdir()

    with pytest.raises(ValueError, match="not empty and not a run"):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize("refuse", [refuse_foreign, refuse_foreign_tables])
def test_what_the_check_found_makes_no_folder_foreign(refuse: Callable[[Path], None], tmp_path: Path):
    (tmp_path / FACTS_FILE).touch()

    refuse(tmp_path)


def test_tables_go_on_beside_the_runs_of_their_seeds_alone(tmp_path: Path):
    refuse_foreign_tables(tmp_path)
    (tmp_path / "table1.md").touch()

    with pytest.raises(ValueError, match=r"not empty and not a folder of tables \(seed-\* is missing\)"):
        refuse_foreign_tables(tmp_path)
    (tmp_path / "seed-1").mkdir()
    refuse_foreign_tables(tmp_path)


# A user without rights, on most systems.
_NOBODY = 65534

WORKER = """
import os, sys, time
from pathlib import Path
from tag2mask.runs.folder import alone_in
with alone_in(Path(sys.argv[1])):
    # Like a process of a loader: it lives on for a while when this one is killed.
    if os.fork() == 0:
        os.close(1)
        time.sleep(2)
        os._exit(0)
    print("works", flush=True)
    time.sleep(60)
"""


def start_work(folder: Path) -> "subprocess.Popen[str]":
    """A process that works in a folder by the time it is given."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    return process


def test_second_process_is_refused_until_the_first_one_is_killed(tmp_path: Path):
    folder = tmp_path / "runs" / "two"
    process = start_work(folder)

    with pytest.raises(ValueError, match=rf"runs/two is in use by process {process.pid}$"), alone_in(folder):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()

    with alone_in(folder):
        pass


def test_folder_that_another_process_works_in_is_refused_until_that_one_is_killed(tmp_path: Path):
    folder = tmp_path / "runs" / "two"
    refuse_in_use(folder)
    assert not folder.exists()
    process = start_work(folder)

    with pytest.raises(ValueError, match=rf"runs/two is in use by process {process.pid}$"):
        refuse_in_use(folder)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    refuse_in_use(folder)
    assert (folder / LOCK_FILE).read_text() == str(process.pid)


def test_processes_that_ask_at_once_whether_a_folder_is_in_use_do_not_keep_each_other_out(tmp_path: Path):
    (tmp_path / LOCK_FILE).touch()
    asks = "import fcntl, sys\n"
    asks += "with open(sys.argv[1]) as file: fcntl.lockf(file, fcntl.LOCK_SH); print(flush=True); input()"
    command = [sys.executable, "-c", asks, str(tmp_path / LOCK_FILE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        refuse_in_use(tmp_path)


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """Folder that takes no files."""
    folder = tmp_path / "unwritable"
    folder.mkdir(mode=0o555)
    is_root = os.getuid() == 0
    # Root may write everywhere; rights are asked for in the name of the real user.
    if is_root:
        os.setreuid(_NOBODY, -1)
    yield folder
    if is_root:
        os.setreuid(0, -1)


def test_folder_that_takes_no_files_is_refused(unwritable: Path, tmp_path: Path):
    for folder in (unwritable, unwritable / "runs" / "mine"):
        with pytest.raises(ValueError, match=rf"^{unwritable}: no right to write there: choose another --run$"):
            refuse_unwritable(folder)
    unwritable.chmod(0o777)
    (tmp_path / "file").touch()

    with pytest.raises(ValueError, match=rf"^{tmp_path}/file: found a file, expected a folder for the run$"):
        refuse_unwritable(tmp_path / "file" / "run")


def test_folder_that_can_be_made_is_not_made_yet(tmp_path: Path):
    refuse_unwritable(tmp_path / "runs" / "mine")

    assert not (tmp_path / "runs").exists()


def test_one_process_works_in_a_folder_again_and_again(tmp_path: Path):
    for _ in range(2):
        with alone_in(tmp_path), alone_in(tmp_path / "other"):
            pass


def test_lock_that_a_kill_left_makes_no_folder_foreign(tmp_path: Path):
    with alone_in(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]

    refuse_foreign(tmp_path)


def test_disk_without_locks_is_worked_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(file: int, mode: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)

    with caplog.at_level(logging.INFO), alone_in(tmp_path):
        pass

    assert caplog.messages == [f"{tmp_path} cannot be locked (No locks available): start no second run in it"]
