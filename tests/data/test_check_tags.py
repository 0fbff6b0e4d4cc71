"""Faults of tags and splits, each on a data set that has it."""

import unicodedata

import pytest

from tag2mask.config import DataSettings
from tag2mask.data.check import check_data_set, check_used_splits
from tag2mask.data.check_tags import check_classes, check_overlap, check_tags, check_unlearned, count_tags
from tag2mask.data.faults import FaultLog
from tag2mask.data.read import read_data_set

NFC, NFD = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))


def write(folder, rows, split=None):
    """Photos 0.png, 1.png, ... with these tags."""
    folder.photos(*(f"{index}.png" for index in range(len(rows))))
    splits = split or ["train"] * len(rows)
    lines = [f"{index}.png,{tags},{splits[index]}" for index, tags in enumerate(rows)]
    folder.text("tags.csv", "\n".join(["image,tags,split", *lines]))
    return folder


def codes(folder) -> dict[str, str]:
    return {fault.code: fault.severity for fault in folder.check().faults}


def test_class_under_twenty_photos_is_a_warning_and_at_twenty_is_none(folder):
    write(folder, ["cat"] * 20 + ["dog"] * 19 + ["cow", ""])

    rare = [(fault.severity, fault.file, fault.found) for fault in folder.check().faults if fault.code == "rare-class"]

    assert rare == [("warning", "cow", "1 photo"), ("warning", "dog", "19 photos")]


def test_class_of_no_photo_is_a_warning_of_its_own(folder):
    write(folder, ["cat"] * 20 + ["dog", ""])
    folder.text("classes.txt", "cat\nunicorn\ndog")

    fault = folder.fault("unseen-class")

    assert (fault.severity, fault.file, fault.hint) == ("warning", "unicorn", "It cannot be learned.")


def test_class_in_every_photo_stops(folder):
    fault = write(folder, ["cat", "cat;dog", "cat"]).fault("everywhere")

    assert (fault.severity, fault.file) == ("error", "cat")
    assert (fault.found, fault.expected) == ("it in all 3 photos", "some without it")


def test_single_class_without_negatives_stops_and_with_one_does_not(folder):
    assert write(folder, ["cat", "cat"]).fault("no-negatives").severity == "error"

    assert "no-negatives" not in codes(write(folder, ["cat", "cat", ""]))


def test_two_classes_that_are_never_apart_are_named(folder):
    fault = write(folder, ["cat;dog", "cat;dog", "cow"]).fault("never-apart")

    assert (fault.severity, fault.file) == ("warning", "cat and dog")
    assert "never-apart" not in codes(write(folder, ["cat;dog", "cat;dog", "dog"]))


def test_class_that_is_seldom_alone_is_told_with_what_stands_beside_it(folder):
    rows = ["horse;rider"] * 15 + ["dog;rider"] * 6 + ["horse"] * 9 + ["dog"] * 9

    fault = write(folder, rows).fault("seldom-alone")

    assert (fault.severity, fault.file) == ("warning", "rider")
    assert (fault.found, fault.expected) == ("it alone in 0 of 21 photos", "at least 5% of them")
    assert "(horse 71%, dog 29%)" in fault.hint


def test_class_that_is_alone_in_a_twentieth_of_its_photos_is_no_warning(folder):
    write(folder, ["cat;dog"] * 19 + ["cat"] + ["dog"] * 9)

    assert "seldom-alone" not in codes(folder)


def test_classes_that_are_never_apart_are_not_called_seldom_alone_too(folder):
    write(folder, ["cat;dog"] * 20 + ["cow"])

    assert {"never-apart", "seldom-alone"} & codes(folder).keys() == {"never-apart"}


def test_photo_with_all_classes_is_a_warning(folder):
    fault = write(folder, ["cat;cow;dog", "cat", "dog"]).fault("all-classes")

    assert (fault.severity, fault.file) == ("warning", "0")


