import csv
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image
from terminal import show_on_terminal

from tag2mask.data.check import check_used_splits
from tag2mask.data.check_report import render, to_json, to_records, write_faults
from tag2mask.data.faults import DataError

TAGS = {f"{'cat' if index < 6 else 'dog'}{index}": "cat" if index < 6 else "dog" for index in range(12)}


def as_class_folders(folder):
    for name, tag in TAGS.items():
        folder.photo(f"{tag}/{name}.jpg", content=name)


def as_tags(folder):
    for name in TAGS:
        folder.photo(f"images/{name}.jpg", content=name)
    folder.text("tags.csv", "image,tags\n" + "".join(f"{name}.jpg,{tag}\n" for name, tag in TAGS.items()))


def as_columns(folder):
    for name in TAGS:
        folder.photo(f"{name}.jpg", content=name)
    rows = [f"{name},{int(tag == 'cat')},{int(tag == 'dog')}\n" for name, tag in TAGS.items()]
    folder.text("tags.csv", "image,cat,dog\n" + "".join(rows))


def as_voc(folder):
    for name, tag in TAGS.items():
        folder.photo(f"JPEGImages/{name}.jpg", content=name)
        folder.text(f"Annotations/{name}.xml", f"<annotation><object><name>{tag}</name></object></annotation>")
    folder.text("ImageSets/Segmentation/train.txt", "\n".join(TAGS))


def test_same_photos_are_the_same_records_in_every_layout(folder):
    found = []
    for write in (as_class_folders, as_tags, as_columns, as_voc):
        layout = replace(folder, root=folder.root / write.__name__)
        write(layout)
        found.append(json.loads(json.dumps(to_json(layout.check())))["records"])

    first = found[0]
    assert all(records == first for records in found)
    assert [(row["photo"], row["tags"]) for row in first] == sorted((f"{n}.jpg", [t]) for n, t in TAGS.items())
    assert len({row["content"] for row in first}) == 12
    rest = {"width": 40, "height": 36, "splits": ["all", "train"], "mask": False}
    assert all({key: row[key] for key in rest} == rest for row in first)


def test_clean_data_set_has_no_error_and_says_what_was_understood(pets):
    for name, values in zip("012345", ([0, 1], [0, 1], [0, 2], [0, 2, 255], [1, 2], [0]), strict=True):
        pets.mask(f"masks/{name}.png", values)

    result = pets.check()

    assert result.errors == ()
    result.raise_errors()
    size = sum((pets.root / f"{name}.png").stat().st_size for name in "012345")
    assert render(result).splitlines()[:7] == [
        "pets: photos, tags in tags.csv (6 rows, 2 classes)",
        f"photos   6 of 6 readable, RGB, all 40x36, none turned by EXIF, no two alike, {size / 1000:.0f} kB",
        "splits   train 6",
        "tags     1 tag 4   2 tags 1   none 1   (train)",
        "         cat 3   dog 3",
        "classes  1 cat   2 dog",
        "masks    6, sizes match, ids 0..2 and 255; tags and masks agree on every photo",
    ]


def masks_line(folder) -> str:
    """What is said of the masks, in one line."""
    text = render(folder.check()).partition("\nmasks")[2]
    return " ".join(re.split(r"\n\w", text)[0].split())


def test_masks_that_some_photos_lack_are_counted_by_split(pets):
    pets.text("tags.csv", "image,tags,split\n0,cat,train\n1,cat,val\n2,dog,train\n3,dog,val\n")
    pets.mask("masks/0.png", [0, 1])
    assert masks_line(pets) == (
        "1 (3 photos have none; train 1, val 0), sizes match, ids 0..1; "
        "tags and masks agree on every photo that has one"
    )

    pets.mask("masks/2.png", [0, 2])
    pets.mask("masks/3.png", [0, 1])

    assert masks_line(pets) == "3 (1 photo has none; train 2, val 1), sizes match, ids 0..2; tags and masks differ on 1"


def test_masks_in_error_are_not_said_to_agree_with_the_tags(pets):
    for name in "0123":
        pets.image(f"masks/{name}.png", Image.new("RGB", (40, 36)))
    assert masks_line(pets) == "4 (2 photos have none), none usable"

    pets.mask("masks/0.png", [0, 1])
    pets.mask("masks/1.png", [0, 3])
    pets.mask("masks/2.png", [0, 2], size=(20, 36))
    assert masks_line(pets) == (
        "4 (2 photos have none), 3 not usable, 1 sizes differ, ids 0..3; tags and masks agree on the others"
    )


def test_masks_without_a_class_are_not_said_to_agree_with_the_tags(pets):
    for name in "01":
        pets.mask(f"masks/{name}.png", [0, 255])
    assert masks_line(pets) == "2 (4 photos have none), none usable, sizes match, ids 0 and 255"

    for name in "01":
        (pets.root / f"masks/{name}.png").unlink()
    pets.mask("masks/5.png", [0])
    assert masks_line(pets) == "1 (5 photos have none), sizes match, ids 0; no class in any"


