import os
from pathlib import Path

import pytest

from tag2mask.files import replacing
from tag2mask.runs.manifest import Manifest, clear, write_manifest
from tag2mask.runs.sharing import find_finished, take_over
from tag2mask.runs.stages import Stage

WANTED = Manifest({"acr.epochs": 3}, {"photos": "a"})


def stage(manifest: Manifest = WANTED) -> Stage:
    return Stage("acr", None, "1-classifier/acr", (), manifest, ())


def write_stage(run: Path, manifest: Manifest) -> Path:
    folder = run / "1-classifier" / "acr"
    (folder / "epochs" / "0").mkdir(parents=True)
    (folder / "acr.safetensors").write_bytes(b"weights")
    (folder / "epochs" / "0" / "00.npz").write_bytes(b"maps")
    write_manifest(folder, manifest)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Stage folder of a run."""
    return write_stage(tmp_path / "one", Manifest(WANTED.settings, WANTED.inputs, finished=True, seconds=12.5))


def test_finished_stage_with_equal_settings_and_inputs_is_found(finished: Path, tmp_path: Path):
    assert find_finished(stage(), [tmp_path / "none", tmp_path / "one"]) == tmp_path / "one"


@pytest.mark.parametrize(
    "other", [Manifest({"acr.epochs": 4}, {"photos": "a"}), Manifest({"acr.epochs": 3}, {"photos": "b"})]
)
def test_stage_of_other_settings_or_inputs_is_not_found(finished: Path, other: Manifest, tmp_path: Path):
    assert find_finished(stage(other), [tmp_path / "one"]) is None


def test_unfinished_stage_is_not_found(tmp_path: Path):
    write_stage(tmp_path / "one", WANTED)

    assert find_finished(stage(), [tmp_path / "one"]) is None


def test_what_is_taken_over_is_the_same_and_takes_no_disk(finished: Path, tmp_path: Path):
    folder = tmp_path / "two" / "1-classifier" / "acr"

    take_over(finished, folder)

    assert contents(folder) == contents(finished)
    assert all((folder / name).samefile(finished / name) for name in contents(finished))


def test_files_are_copied_where_they_cannot_be_linked(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(source: str, target: str) -> None:
        raise OSError("no links on this disk")

    monkeypatch.setattr(os, "link", refuse)
    folder = tmp_path / "two" / "1-classifier" / "acr"

    take_over(finished, folder)

    assert contents(folder) == contents(finished)
    assert not any((folder / name).samefile(finished / name) for name in contents(finished))


def test_stop_in_the_midst_leaves_no_stage_and_is_mended_by_the_next_time(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    link, folder = os.link, tmp_path / "two" / "1-classifier" / "acr"
    linked: list[str] = []

    def stop_at_the_third(source: str, target: str) -> None:
        if len(linked) == 2:
            raise KeyboardInterrupt
        linked.append(source)
        link(source, target)

    monkeypatch.setattr(os, "link", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        take_over(finished, folder)
    monkeypatch.undo()
    assert not folder.exists()

    take_over(finished, folder)

    assert contents(folder) == contents(finished)
    assert [path.name for path in folder.parent.iterdir()] == ["acr"]


def test_writing_into_one_of_the_twins_leaves_the_other_one(finished: Path, tmp_path: Path):
    folder = tmp_path / "two" / "1-classifier" / "acr"
    take_over(finished, folder)
    before = contents(finished)

    write_manifest(folder, WANTED)
    with replacing(folder / "acr.safetensors") as path:
        path.write_bytes(b"others")
    clear(folder)

    assert not folder.exists()
    assert contents(finished) == before