def test_no_photo_without_a_tag_is_a_warning(folder):
    fault = write(folder, ["cat", "dog"]).fault("no-untagged")

    assert fault.severity == "warning"
    assert fault.hint.endswith("Some empty scenes help: an empty tags cell, or a folder called background.")
    assert "no-untagged" not in codes(write(folder, ["cat", "dog", ""]))


@pytest.mark.parametrize("slip", ["Dog", "dgo"])
def test_class_whose_name_is_like_another_is_a_warning_with_the_other(folder, slip):
    fault = write(folder, ["dog"] * 10 + ["cat"] * 10 + [slip]).fault("like-name")

    assert (fault.severity, fault.file, fault.hint) == ("warning", slip, "Did you mean 'dog'?")


@pytest.mark.parametrize(
    ("one", "other", "hint"),
    [
        (NFC, NFD, "They look alike but are two Unicode forms (NFC and NFD) of the same letters."),
        ("cat", "\uff43\uff41\uff54", ""),
    ],
)
def test_classes_that_differ_in_their_unicode_form_are_a_warning(folder, one, other, hint):
    fault = write(folder, [one, one, other, "dog"]).fault("like-name")

    assert (fault.severity, fault.file, fault.hint) == ("warning", other, f"Did you mean {one!r}? {hint}".rstrip())


def test_split_whose_name_has_the_letters_of_a_usual_one_is_a_warning(folder):
    # No slips: years, lists with names of their own, and letters of a usual name that is absent.
    others = ["train2012", "train2021", "rain", "text", "trainval", "extra", "small_train", "vla"]
    splits = ["train", "train", "trian", "Train", "test", *others]

    faults = write(folder, ["cat"] * len(splits), splits).check().faults

    assert [(fault.severity, fault.file, fault.hint) for fault in faults if fault.code == "like-split"] == [
        ("warning", "trian", "Did you mean 'train'?"),
        ("warning", "Train", "Did you mean 'train'?"),
    ]


def test_classes_of_like_names_and_like_size_are_fine(folder):
    assert "like-name" not in codes(write(folder, ["cat"] * 5 + ["car"] * 5))


@pytest.mark.parametrize("joined", ["dog|cat", "dog / cat", "dog+cat"])
def test_class_whose_name_is_several_others_is_a_warning_with_the_separator(folder, joined):
    fault = write(folder, ["dog", "cat", "cow", joined, joined, "cow/dogs"]).fault("joined-tags")

    assert (fault.severity, fault.file, fault.found) == ("warning", joined, "one class in 2 rows")
    assert (fault.expected, fault.hint) == ("the classes dog and cat", "Separate tags by ;.")
    assert [fault.file for fault in folder.check().faults if fault.code == "joined-tags"] == [joined]


@pytest.mark.parametrize("name", ["none", "Empty", "negative", "other"])
def test_class_that_says_that_there_is_none_is_a_warning(folder, name):
    fault = write(folder, ["cat", "dog", name]).fault("no-class")

    assert (fault.severity, fault.file, fault.found) == ("warning", name, "it as a class of 1 photo")
    assert fault.hint == "Photos that show no class have an empty tags cell, or a folder called background."


def test_folder_that_says_that_there_is_no_class_is_a_warning_and_one_called_background_is_not(folder):
    folder.photos("cat/1.png", "dog/2.png", "background/3.png", "another/4.png")
    assert "no-class" not in codes(folder)

    folder.photos("none/5.png")
    assert folder.fault("no-class").file == "none"


def test_space_behind_a_tag_is_a_warning_and_the_class_is_the_same(folder):
    write(folder, ["dog", "dog ", "cat"])

    fault = folder.fault("tag-space")

    assert (fault.severity, fault.where, fault.found) == ("warning", "tags.csv row 3", "'dog '")
    assert folder.read().class_names == ("cat", "dog")


def test_class_in_val_but_not_in_train_stops(folder):
    fault = write(folder, ["cat", "dog", "cow"], ["train", "train", "val"]).fault("val-only")

    assert (fault.severity, fault.file, fault.found) == ("error", "cow", "photos in val only")


