import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.data.digests import digest_content, digest_file
from tag2mask.data.drawn_masks import DrawnMask, Outline
from tag2mask.data.faults import FaultLog
from tag2mask.data.inspection import inspect_records
from tag2mask.data.known_facts import (
    Inspection,
    KnownFacts,
    inspect_changed,
    read_known_facts,
    remember,
    write_known_facts,
)
from tag2mask.data.photos import FileError
from tag2mask.data.records import Record
from tag2mask.data.voc_tags import tags_of_label_maps


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    """A photo with a label map and one without."""
    for name, size in (("cat", (8, 6)), ("dog", (9, 5))):
        Image.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    Image.new("L", (8, 6), 1).save(tmp_path / "mask.png")
    cat = Record("cat", tmp_path / "cat.png", (1,), tmp_path / "mask.png")
    return [cat, Record("dog", tmp_path / "dog.png", (2,))]


def inspect(records: list[Record], known: KnownFacts) -> tuple[Inspection, int]:
    """What is found, and how many records are opened for it."""
    found = inspect_changed(records, known)
    taken = {id(facts) for facts in known.values()}
    return found, sum(id(facts) not in taken for facts in found.facts.values())


def rewrite(path: Path, content: bytes) -> None:
    """Put something else into a file, later."""
    path.write_bytes(content)
    os.utime(path, (2_000_000_000, 2_000_000_000))


def test_facts_that_were_written_are_read(records: list[Record], tmp_path: Path):
    known = inspect_changed(records, {}).known

    write_known_facts(tmp_path / "run" / "facts.json", known)

    assert read_known_facts(tmp_path / "run" / "facts.json") == known
    assert len(known) == 2
    assert read_known_facts(tmp_path / "absent.json") == {}


def test_facts_of_another_version_are_not_read(records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_known_facts(tmp_path / "facts.json", inspect_changed(records, {}).known)

    monkeypatch.setattr("tag2mask.data.known_facts.__version__", "another")

    assert read_known_facts(tmp_path / "facts.json") == {}


def test_facts_with_digests_of_another_kind_are_not_read(records: list[Record], tmp_path: Path):
    write_known_facts(tmp_path / "facts.json", inspect_changed(records, {}).known)
    content = json.loads((tmp_path / "facts.json").read_text())
    (tmp_path / "facts.json").write_text(json.dumps({name: content[name] for name in ("version", "facts")}))

    assert read_known_facts(tmp_path / "facts.json") == {}


def test_digests_that_are_remembered_need_no_file(records: list[Record], tmp_path: Path):
    known = inspect_changed(records, {}).known
    mask = tmp_path / "mask.png"
    before = digest_file(mask)
    size, time = mask.stat().st_size, mask.stat().st_mtime_ns
    mask.write_bytes(b"?" * size)
    os.utime(mask, ns=(time, time))

    remember(known)

    assert digest_file(mask) == before
    os.utime(mask, ns=(time, time + 1))
    assert digest_file(mask) == digest_content(b"?" * size)


def test_label_maps_that_are_remembered_are_not_opened_for_their_tags(records: list[Record], tmp_path: Path):
    known = inspect_changed(records, {}).known
    mask, log = tmp_path / "mask.png", FaultLog()
    size, time = mask.stat().st_size, mask.stat().st_mtime_ns
    mask.write_bytes(b"?" * size)
    os.utime(mask, ns=(time, time))

    remember(known)
    tags = tags_of_label_maps(tmp_path, {"cat": mask}, ("cat",), log)
    os.utime(mask, ns=(time, time + 1))

    assert tags == {"cat": (1,)}
    assert log.faults == []
    assert tags_of_label_maps(tmp_path, {"cat": mask}, ("cat",), log) == {}


def test_facts_are_those_of_the_files_whether_they_are_opened_or_not(records: list[Record]):
    expected = dict(zip(records, inspect_records(records), strict=True))

    first, num_opened = inspect(records, {})
    second, num_opened_again = inspect(records, first.known)

    assert (num_opened, num_opened_again) == (2, 0)
    assert first.facts == second.facts == expected
    assert first.known == second.known


@pytest.mark.parametrize(("file", "owner"), [("cat.png", "cat"), ("mask.png", "cat"), ("dog.png", "dog")])
def test_files_that_were_written_anew_are_opened(file: str, owner: str, records: list[Record], tmp_path: Path):
    known = inspect_changed(records, {}).known
    other = tmp_path / "other.png"
    Image.new("L", (20, 30), 2).save(other)

    rewrite(tmp_path / file, other.read_bytes())
    found, num_opened = inspect(records, known)

    assert num_opened == 1
    assert found.facts == dict(zip(records, inspect_records(records), strict=True))
    assert [record.name for record in records if found.facts[record] not in known.values()] == [owner]


def test_other_tags_open_no_file_and_another_label_map_does(records: list[Record], tmp_path: Path):
    known = inspect_changed(records, {}).known
    cat, dog = records

    assert inspect([replace(cat, tags=(1, 2)), dog], known)[1] == 0
    assert inspect([cat, replace(dog, label_map=tmp_path / "mask.png")], known)[1] == 1


def test_file_that_cannot_be_used_is_opened_each_time(records: list[Record], tmp_path: Path):
    (tmp_path / "dog.png").unlink()

    first, _ = inspect(records, {})
    second, num_opened = inspect(records, first.known)

    assert num_opened == 1
    for found in (first, second):
        assert isinstance(found.facts[records[1]].photo, FileError)
        assert len(found.known) == 1


def test_drawn_label_map_is_drawn_anew_when_its_classes_change(records: list[Record], tmp_path: Path):
    (tmp_path / "instances.json").touch()
    square = np.array([1, 1, 3, 1, 3, 3, 1, 3], np.float64).tobytes()
    mask = DrawnMask(tmp_path / "instances.json", 7, 6, 8, (Outline(1, (square,)),))
    other_class = replace(mask, outlines=(Outline(2, (square,)),))
    known = inspect_changed([replace(records[0], label_map=mask)], {}).known

    assert [
        inspect([replace(records[0], label_map=drawn)], known)[1]
        for drawn in (mask, replace(mask, image_id=8), other_class)
    ] == [0, 1, 1]
