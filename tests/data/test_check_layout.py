"""Faults of layouts, tables, rows and files, each on a data set that has it."""

import unicodedata

import pytest
from PIL import features

from tag2mask.data.check_report import fault_lines


def test_unrecognised_folder_is_told_with_its_entries_and_the_known_layouts(folder):
    folder.text("notes.txt", "x")
    folder.text("more/readme", "x")

    fault = folder.fault("no-layout")

    assert fault.severity == "error"
    assert fault.found == "more, notes.txt"
    assert fault.expected.count(";") == 4


@pytest.mark.parametrize(
    ("meant", "file"),
    [
        ("VOC2012", "VOC2012/JPEGImages/a.jpg"),
        ("VOCdevkit/VOC2012", "VOCdevkit/VOC2012/JPEGImages/a.jpg"),
        ("coco", "coco/annotations/instances_train2017.json"),
        ("pets", "pets/tags.csv"),
    ],
)
def test_folder_above_a_data_set_is_recognised_as_a_slip(folder, meant, file):
    folder.text("coco/train2017/readme", "x")
    folder.text(file, "x")

    assert folder.fault("no-layout").hint == f"Did you mean its folder {meant!r}?"


@pytest.mark.parametrize(
    ("photos", "reason"),
    [
        ("train/1.jpg valid/2.jpg test/3.jpg", "Folders called test, train, valid are splits"),
        ("Train2023/1.jpg test2023/2.jpg cat/3.jpg", "Folders called Train2023, cat, test2023 are splits"),
        ("train/1.jpg", "Folders called train are splits"),
        ("Testing/1.jpg val/2.jpg", "Folders called Testing, val are splits"),
    ],
)
def test_folders_called_as_splits_are_no_classes_unless_asked_for(folder, photos, reason):
    folder.photos(*photos.split())

    fault = folder.fault("no-layout")

    assert fault.severity == "error"
    assert fault.hint.startswith(reason)
    assert fault.hint.endswith("If the folders are classes, choose layout class_folders.")
    assert len(folder.read(layout="class_folders").class_names) == len(photos.split())


@pytest.mark.parametrize("classes", ["boat bus2 train", "test1 test2 test3"])
def test_class_may_be_called_as_a_split(folder, classes):
    folder.photos(*(f"{name}/{name}.jpg" for name in classes.split()))

    assert folder.read().class_names == tuple(classes.split())


@pytest.mark.parametrize("file", ["one/_annotations.coco.json", "annotations/instances_default.json"])
def test_annotations_that_would_not_be_read_stop_folders_from_being_classes(folder, file):
    folder.photos("one/1.jpg", "two/2.jpg")
    folder.text(file, "{}")

    fault = folder.fault("no-layout")

    assert fault.hint.startswith(f"{file} is not read, as its photos are not where")
    assert folder.read(layout="class_folders").class_names == ("one", "two")


@pytest.mark.parametrize("file", ["annotations.json", "one/one_annotations.json", "annotations/via_project.json"])
def test_annotations_of_another_kind_say_nothing_of_class_folders(folder, file):
    folder.photos("one/1.jpg", "two/2.jpg")
    folder.text(file, "{}")

    assert folder.read().class_names == ("one", "two")


@pytest.mark.parametrize("file", ["annotations.json", "annotations/instances_default.json"])
def test_annotations_say_nothing_of_class_folders_below_splits(folder, file):
    folder.photos("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg")
    folder.text(file, "{}")

    assert list(folder.read().splits) == ["train", "val", "all"]


def test_photos_in_a_folder_of_photos_below_a_split_are_no_class(folder):
    folder.photos("train/images/1.jpg", "valid/images/2.jpg")

    assert folder.fault("no-layout").found == "train, valid"


def test_class_beside_others_below_a_split_may_be_called_as_a_folder_of_photos(folder):
    folder.photos("train/cat/1.jpg", "train/photos/2.jpg", "val/photos/3.jpg")

    splits = folder.read().splits

    assert {name: [record.tags for record in splits[name]] for name in ("train", "val")} == {
        "train": [(1,), (2,)],
        "val": [(2,)],
    }


@pytest.mark.parametrize(("name", "is_told"), [("tags.tsv", 1), ("Tags.CSV", 1), ("labels.xlsx", 1), ("notes.csv", 0)])
def test_table_that_is_not_read_is_told_beside_class_folders_where_its_name_is_like_tags(folder, name, is_told):
    for file in (name, "._tags.csv", "~$tags.xlsx"):
        folder.text(file, "x")
    folder.photo("1.jpg")
    assert folder.fault("no-layout").hint == f"If {name} has the tags, save it as tags.csv."

    folder.photo("cat/1.jpg")
    faults = [fault for fault in folder.check().faults if fault.code == "other-table"]

    assert [(fault.severity, fault.where, fault.hint) for fault in faults] == [
        ("warning", name, "It is not read.")
    ] * is_told