def test_every_class_that_is_not_in_train_is_named(folder):
    write(folder, ["cat", "dog", "cow", "sheep"], ["train", "train", "val", "val"])

    assert [fault.file for fault in folder.check().faults if fault.code == "val-only"] == ["cow", "sheep"]


def test_photo_in_train_and_val_is_a_warning(folder):
    folder.photos("JPEGImages/a.jpg", "JPEGImages/b.jpg")
    folder.text("labels.csv", "image_id,cat,dog\na,1,0\nb,0,1\n")
    folder.text("ImageSets/Segmentation/train.txt", "a\nb\n")
    folder.text("ImageSets/Segmentation/val.txt", "b\n")

    fault = folder.fault("split-overlap")

    assert (fault.severity, fault.found) == ("warning", "1 photo in both (b)")


def write_lists(folder, **lists):
    """Photos with tags in a table, and lists of them by name."""
    folder.photos(*(f"{name}.png" for name in "abcdef"))
    folder.text("tags.csv", "image,tags\na,cat\nb,cat\nc,dog\nd,dog\ne,cow\nf,cow\n")
    for name, photos in lists.items():
        folder.text(f"{name}.txt", "\n".join(photos))
    return folder


@pytest.mark.parametrize(
    ("splits", "where"),
    [
        ({"train_split": "most.txt", "val_split": "some.txt"}, "most.txt and some.txt"),
        ({"train_split": "all", "val_split": "all"}, "all and all"),
        ({"train_split": "most.txt", "label_split": "all", "val_split": "rest.txt"}, "all and rest.txt"),
    ],
)
def test_photo_that_is_learned_and_measured_is_a_warning_whatever_the_splits_are_called(folder, splits, where):
    write_lists(folder, most="abcef", some="fd", rest="d")
    settings = folder.settings(seed_split="all", **splits)

    for result in (check_data_set(settings), check_used_splits(settings, {})):
        assert [fault.file for fault in result.faults if fault.code == "split-overlap"] == [where]


def test_seeds_of_photos_that_were_learned_are_no_fault(folder):
    write(folder, ["cat", "dog"])

    assert "split-overlap" not in codes(folder)


def test_class_that_is_used_but_not_learned_stops_whatever_the_splits_are_called(folder):
    write_lists(folder, one="abcd", other="abcdef", third="af")

    settings = folder.settings(train_split="one.txt", seed_split="other.txt", val_split="third.txt")
    faults = [fault for fault in check_used_splits(settings, {}).faults if fault.code == "val-only"]

    assert [(fault.severity, fault.file, fault.found, fault.expected) for fault in faults] == [
        ("error", "cow", "photos in other.txt and third.txt only", "photos in one.txt too")
    ]


@pytest.mark.parametrize("val_split", ["val", None])
def test_split_that_a_run_does_not_use_is_not_judged(folder, val_split):
    write(folder, ["cat", "dog", "cat", "cow"], ["train", "train", "val", "test"])

    result = check_used_splits(folder.settings(val_split=val_split), {})

    assert result.errors == ()


def test_tags_of_the_real_animals_are_fit_to_train_on(animals):
    data_set, log = read_data_set(DataSettings(root=animals)), FaultLog()
    train = data_set.split("train")

    check_classes(data_set, log)
    check_tags(data_set, train, log)
    check_unlearned(data_set, "train", {name: data_set.split(name) for name in ("train", "val")}, log)
    check_overlap({"train": train}, {"val": data_set.split("val")}, log)

    assert {(fault.severity, fault.code, fault.file) for fault in log.faults} == {
        ("warning", "seldom-alone", "person"),
        ("warning", "no-untagged", "tags"),
    }
    counts = {"dog": 1177, "cat": 1000, "person": 588, "horse": 444, "sheep": 299, "cow": 262}
    assert count_tags(data_set, train) == counts
