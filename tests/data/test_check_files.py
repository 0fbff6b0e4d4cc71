"""Faults of photos and label maps, each on a data set that has it."""

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from tag2mask.data.check_report import fault_lines, write_faults

GREY = Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40))


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty-file"), (b"this is text", "not-an-image"), (b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged")],
)
def test_file_that_is_no_photo_stops(pets, content, code):
    (pets.root / "3.png").write_bytes(content)

    fault = pets.fault(code)

    assert (fault.severity, fault.file) == ("error", "3.png")


def test_truncated_photo_stops(pets):
    path = pets.image("3.png", Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    path.write_bytes(path.read_bytes()[:2000])

    fault = pets.fault("damaged")

    assert (fault.severity, fault.file) == ("error", "3.png")


def test_photo_over_the_pixel_limit_stops(pets, monkeypatch):
    pets.photo("3.png", size=(50, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)

    fault = pets.fault("too-large")

    assert (fault.severity, fault.file, fault.found) == ("error", "3.png", "50 x 50 pixels")


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (GREY, "grey"),
        (Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)), "16-bit grey"),
        (GREY.convert("1"), "black and white"),
    ],
)
def test_photo_of_another_mode_is_a_warning_that_says_how_it_is_read(pets, image, found):
    pets.image("3.png", image)

    fault = pets.fault("mode")

    assert (fault.severity, fault.file, fault.found) == ("warning", "3.png", found)
    assert "read three times" in fault.hint


def test_cmyk_photo_is_a_warning(folder):
    folder.image("cat/1.jpg", Image.new("CMYK", (40, 40), (9, 99, 0, 0)))
    folder.photo("dog/2.jpg")

    assert folder.fault("mode").found == "CMYK"


def test_transparent_photo_is_a_warning(pets):
    pets.image("3.png", Image.new("RGBA", (40, 40), (1, 2, 3, 4)))

    fault = pets.fault("alpha")

    assert (fault.severity, fault.hint) == ("warning", "It is laid on white.")


def test_animated_photo_is_a_warning(folder):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    folder.image("cat/1.gif", frames[0], save_all=True, append_images=frames[1:])
    folder.photo("dog/2.jpg")

    fault = folder.fault("animated")

    assert (fault.severity, fault.file) == ("warning", "cat/1.gif")


def test_photo_that_is_cut_off_behind_its_first_frame_is_a_warning(folder):
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    path = folder.image("cat/1.tif", frames[0], save_all=True, append_images=frames[1:])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    folder.photo("dog/2.jpg")

    assert folder.fault("animated").file == "cat/1.tif"


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_turned_photo_is_a_warning_and_its_size_is_the_upright_one(pets, kind):
    pets.image("3.png", Image.new("RGB", (40, 50), "red"), format=kind, exif=turned())
    pets.mask("masks/3.png", [0, 2], size=(50, 40))

    result = pets.check()

    assert [fault.file for fault in result.faults if fault.code == "turned"] == ["3.png"]
    assert result.errors == ()


def test_mask_of_the_photo_before_its_turn_stops_with_a_hint(pets):
    pets.image("3.png", Image.new("RGB", (40, 50), "red"), exif=turned())
    pets.mask("masks/3.png", [0, 2], size=(40, 50))

    fault = pets.fault("mask-size")

    assert (fault.found, fault.expected) == ("40x50 pixels", "50x40 as its photo")
    assert "before its EXIF turn" in fault.hint
    pets.mask("masks/3.png", [0, 2], size=(20, 50))
    assert pets.fault("mask-size").hint == ""


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system has no such names")
def test_photo_whose_name_is_not_utf_8_stops_and_is_named_readably(folder):
    folder.photos("cat/caf\udce9.png", "cat/café.png", "dog/1.png")

    faults = folder.check().errors

    assert [fault.line for fault in faults] == [
        r"cat/caf\xe9.png: found a name that is not UTF-8, expected UTF-8. Rename it."
    ]