@pytest.mark.parametrize("source", ["boxes", "masks"])
def test_source_of_tags_that_the_layout_does_not_have_stops(pets, source):
    fault = pets.fault("tag-source", tag_source=source)

    assert (fault.severity, fault.where, fault.found) == ("error", "data.tag_source", source)
    assert pets.check(tag_source="csv").errors == ()


@pytest.mark.parametrize("place", ["cat/1.HEIC", "train/cat/1.heic"])
def test_folder_of_photos_of_a_kind_that_is_not_read_is_told_what_to_do(folder, place):
    folder.text(place, "x")
    folder.text("dog/notes.txt", "x")

    assert folder.fault("no-layout").hint == f"Convert its {place[-5:]} files to JPEG."


def test_photos_of_kinds_that_are_not_read_are_counted(folder):
    folder.photos("cat/0.jpg", "dog/1.jpg", "dog/2.jpg")
    # The first one was converted.
    for name in ("dog/1.heic", *(f"cat/{number}.HEIC" for number in range(3, 9)), "dog/10.cr2", "masks/3.heic"):
        folder.text(name, "x")

    lines = [line for _, line in fault_lines(folder.check().faults) if "left out" in line]

    assert lines == [
        "cat/3.HEIC, cat/4.HEIC, cat/5.HEIC and 3 more: found a .HEIC file, expected JPEG or PNG. It is left out. "
        "Convert it to JPEG.",
        "dog/10.cr2: found a .cr2 file, expected JPEG or PNG. It is left out. Convert it to JPEG.",
    ]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not read AVIF")
def test_avif_photos_are_photos_where_pillow_reads_them(folder):
    folder.photos("cat/1.avif", "dog/2.jpg")

    result = folder.check()

    assert [record.name for record in result.train] == ["cat/1", "dog/2"]
    assert result.errors == ()


@pytest.mark.parametrize("layout", ["voc", "coco", "csv", "class_folders"])
def test_layout_that_is_asked_for_but_absent_is_told(folder, layout):
    folder.text("notes.txt", "x")

    assert f"layout {layout} asks for" in folder.fault("no-layout", layout=layout).expected


def test_two_layouts_at_once_stop_and_the_setting_that_chooses_is_named(pets):
    pets.photo("JPEGImages/0.png", content="other")
    pets.text("Annotations/0.xml", "<annotation/>")

    fault = pets.fault("two-layouts")

    assert (fault.severity, fault.found) == ("error", "VOC folders and tags.csv")
    assert fault.hint == "Choose layout voc or csv."


@pytest.mark.parametrize(
    ("header", "missing", "near"),
    [("imgae,tags", "image", "imgae"), ("image,tag", "tags", "tag"), ("image,split", "tags", None)],
)
def test_missing_column_is_told_with_the_columns_found_and_the_nearest(folder, header, missing, near):
    folder.photos("a.png")
    folder.text("tags.csv", f"{header}\na.png,cat\n")

    fault = folder.fault("missing-column")

    assert (fault.where, fault.severity) == ("tags.csv row 1", "error")
    assert fault.found == f"columns {header.replace(',', ', ')}"
    assert fault.expected == f"a column '{missing}'"
    assert fault.hint == (f"Is it '{near}'? Rename it." if near else "")


@pytest.mark.parametrize(
    ("header", "row", "missing", "meant"),
    [
        ("Foto,tags", "a.png,cat", "image", "Foto"),
        ("file_name,image_id,tags", "a.png,7,cat", "image", "file_name"),
        ("File,Filename,tags", "a,a,cat", "image", "File"),
        ("image,Labels", "a.png,cat", "tags", "Labels"),
    ],
)
def test_column_to_rename_is_known_by_what_is_in_it(folder, header, row, missing, meant):
    folder.photos("a.png")
    folder.text("tags.csv", f"{header}\n{row}\n")

    (fault,) = folder.check().errors

    assert (fault.code, fault.expected) == ("missing-column", f"a column '{missing}'")
    assert fault.hint == f"Is it '{meant}'? Rename it."


@pytest.mark.parametrize("first", ["0.png,cat", "cat,train,0.png"])
def test_table_without_a_header_is_told(pets, first):
    pets.text("tags.csv", f"{first}\n{first.replace('0', '1')}\n")

    (fault,) = pets.check().errors

    assert (fault.where, fault.expected) == ("tags.csv row 1", "the names of the columns")
    assert fault.hint == "Put a row image,tags above it."


