import os
from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.files import replacing
from tag2mask.runs.manifest import Manifest, clear, read_manifest, write_manifest
from tag2mask.runs.sharing import REPLACED, find_finished, forget_replaced, set_aside, take_over
from tag2mask.runs.stages import Stage

WANTED = Manifest({"acr.epochs": 3}, {"photos": "a"})


def stage(manifest: Manifest = WANTED) -> Stage:
    return Stage("acr", "", "1-classifier/acr", (), manifest, ())


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


@pytest.mark.parametrize(
    ("asked", "found"), [({"a": "1"}, True), ({"a": "1", "b": "2"}, True), ({"a": "2"}, False), ({"c": "3"}, False)]
)
def test_stage_of_more_photos_is_found_where_these_are_the_same(asked: dict[str, str], found: bool, tmp_path: Path):
    whole = replace(WANTED, photos={"a": "1", "b": "2"}, finished=True)
    write_stage(tmp_path / "one", whole)

    assert (find_finished(stage(replace(whole, photos=asked)), [tmp_path / "one"]) is not None) == found


def test_photos_that_are_not_asked_for_are_not_taken_over_and_stay_where_they_are(tmp_path: Path):
    whole = replace(WANTED, photos={"00": "1", "01": "2"}, finished=True, seconds=12.5, counts={"photos": 2})
    source = write_stage(tmp_path / "one", whole)
    for name in whole.photos:
        (source / f"{name}.npz").write_text(name)
    before = contents(source)

    take_over(stage(replace(WANTED, photos={"01": "2"})), tmp_path / "one", tmp_path / "two")

    taken = contents(tmp_path / "two" / "1-classifier" / "acr")
    assert taken.keys() == before.keys() - {"00.npz"}
    assert taken["01.npz"] == b"01"
    assert read_manifest(tmp_path / "two" / "1-classifier" / "acr") == replace(
        whole, photos={"01": "2"}, counts={"photos": 1}
    )
    assert contents(source) == before


def test_finished_training_is_kept_aside_until_it_is_replaced(finished: Path, tmp_path: Path):
    run = tmp_path / "one"
    before = contents(finished)

    set_aside(stage(), run)
    assert not finished.exists()
    # The one in its place is stopped, and begun again with further settings.
    write_stage(run, Manifest({"acr.epochs": 4}, {"photos": "a"}))
    set_aside(stage(), run)

    assert not finished.exists()
    assert contents(run / REPLACED / "1-classifier" / "acr") == before
    assert find_finished(stage(), [run / REPLACED]) == run / REPLACED
    forget_replaced(stage(), run)
    assert not (run / REPLACED).exists()


def test_what_a_kill_left_of_a_replaced_training_is_deleted(finished: Path, tmp_path: Path):
    run = tmp_path / "one"
    set_aside(stage(), run)
    aside = run / REPLACED / "1-classifier"
    (aside / "acr").rename(aside / ".acr.cleared")

    forget_replaced(stage(), run)

    assert not (run / REPLACED).exists()


def test_newer_of_two_finished_trainings_is_kept_aside(finished: Path, tmp_path: Path):
    run, newer = tmp_path / "one", Manifest({"acr.epochs": 4}, {}, finished=True)
    set_aside(stage(), run)
    write_stage(run, newer)

    set_aside(stage(), run)

    assert find_finished(stage(newer), [run / REPLACED]) == run / REPLACED


def test_stage_that_is_no_training_is_not_kept(tmp_path: Path):
    maps = Stage("cams", "acr", "2-cams/acr", (), WANTED, ())
    write_manifest(tmp_path / maps.folder, replace(WANTED, finished=True))

    set_aside(maps, tmp_path)

    assert [path.name for path in tmp_path.rglob("*")] == ["2-cams"]


def test_what_is_taken_over_is_the_same_and_takes_no_disk(finished: Path, tmp_path: Path):
    folder = tmp_path / "two" / "1-classifier" / "acr"

    take_over(stage(), tmp_path / "one", tmp_path / "two")

    assert contents(folder) == contents(finished)
    assert all((folder / name).samefile(finished / name) for name in contents(finished))


def test_files_are_copied_where_they_cannot_be_linked(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(source: str, target: str) -> None:
        raise OSError("no links on this disk")

    monkeypatch.setattr(os, "link", refuse)
    folder = tmp_path / "two" / "1-classifier" / "acr"

    take_over(stage(), tmp_path / "one", tmp_path / "two")

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
        take_over(stage(), tmp_path / "one", tmp_path / "two")
    monkeypatch.undo()
    assert not folder.exists()

    take_over(stage(), tmp_path / "one", tmp_path / "two")

    assert contents(folder) == contents(finished)
    assert [path.name for path in folder.parent.iterdir()] == ["acr"]


def test_writing_into_one_of_the_twins_leaves_the_other_one(finished: Path, tmp_path: Path):
    folder = tmp_path / "two" / "1-classifier" / "acr"
    take_over(stage(), tmp_path / "one", tmp_path / "two")
    before = contents(finished)

    write_manifest(folder, WANTED)
    with replacing(folder / "acr.safetensors") as path:
        path.write_bytes(b"others")
    clear(folder)

    assert not folder.exists()
    assert contents(finished) == before
