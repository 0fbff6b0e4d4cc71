import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.config import AcrSettings, DataSettings
from tag2mask.data.records import Record
from tag2mask.dotted_names import flatten
from tag2mask.runs.manifest import (
    Manifest,
    clear,
    digest,
    digest_photos,
    digest_records,
    keep_photos,
    read_manifest,
    seconds_so_far,
    why_redo,
    write_manifest,
)

MANIFEST = Manifest({"cams.scales": [0.5, 1.0], "cams.classes": "tags"}, {"photos": "abc"})


def record(folder: Path, name: str = "cat", tags: tuple[int, ...] = (1,)) -> Record:
    path = folder / f"{name}.jpg"
    if not path.exists():
        path.write_bytes(b"photo")
    return Record(name, path, tags)


def test_manifest_that_was_written_is_read(tmp_path: Path):
    manifest = replace(MANIFEST, finished=True, seconds=12.5, counts={"photos": 3})

    write_manifest(tmp_path / "2-cams" / "acr", manifest)

    assert read_manifest(tmp_path / "2-cams" / "acr") == manifest
    assert [path.name for path in (tmp_path / "2-cams" / "acr").iterdir()] == ["manifest.json"]


def test_folder_without_manifest_has_none(tmp_path: Path):
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "absent") is None


@pytest.mark.parametrize("content", ["{", '{"cams": 1}', '{"settings": {}}'])
def test_file_that_is_no_manifest_is_refused_by_name(content: str, tmp_path: Path):
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(ValueError, match=r"manifest\.json: not a manifest of this package .* delete the folder"):
        read_manifest(tmp_path)


def test_digest_is_of_settings_and_inputs_alone():
    finished = replace(MANIFEST, finished=True, seconds=3.0, counts={"photos": 1}, version="9")

    assert finished.digest == MANIFEST.digest
    assert replace(MANIFEST, settings={}).digest != MANIFEST.digest
    assert replace(MANIFEST, inputs={"photos": "abd"}).digest != MANIFEST.digest


def test_digest_does_not_depend_on_the_order_of_names():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_digest_of_photos_changes_with_name_tags_file_and_order(tmp_path: Path):
    cat, dog = record(tmp_path), record(tmp_path, "dog", (2,))
    before = digest_records([cat, dog])

    assert digest_records([cat, dog]) == before
    assert digest_records([dog, cat]) != before
    assert digest_records([replace(cat, name="kitten"), dog]) != before
    assert digest_records([replace(cat, tags=(1, 2)), dog]) != before
    cat.image.write_bytes(b"another photo")
    assert digest_records([cat, dog]) != before


def test_digest_of_photos_is_of_their_content_wherever_and_whenever_it_was_written(tmp_path: Path):
    cat = record(tmp_path)
    copy = replace(cat, image=tmp_path / "copy.jpg")
    shutil.copyfile(cat.image, copy.image)
    before = digest_records([cat])

    os.utime(cat.image, ns=(0, 1))

    assert digest_records([cat]) == before
    assert digest_records([copy]) == before


def test_settings_become_dotted_names_as_on_the_command_line():
    flat = flatten(AcrSettings(), "acr")

    assert flat["acr.epochs"] == 40
    assert flat["acr.remnants.grid"] == 16
    assert flat["acr.reconstructor.features"] == [-3, -2, -1]
    assert flatten(DataSettings(root=Path("/photos")), "data")["data.root"] == "/photos"
    assert json.loads(json.dumps(flat)) == flat


def test_reason_names_the_setting_with_both_values():
    wanted = replace(MANIFEST, settings=MANIFEST.settings | {"cams.classes": "predicted"})

    assert why_redo(wanted, MANIFEST) == "cams.classes changed from tags to predicted"
    assert why_redo(MANIFEST, None) == "not made yet"
    assert why_redo(replace(MANIFEST, inputs={"photos": "xyz"}), MANIFEST) == "photos or tags changed"
    assert why_redo(replace(MANIFEST, settings={"cams.scales": [0.5, 1.0]}), MANIFEST) == (
        "cams.classes changed from tags to None"
    )


def test_three_settings_that_changed_are_told_and_the_others_counted():
    before, after = ({f"acr.{name}": value for name in "abcde"} for value in (1, 2))

    told = "acr.a changed from 1 to 2, acr.b changed from 1 to 2"
    assert why_redo(Manifest(before | {"acr.a": 2, "acr.b": 2}, {}), Manifest(before, {})) == told
    all_five = f"{told}, acr.c changed from 1 to 2 and 2 more settings"
    assert why_redo(Manifest(after, {}), Manifest(before, {})) == all_five