def test_photo_whose_results_would_have_too_long_a_name_stops(folder):
    folder.photos(f"cat/{'é' * 120}.png", f"cat/{'é' * 120}a.png", "dog/1.png")

    faults = folder.check().errors

    assert [fault.found for fault in faults] == ["a name of 241 bytes"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system has no such names")
def test_faults_of_files_whose_names_are_not_utf_8_are_written(pets, tmp_path):
    # One has no row, the other is a copy of it.
    pets.photo("caf\udce9.png", content="5.png")
    pets.photo("caf\udce9/6.png", content="5.png")
    pets.text("tags.csv", (pets.root / "tags.csv").read_text(encoding="utf-8") + "6.png,\n")

    faults = pets.check().faults
    write_faults(tmp_path / "faults.csv", faults)

    with (tmp_path / "faults.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["code"], row["file"]) for row in csv.DictReader(file)]
    assert rows == [(fault.code, fault.file) for fault in faults]
    assert {("photo-without-row", r"caf\xe9.png"), ("photo-name", r"caf\xe9/6.png"), ("copy", r"caf\xe9/6.png")} <= {
        *rows
    }


def test_tiny_photo_is_a_warning(pets):
    pets.photo("3.png", size=(100, 31))

    fault = pets.fault("small-photo")

    assert (fault.severity, fault.found) == ("warning", "100x31 pixels")
    pets.photo("3.png", size=(100, 32))
    assert "small-photo" not in {fault.code for fault in pets.check().faults}


def test_exact_copy_with_the_same_tags_is_a_warning(pets):
    pets.photo("0.png", content="same")
    pets.photo("1.png", content="same")

    fault = pets.fault("copy")

    assert (fault.severity, fault.file, fault.found) == ("warning", "1.png", "an exact copy of 0.png")


def test_exact_copy_with_other_tags_stops(pets):
    pets.photo("0.png", content="same")
    pets.photo("4.png", content="same")

    fault = pets.fault("copy-other-tags")

    assert fault.severity == "error"
    assert fault.found == "an exact copy of 0.png with other tags (cat and cat, dog)"
    assert fault.hint == "Keep one with the tags of all that it shows: in a tags.csv a photo may have several."


def test_exact_copy_across_splits_stops(folder):
    folder.photos("train/cat/1.png", "train/dog/2.png", "val/dog/3.png")
    folder.photo("val/cat/4.png", content="train/cat/1.png")

    fault = folder.fault("copy-other-split")

    assert (fault.severity, fault.file) == ("error", "val/cat/4.png")
    assert fault.found == "an exact copy of train/cat/1.png across splits (train and val)"


def test_exact_copy_in_a_split_that_both_are_in_is_a_warning(pets):
    pets.photo("0.png", content="same")
    pets.photo("1.png", content="same")
    pets.text("few.txt", "0\n2\n")
    pets.text("more.txt", "0\n1\n2\n")

    found = [
        (fault.severity, fault.code)
        for fault in pets.check(train_split="more.txt", seed_split="few.txt").faults
        if fault.code.startswith("copy")
    ]

    assert found == [("warning", "copy")]


def test_mask_of_another_size_stops(pets):
    pets.mask("masks/3.png", [0, 2], size=(20, 36))

    fault = pets.fault("mask-size")

    assert (fault.severity, fault.file) == ("error", "masks/3.png")
    assert (fault.found, fault.expected) == ("20x36 pixels", "40x36 as its photo")


def test_mask_value_outside_the_classes_stops(pets):
    pets.mask("masks/3.png", [0, 2, 3, 77, 255])

    fault = pets.fault("mask-value")

    assert (fault.severity, fault.found, fault.expected) == ("error", "value 3, 77", "0 to 2, or 255")


def test_masks_of_0_and_255_only_look_binary_and_stop(pets):
    for name in "013":
        pets.mask(f"masks/{name}.png", [0, 255])

    fault = pets.fault("binary-mask")

    assert (fault.severity, fault.file) == ("error", "masks/0.png")
    assert "write 1 (cat)" in fault.hint


def test_binary_masks_of_photos_without_tags_name_no_class(folder):
    folder.photos("0.png")
    folder.mask("masks/0.png", [0, 255])
    folder.text("tags.csv", "image,tags\n0.png,\n")

    fault = folder.fault("binary-mask")

    assert fault.hint == "It looks binary: write a class's id in place of 255."


def test_mask_coded_by_colours_stops_and_shows_the_colours(pets):
    pets.image("masks/3.png", Image.new("RGB", (40, 36), (128, 0, 0)))

    fault = pets.fault("rgb-mask")

    assert (fault.severity, fault.file) == ("error", "masks/3.png")
    assert "#800000" in fault.found


def test_masks_of_the_same_colours_share_a_line_that_says_what_to_write(pets):
    for name, share in (("0", 10), ("1", 30)):
        image = Image.new("RGB", (40, 36), (128, 0, 0))
        image.paste((0, 0, 0), (0, 0, share, 36))
        pets.image(f"masks/{name}.png", image)

    (line,) = (line for _, line in fault_lines(pets.check().errors))

    assert line == (
        "masks/0.png, masks/1.png: found RGB pixels with the colours #000000 #800000, "
        "expected one channel of class ids. Write ids instead, as a palette or grey PNG: "
        "0 background, 1 the first class, 2 the second, and so on."
    )


@pytest.mark.parametrize(
    ("ids", "found", "expected"),
    [("2211", "dog as 1, cat as 2", "dog as 2, cat as 1"), ("2233", "cat as 2, dog as 3", "cat as 1, dog as 2")],
)
def test_ids_that_stand_for_other_classes_than_theirs_are_a_warning(pets, ids, found, expected):
    for name, value in zip("0123", ids, strict=True):
        pets.mask(f"masks/{name}.png", [0, int(value)])

    fault = pets.fault("exchanged-ids")

    assert (fault.severity, fault.file, fault.found, fault.expected) == ("warning", "masks", found, expected)


@pytest.mark.parametrize("ids", ["1122", "2222", "1221", "212", "2111"])
def test_ids_that_are_only_now_and_then_of_other_classes_are_not_said_to_be_exchanged(pets, ids):
    for name, value in zip("0123", ids, strict=False):
        pets.mask(f"masks/{name}.png", [0, int(value)])

    assert "exchanged-ids" not in {fault.code for fault in pets.check().faults}


def test_mask_and_tags_that_disagree_are_warnings(pets):
    pets.mask("masks/0.png", [0, 1, 2])
    pets.mask("masks/4.png", [0, 2])

    result = pets.check()

    found = {(fault.code, fault.severity, fault.file, fault.found) for fault in result.faults if "mask" in fault.code}
    assert found == {
        ("mask-not-tag", "warning", "masks/0.png", "dog in the mask, not in the tags"),
        ("tag-not-mask", "warning", "masks/4.png", "cat in the tags, not in the mask"),
    }


def test_mask_of_background_only_is_a_warning_where_the_photo_has_tags(pets):
    pets.mask("masks/3.png", [0])
    pets.mask("masks/5.png", [0])

    empty = [fault for fault in pets.check().faults if fault.code == "empty-mask"]

    assert [(fault.severity, fault.file) for fault in empty] == [("warning", "masks/3.png")]


@pytest.mark.parametrize("name", ["3.jpg", "x/3.tif", "3.npy", "3.mat", "other.bmp"])
def test_mask_of_another_kind_than_png_is_a_warning_that_says_so(pets, name):
    if name.startswith("x/"):
        pets.photo("x/3.png", content="x")
    pets.text(f"masks/{name}", "x")
    # What lies beside a mask, and what is none.
    pets.mask("masks/1.png", [0, 1])
    for other in ("1.json", "1.npy", "1.jpg", "2.json", "2", "notes.txt"):
        pets.text(f"masks/{other}", "x")

    (fault,) = [fault for fault in pets.check().faults if fault.file.startswith("masks/")]

    assert (fault.severity, fault.file) == ("warning", f"masks/{name}")
    assert (fault.found, fault.expected) == (f"a {name[-4:]} file", "PNG")
    assert fault.hint == "It is left out. Save class ids as PNG; JPEG changes them."


def test_mask_that_fits_no_photo_is_a_warning_with_a_suggestion(pets):
    pets.photo("Big.png")
    pets.mask("masks/big.png", [0, 1])

    fault = pets.fault("mask-without-photo")

    assert (fault.severity, fault.file) == ("warning", "masks/big.png")
    assert "Did you mean 'Big.png'?" in fault.hint
