import shutil
import sys
from pathlib import Path

import pytest

from tag2mask.config import DataSettings
from tag2mask.data.faults import DataError
from tag2mask.data.known_facts import read_known_facts
from tag2mask.data.result_folders import FACTS_FILE
from tag2mask.runs.checked_data import checked_data


def test_what_was_found_is_kept_before_anything_follows(shapes: Path, tmp_path: Path):
    run = tmp_path / "run"

    with checked_data(DataSettings(root=shapes), run):
        known = read_known_facts(run / FACTS_FILE)
        (run / "config.yaml").touch()

    assert len(known) == 13
    assert {path.name for path in run.iterdir()} == {FACTS_FILE, "config.yaml"}


def test_run_that_is_refused_leaves_no_folder(shapes: Path, tmp_path: Path):
    run = tmp_path / "run"

    with pytest.raises(ValueError, match="cannot work"), checked_data(DataSettings(root=shapes), run):
        raise ValueError("cannot work")

    assert not run.exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system has no such names")
def test_photo_whose_name_is_not_utf_8_is_refused(shapes: Path, tmp_path: Path):
    for folder, name in (("disc", "caf\udce9"), ("square", "1")):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        shutil.copy(shapes / "00.png", tmp_path / "photos" / folder / f"{name}.png")
    settings = DataSettings(root=tmp_path / "photos")

    told = r"disc/caf\\xe9\.png: found a name that is not UTF-8, expected UTF-8"
    with pytest.raises(DataError, match=told), checked_data(settings, tmp_path / "run"):
        pass

    assert not (tmp_path / "run").exists()


def test_folder_that_was_there_before_is_left(shapes: Path, tmp_path: Path):
    for _ in range(2):
        with checked_data(DataSettings(root=shapes), tmp_path):
            pass

    assert [path.name for path in tmp_path.iterdir()] == [FACTS_FILE]


def test_further_processes_write_nothing(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_RANK", "1")

    with checked_data(DataSettings(root=shapes), tmp_path / "run"):
        pass

    assert not (tmp_path / "run").exists()