def test_tags_written_as_a_list_in_brackets_stop(pets):
    pets.text("tags.csv", """image,tags\n0.png,"['cat', 'dog']"\n1.png,['cat']\n2.png,[dog\n""")

    places = [(fault.where, fault.expected) for fault in pets.check().errors]

    assert places == [(f"tags.csv row {row}", "tags between ;, as in cat;dog") for row in (2, 3)]


def test_class_without_a_column_is_told(pets):
    pets.text("classes.txt", "cat\ndog\n")
    pets.text("tags.csv", "image,cat,dgo\n0.png,1,0\n")

    assert pets.fault("missing-column").expected == "a column 'dog'"


def test_tags_column_that_is_empty_in_all_rows_stops(pets):
    pets.text("tags.csv", "image,tags\n0.png,\n1.png,\n")

    fault = pets.fault("no-tags")

    assert (fault.severity, fault.found) == ("error", "no tag in 2 rows")


@pytest.mark.parametrize("content", ["", "image,tags\n"])
def test_empty_table_stops(pets, content):
    pets.text("tags.csv", content)

    assert pets.fault("empty-table").severity == "error"


def test_table_in_another_encoding_is_told_with_its_row(pets):
    (pets.root / "tags.csv").write_bytes("image,tags\n0.png,cat\n1.png,kätzchen\n".encode("latin-1"))

    fault = pets.fault("encoding")

    assert (fault.where, fault.found) == ("tags.csv row 3", "byte 0xe4, which is not UTF-8")


def test_row_with_too_many_cells_is_told(pets):
    pets.text("tags.csv", "image,tags\n0.png,cat\n1.png,cat,dog\n")

    fault = pets.fault("cells")

    assert (fault.where, fault.found) == ("tags.csv row 3", "3 cells")


def test_quote_that_is_never_closed_is_told(pets):
    pets.text("tags.csv", 'image,tags\n0.png,"cat\n' + "1.png,dog\n" * 20000)

    assert pets.fault("csv").hint == "Is a quote not closed?"


def test_cell_of_a_class_column_must_be_0_or_1(pets):
    pets.text("tags.csv", "image,cat,dog\n0.png,1,0\n1.png,maybe,1\n")

    fault = pets.fault("not-0-or-1")

    assert (fault.where, fault.found) == ("tags.csv row 3", "'maybe' in column 'cat'")


def test_empty_cells_of_class_columns_are_0_with_one_warning(pets):
    pets.text("tags.csv", "image,cat,dog\n0.png,1,\n1.png, ,1\n2.png,,\n")

    result = pets.check()

    (fault,) = (fault for fault in result.faults if fault.code == "empty-cell")
    assert (fault.severity, fault.where) == ("warning", "tags.csv")
    assert (fault.found, fault.hint) == ("4 empty cells in columns of classes", "They are read as 0.")
    assert [record.tags for record in result.train] == [(1,), (2,), ()]
    assert result.errors == ()


def test_row_without_a_photo_stops(pets):
    pets.text("tags.csv", "image,tags\n0.png,cat\nmy photo.png,dog\n")

    fault = pets.fault("row-without-photo")

    assert fault.severity == "error"
    assert (fault.where, fault.found) == ("tags.csv row 3", "'my photo.png'")


NFC = unicodedata.normalize("NFC", "Käfer.png")
NFD = unicodedata.normalize("NFD", "Käfer.png")


@pytest.mark.parametrize(
    ("written", "file", "reason"),
    [
        ("A b.png", "a b.png", "Upper and lower case differ."),
        ("a.jpg", "a.png", "The suffix differs."),
        (NFC, NFD, "They look alike but are two Unicode forms (NFC and NFD) of the same letters."),
        ("A.JPG", "x/a.png", "Case, spaces, suffix or Unicode form differ."),
        ("\uff41 .png", "a.png", "Case, spaces, suffix or Unicode form differ."),
        ("A", "x/a.png", "Upper and lower case differ."),
        ("y/a.png", "x/a.png", "The folder differs."),
        ("y/a", "a.png", "The folder differs."),
        ("y\\a.png", "a.png", "The folder differs."),
        ("y/A.png", "x/a.png", "Upper and lower case differ."),
    ],
)
def test_name_that_differs_a_little_is_suggested(folder, written, file, reason):
    folder.photos(file, "z.png")
    folder.text("tags.csv", f"image,tags\nz.png,cat\n{written},dog\n")

    fault = folder.fault("row-without-photo")

    assert fault.hint == f"Did you mean {file!r}? {reason}"


def test_photo_without_a_row_is_a_warning_that_says_it_is_left_out(pets):
    pets.photo("x/new.png")

    fault = pets.fault("photo-without-row")

    assert (fault.severity, fault.file, fault.hint) == ("warning", "x/new.png", "It is left out.")