def test_classes_are_shown_with_their_ids(pets):
    assert any(line.startswith("classes  1 cat   2 dog") for line in render(pets.check()).splitlines())

    names = ["cat", "dog", *(f"kind of thing {number}" for number in range(3, 22))]
    pets.mask("masks/0.png", [0, 1])
    pets.text("classes.txt", "\n".join(names))
    lines = render(pets.check()).splitlines()

    start = next(index for index, line in enumerate(lines) if line.startswith("classes"))
    end = next(index for index, line in enumerate(lines) if line.startswith("masks"))
    assert lines[start].startswith("classes  1 cat   2 dog   3 kind of thing 3   ")
    assert lines[end - 1].endswith("19 kind of thing 19   ...   21 kind of thing 21")
    # No line ends between an id and its name, nor within a name.
    items = [item for line in lines[start:end] for item in line.removeprefix("classes").strip().split("   ")]
    assert items == [*(f"{index} {name}" for index, name in enumerate(names[:19], start=1)), "...", f"21 {names[20]}"]


def test_faults_of_a_kind_share_a_line_and_the_rest_are_counted(pets):
    pets.photos(*(f"new{index}.png" for index in range(5)))
    rows = "".join(f"gone{index}.png,cat\n" for index in range(5))
    pets.text("tags.csv", f"image,tags\n0.png,cat\n1.png,dog\n{rows}")

    text = render(pets.check())

    assert (
        "error    tags.csv row 6: found 'gone2.png', expected a photo's name\nerror    and 2 more of this kind" in text
    )
    assert (
        "warning  2.png, 3.png, 4.png and 6 more: found no mention in tags.csv, expected one. It is left out." in text
    )


def test_every_fault_is_collected_and_errors_come_first(pets):
    (pets.root / "3.png").write_bytes(b"")
    pets.text("tags.csv", "image,tags\n0.png,cat\n1.png,cat\n3.png,dog\n9.png,cat\n../x.png,cat\n")

    result = pets.check()

    assert {fault.code for fault in result.errors} == {"row-without-photo", "outside", "empty-file"}
    assert {fault.code for fault in result.warnings} == {"photo-without-row", "rare-class", "no-untagged"}
    assert result.faults == result.errors + result.warnings
    with pytest.raises(DataError, match=r"3 errors$"):
        result.raise_errors()


def test_only_photos_of_the_splits_that_a_run_uses_are_opened(folder):
    folder.photos("train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "test/cat/4.png")
    (folder.root / "test/cat/4.png").write_bytes(b"")

    result = check_used_splits(folder.settings(val_split="val"), {})

    assert result.errors == ()
    assert [row["photo"] for row in to_records(result)] == ["1.png", "2.png", "3.png"]
    assert [fault.code for fault in folder.check().errors] == ["empty-file"]


def test_every_photo_is_opened_where_a_split_cannot_be_read(folder):
    folder.photos("train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "test/cat/4.png")
    (folder.root / "test/cat/4.png").write_bytes(b"")

    result = check_used_splits(folder.settings(train_split="trian"), {})

    assert sorted(fault.code for fault in result.errors) == ["empty-file", "unknown-split"]


@pytest.mark.parametrize(("rank", "shown"), [("0", True), ("1", False)])
def test_first_process_shows_how_many_photos_are_opened(pets, monkeypatch, rank, shown):
    terminal = show_on_terminal(monkeypatch)
    monkeypatch.setenv("LOCAL_RANK", rank)

    pets.check()

    assert ("6/6" in terminal.getvalue()) == shown


def test_every_fault_is_a_row_of_the_full_list(pets, tmp_path):
    pets.text("tags.csv", 'image,tags\n0.png,cat\n"a, ""b"" ä.png",dog\n')
    faults = pets.check().faults

    write_faults(tmp_path / "check.csv", faults)

    with (tmp_path / "check.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = [
        {name: "" if value is None else str(value) for name, value in asdict(fault).items()} for fault in faults
    ]
    assert rows == expected
    assert len(rows) > 2


def tree(root: Path) -> dict[str, tuple[float, bytes]]:
    return {str(path): (path.stat().st_mtime, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def test_check_of_a_read_only_folder_changes_nothing(pets):
    pets.mask("masks/3.png", [0, 2])
    (pets.root / "2.png").write_bytes(b"half a photo")
    before = tree(pets.root)
    for folder in (pets.root / "masks", pets.root):
        folder.chmod(0o500)

    result = pets.check()

    for folder in (pets.root, pets.root / "masks"):
        folder.chmod(0o700)
    assert [fault.code for fault in result.errors] == ["not-an-image"]
    assert tree(pets.root) == before
