import pytest

from tag2mask.config import DataSettings
from tag2mask.data.classes import VOC_CLASS_NAMES
from tag2mask.data.faults import DataError
from tag2mask.data.read import read_data_set

BOXES = "<annotation><object><name>{}</name><part><name>head</name></part></object></annotation>"


@pytest.fixture
def devkit(folder):
    """Three photos as PASCAL VOC has them: two in Segmentation's lists, the third added by the SBD masks."""
    for name, tag in (("2007_1", "cat"), ("2007_2", "dog"), ("2008_3", "person")):
        folder.photo(f"JPEGImages/{name}.jpg")
        folder.text(f"Annotations/{name}.xml", BOXES.format(tag))
    folder.mask("SegmentationClass/2007_1.png", [0, 8, 255])
    folder.mask("SegmentationClass/2007_2.png", [0, 12])
    for name, value in (("2007_1", 8), ("2008_3", 15)):
        folder.mask(f"SegmentationClassAug/{name}.png", [0, value])
    folder.text("ImageSets/Segmentation/train.txt", "2007_1\n")
    folder.text("ImageSets/Segmentation/val.txt", "2007_2\n")
    folder.text("ImageSets/Segmentation/train_aug.txt", "2007_1\n2008_3\n")
    folder.text("ImageSets/Main/train.txt", "2007_1\n2008_3\n")
    folder.text("ImageSets/Main/cat_train.txt", "2007_1  1\n2008_3 -1\n")
    return folder


def test_boxes_give_tags_by_voc_class_names_and_parts_do_not_count(devkit):
    data_set = devkit.read()

    assert data_set.class_names == VOC_CLASS_NAMES
    assert {record.name: record.tags for record in data_set.splits["all"]} == {
        "2007_1": (8,),
        "2007_2": (12,),
        "2008_3": (15,),
    }


def test_lists_of_main_stand_beside_those_of_segmentation_and_class_lists_are_no_splits(devkit):
    splits = {name: [record.name for record in records] for name, records in devkit.read().splits.items()}

    assert splits["train"] == ["2007_1"]
    assert splits["Main/train"] == ["2007_1", "2008_3"]
    assert set(splits) == {"train", "val", "train_aug", "Main/train", "all"}


def test_sbd_masks_are_used_only_where_voc_has_none(devkit):
    first, second = devkit.read().splits["train_aug"]

    assert first.label_map == devkit.root / "SegmentationClass/2007_1.png"
    assert second.label_map == devkit.root / "SegmentationClassAug/2008_3.png"


def test_list_of_pairs_says_which_label_map(devkit):
    pair = "/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\n"
    path = devkit.text("pairs.txt", pair)

    data_set = devkit.read(train_split=str(path))

    (record,) = data_set.split(str(path))
    assert record.label_map == devkit.root / "SegmentationClassAug/2007_1.png"


@pytest.mark.parametrize("setting", ["train_split", "seed_split", "label_split", "val_split"])
def test_list_is_read_in_the_same_way_whatever_split_it_is(devkit, setting):
    devkit.photo("JPEGImages/2009_4.jpg")
    devkit.text("Annotations/2009_4.xml", BOXES.format("dog"))
    # The third photo is in no other list.
    lines = "/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\n2007_2\n2009_4\n"
    path = str(devkit.text("lists/some.txt", lines))

    records = devkit.read(**{setting: path}).split(path)

    assert [(record.name, record.tags, record.label_map) for record in records] == [
        ("2007_1", (8,), devkit.root / "SegmentationClassAug/2007_1.png"),
        ("2007_2", (12,), devkit.root / "SegmentationClass/2007_2.png"),
        ("2009_4", (12,), None),
    ]


def test_verdicts_on_a_class_are_no_split(devkit):
    with pytest.raises(DataError) as error:
        devkit.read(train_split="ImageSets/Main/cat_train.txt")

    assert str(error.value) == ("ImageSets/Main/cat_train.txt: found a list of one class, expected a list of photos")


def test_photos_whose_names_look_like_verdicts_are_a_split(devkit):
    devkit.photo("JPEGImages/cat 1.jpg")
    devkit.text("Annotations/cat 1.xml", BOXES.format("cat"))
    path = str(devkit.text("some.txt", "cat 1\n"))

    assert [record.name for record in devkit.read(train_split=path).split(path)] == ["cat 1"]


@pytest.mark.parametrize("folder_of_list", ["Segmentation", "Main"])
def test_list_called_all_may_name_every_photo(devkit, folder_of_list):
    expected = devkit.read().splits
    devkit.text(f"ImageSets/{folder_of_list}/all.txt", "2008_3\n2007_1\n2007_2\n")

    assert devkit.read().splits == expected