def test_row_that_fits_photos_in_two_folders_stops(folder):
    folder.photos("x/a.png", "y/a.png")
    folder.text("tags.csv", "image,tags\na.png,cat\n")

    fault = folder.fault("ambiguous-photo")

    assert (fault.severity, fault.found) == ("error", "'a.png', which fits x/a.png and y/a.png")


def test_two_photos_that_differ_in_suffix_only_stop(pets):
    pets.photo("0.jpg")

    fault = pets.fault("same-name")

    assert (fault.severity, fault.file, fault.found) == ("error", "0.png", "the name of 0.jpg")


@pytest.mark.parametrize("path", ["../other/0.png", "x/../../0.png", "/etc/passwd", "C:\\photos\\0.png"])
def test_path_that_leads_outside_the_data_set_stops(pets, path):
    pets.text("tags.csv", f"image,tags\n1.png,cat\n{path},dog\n")

    fault = pets.fault("outside")

    assert (fault.severity, fault.where, fault.found) == ("error", "tags.csv row 3", repr(path))


def test_second_row_of_a_photo_stops(pets):
    pets.text("tags.csv", "image,tags\n0.png,cat\n1.png,dog\n0.png,dog\n")

    fault = pets.fault("row-twice")

    assert (fault.where, fault.found) == ("tags.csv row 4", "'0.png' again, first in row 2")


def test_tag_that_is_not_in_the_classes_file_stops_with_the_nearest(pets):
    pets.text("classes.txt", "cat\ndog\n")
    pets.text("tags.csv", "image,tags\n0.png,cat\n1.png,dgo\n")

    fault = pets.fault("unknown-class")

    assert (fault.severity, fault.where, fault.hint) == ("error", "tags.csv row 3", "Did you mean 'dog'?")


@pytest.mark.parametrize(("lines", "row"), [("cat\n\ndog\n", 2), ("cat\ndog\ncat\n", 3)])
def test_classes_file_with_a_gap_or_a_repeat_is_told(pets, lines, row):
    pets.text("classes.txt", lines)

    fault = pets.fault("classes")

    assert (fault.severity, fault.where) == ("error", f"classes.txt row {row}")


@pytest.mark.parametrize(("lines", "row"), [("cat\nbackground\ndog\n", 2), ("background\ncat\ndog\nBackground\n", 4)])
def test_background_that_is_not_the_first_line_is_refused_in_one_line(pets, lines, row):
    pets.text("classes.txt", lines)

    (fault,) = pets.check().errors

    assert fault.where == f"classes.txt row {row}"
    assert fault.expected == "it in the first line or nowhere, as it is no class"


def test_split_called_as_that_of_every_photo_is_refused_in_one_line(folder):
    folder.photos("a.png", "b.png", "c.png")
    folder.text("tags.csv", "image,tags,split\na.png,cat,all\nb.png,dog,train\nc.png,,train\n")

    with pytest.raises(ValueError, match=r"^splits: found a split 'all' of 1 of the 3 photos, expected another name"):
        folder.read()


def test_table_may_call_the_split_of_every_photo_all(folder):
    folder.photos("a.png", "b.png")
    folder.text("tags.csv", "image,tags,split\na.png,cat,all\nb.png,dog,all\n")

    splits = folder.read().splits

    assert {name: [record.name for record in records] for name, records in splits.items()} == {
        "train": ["a", "b"],
        "all": ["a", "b"],
    }


@pytest.mark.parametrize("layout", ["csv", "voc"])
def test_photos_whose_row_names_no_split_are_counted_in_a_warning(folder, layout):
    photos, table = {"csv": ("", "tags.csv"), "voc": ("JPEGImages/", "labels.csv")}[layout]
    folder.photos(*(f"{photos}{name}.png" for name in "abcdef"))
    folder.text(table, "image,tags,split\na,cat,train\nb,dog, \nc,,val\nd,cat,\ne,cat,\nf,dog,\n")

    fault = folder.fault("no-split")

    assert (fault.severity, fault.where, fault.expected) == ("warning", "splits", "each photo in one")
    assert fault.found == "4 of the 6 photos in none (b, d, e, ...)"


def test_table_without_splits_lacks_none(pets):
    assert "no-split" not in {fault.code for fault in pets.check().faults}


def test_unknown_split_of_the_settings_is_told(pets):
    fault = pets.fault("unknown-split", train_split="trian")

    assert fault.hint == "Did you mean 'train'?"


def test_more_classes_than_ids_stop(folder):
    folder.photos("a.png")
    folder.text("tags.csv", "image,tags\na.png," + ";".join(f"c{index}" for index in range(255)))

    assert folder.fault("too-many-classes").found == "255 classes"


def test_no_folder_is_told_in_a_line(folder):
    folder.root.rmdir()

    assert folder.fault("no-folder").severity == "error"