def test_stage_of_the_same_settings_and_inputs_is_kept():
    assert why_redo(MANIFEST, replace(MANIFEST, finished=True, seconds=9.0, version="0.0.1")) is None


def test_seconds_of_a_stopped_stage_are_those_of_all_sessions_up_to_the_last_file(tmp_path: Path):
    folder = tmp_path / "2-cams"
    assert seconds_so_far(folder) == 0
    write_manifest(folder, replace(MANIFEST, seconds=10.0))
    assert seconds_so_far(folder) == 10
    # Of another session than the last one; of the last one; what a kill left of a file.
    for name, time in (("old.npz", 900), ("photos/cat.npz", 1004), ("dog.npz", 1002), (".bird.npz.1.tmp", 1009)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
        os.utime(folder / name, (time, time))
    os.utime(folder / "manifest.json", (1000, 1000))

    assert seconds_so_far(folder) == 14


def test_digests_of_single_photos_change_with_tags_and_content(tmp_path: Path):
    cat, dog = record(tmp_path), record(tmp_path, "dog", (2,))
    before = digest_photos([cat, dog])

    assert before.keys() == {"cat", "dog"}
    assert digest_photos([dog, replace(cat, tags=(1, 2))])["dog"] == before["dog"]
    assert digest_photos([replace(cat, tags=(1, 2))])["cat"] != before["cat"]
    cat.image.write_bytes(b"another photo")
    assert digest_photos([cat])["cat"] != before["cat"]


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Finished stage folder of three photos."""
    folder = tmp_path / "2-cams"
    photos = {"cat": "1", "more/dog": "2", "bird": "3"}
    for name in photos:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.npz").write_text(name)
    write_manifest(folder, replace(MANIFEST, photos=photos, finished=True, seconds=5.0, counts={"photos": 3}))
    return folder


def test_photos_that_changed_or_are_not_asked_for_are_deleted_and_the_others_stay(maps: Path):
    keep_photos(maps, {"cat": "1", "more/dog": "other", "cow": "4"})

    assert {path.name for path in maps.rglob("*") if path.is_file()} == {"cat.npz", "manifest.json"}
    expected = replace(MANIFEST, photos={"cat": "1"}, finished=True, seconds=5.0, counts={"photos": 1})
    assert read_manifest(maps) == expected


def test_photos_are_left_alone_where_more_of_them_are_asked_for(maps: Path):
    before = {path: path.stat().st_mtime_ns for path in maps.rglob("*")}

    keep_photos(maps, {"cat": "1", "more/dog": "2", "bird": "3", "cow": "4"})

    assert {path: path.stat().st_mtime_ns for path in maps.rglob("*")} == before


def test_folder_in_which_deleting_photos_was_stopped_is_not_whole(maps: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", stop)
    with pytest.raises(KeyboardInterrupt):
        keep_photos(maps, {"cat": "1"})
    monkeypatch.undo()
    stopped = read_manifest(maps)
    assert stopped is not None
    assert not stopped.finished

    keep_photos(maps, {"cat": "1"})

    assert {path.name for path in maps.rglob("*") if path.is_file()} == {"cat.npz", "manifest.json"}


def test_stage_folder_of_ours_is_cleared(tmp_path: Path):
    folder = tmp_path / "2-cams"
    write_manifest(folder, MANIFEST)
    (folder / "photo.npz").write_bytes(b"maps")

    clear(folder)

    assert not folder.exists()


def test_folder_that_is_not_ours_is_not_cleared(tmp_path: Path):
    (tmp_path / "photo.npz").write_bytes(b"maps")

    clear(tmp_path)
    clear(tmp_path / "absent")

    assert (tmp_path / "photo.npz").read_bytes() == b"maps"


def test_cleared_folder_is_gone_at_once_and_whole(tmp_path: Path):
    folder = tmp_path / "stage"
    write_manifest(folder, Manifest({}, {}))
    (folder / "weights").write_text("old")
    # What a killed run left of an earlier clearing.
    (tmp_path / ".stage.cleared").mkdir()
    (tmp_path / ".stage.cleared" / "weights").write_text("older")

    clear(folder)

    assert list(tmp_path.iterdir()) == []