def test_list_of_all_photos_says_which_label_maps(devkit):
    pair = "/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png"
    devkit.text("ImageSets/Segmentation/all.txt", f"{pair}\n2007_2\n2008_3\n")

    data_set = devkit.read()

    assert data_set.splits["all"][0].label_map == devkit.root / "SegmentationClassAug/2007_1.png"
    assert data_set.splits["train"][0].label_map == devkit.root / "SegmentationClass/2007_1.png"


def test_photos_of_a_list_called_all_are_to_train_where_there_is_no_other(folder):
    folder.photos("JPEGImages/a.jpg", "JPEGImages/b.jpg")
    for name in ("a", "b"):
        folder.text(f"Annotations/{name}.xml", BOXES.format("cat"))
    folder.text("ImageSets/Segmentation/all.txt", "b\na\n")

    assert [record.name for record in folder.read().split("train")] == ["a", "b"]


@pytest.mark.parametrize("folder_of_list", ["Segmentation", "Main"])
def test_list_called_all_that_names_some_photos_is_refused_with_its_file(devkit, folder_of_list):
    devkit.text(f"ImageSets/{folder_of_list}/all.txt", "2007_1\n")

    with pytest.raises(DataError) as error:
        devkit.read()

    assert str(error.value) == (
        f"ImageSets/{folder_of_list}/all.txt: found a split 'all' of 1 of the 3 photos, "
        "expected another name, as all means every photo"
    )


def test_tags_may_come_from_the_masks(devkit):
    data_set = devkit.read(tag_source="masks")

    assert [record.tags for record in data_set.splits["all"]] == [(8,), (12,), (15,)]


def test_table_comes_before_boxes_and_its_columns_are_the_classes(devkit):
    devkit.text("labels.csv", "image_id,split,cat,dog\n2007_1,extra,1,0\n2007_2,extra,0,1\n2008_3,extra,1,1\n")

    data_set = devkit.read()

    assert data_set.class_names == ("cat", "dog")
    assert [record.tags for record in data_set.splits["extra"]] == [(1,), (2,), (1, 2)]
    assert [record.name for record in data_set.splits["train"]] == ["2007_1"]


def test_photos_without_lists_are_all_used(folder):
    folder.photos("JPEGImages/a.jpg", "JPEGImages/b.jpg")
    folder.text("Annotations/a.xml", BOXES.format("cat"))
    folder.text("Annotations/b.xml", BOXES.format("dog"))

    assert [record.name for record in folder.read().split("train")] == ["a", "b"]


def test_listed_photo_whose_tags_are_unknown_is_left_out_and_told(devkit):
    (devkit.root / "Annotations/2008_3.xml").unlink()

    fault = devkit.fault("photo-without-row")

    assert fault.severity == "warning"
    assert fault.file == "JPEGImages/2008_3.jpg"
    assert "left out" in fault.hint
    assert [record.name for record in devkit.read().splits["train_aug"]] == ["2007_1"]


def test_listed_photo_that_is_missing_stops_with_list_and_row(devkit):
    devkit.text("ImageSets/Segmentation/train.txt", "2007_1\n2007_9\n")

    with pytest.raises(DataError, match=r"^ImageSets/Segmentation/train.txt row 2: found '2007_9'"):
        devkit.read()


def test_listed_label_map_that_is_missing_stops(devkit):
    devkit.text("ImageSets/Segmentation/train.txt", "/JPEGImages/2007_1.jpg /SegmentationClassAug/none.png\n")

    with pytest.raises(DataError, match=r"train.txt row 1: found /SegmentationClassAug/none.png, expected a label map"):
        devkit.read()


def test_broken_annotation_stops_with_its_line(devkit):
    devkit.text("Annotations/2007_1.xml", "<annotation>\n<object>")

    with pytest.raises(DataError, match=r"^Annotations/2007_1.xml row 2: found "):
        devkit.read()


def test_objects_of_other_classes_are_counted_and_left_out(devkit):
    devkit.text("classes.txt", "background\ncat\nDog\n")

    faults = {fault.found: fault for fault in devkit.check().faults if fault.code == "unknown-class"}

    assert faults["objects 'dog' in 1 photos"].hint == "They are left out. Did you mean 'Dog'?"
    assert faults["objects 'person' in 1 photos"].severity == "warning"


def test_real_animals_are_understood_without_a_fault(animals):
    data_set = read_data_set(DataSettings(root=animals))

    sizes = {name: len(records) for name, records in data_set.splits.items()}
    assert sizes == {"train": 3131, "train_bal": 1059, "train_official": 437, "val": 445, "all": 3576}
    assert data_set.class_names == ("cat", "cow", "dog", "horse", "person", "sheep")
    assert data_set.faults == ()
    assert data_set.splits["all"][0].tags == (3,)
