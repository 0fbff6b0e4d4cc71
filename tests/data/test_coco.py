"""COCO's folders on a data set of a few photos of 6 by 4 pixels or a little more, whose outlines are rectangles."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tag2mask.config import DataSettings
from tag2mask.data.check import check_data_set
from tag2mask.data.check_report import render
from tag2mask.data.drawn_masks import DrawnMask
from tag2mask.data.faults import DataError, Fault
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.read import read_data_set
from tag2mask.data.records import DataSet

WIDTH, HEIGHT = 6, 4


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    """The corners of the pixels from left and top up to right and bottom."""
    return [left, top, right, top, right, bottom, left, bottom]


def pixels(*rows: str) -> np.ndarray:
    return np.array([[int(value) for value in row] for row in rows], np.uint8)


@dataclass
class Coco:
    """A folder with photos and annotations, which `write` puts down as they then are."""

    root: Path
    content: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)

    def photo(self, image_id: int, split: str = "train2014") -> None:
        name = f"COCO_{split}_{image_id:012}.jpg"
        path = self.root / split / name
        path.parent.mkdir(exist_ok=True)
        generator = np.random.default_rng(image_id)
        Image.fromarray(generator.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
        image = {"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH, "license": 1}
        self._of(split)["images"].append(image)

    def annotate(self, image_id: int, category_id: int, segmentation: Any, split: str = "train2014", crowd: int = 0):
        annotation = {"image_id": image_id, "category_id": category_id, "segmentation": segmentation, "iscrowd": crowd}
        self._of(split)["annotations"].append(annotation)

    def write(self) -> None:
        (self.root / "annotations").mkdir(exist_ok=True)
        for split, content in self.content.items():
            (self.root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))

    def read(self) -> DataSet:
        self.write()
        return read_data_set(DataSettings(root=self.root))

    def mask(self, image_id: int, split: str = "train2014") -> np.ndarray:
        records = {record.name: record for record in self.read().splits["all"]}
        label_map = records[f"{split}/COCO_{split}_{image_id:012}"].label_map
        assert label_map is not None
        return open_label_map(label_map)

    def faults(self) -> list[Fault]:
        self.write()
        settings = DataSettings(root=self.root, train_split="train2014", seed_split="train2014")
        return list(check_data_set(settings).faults)

    def fault(self, code: str) -> Fault:
        return next(fault for fault in self.faults() if fault.code == code)

    def _of(self, split: str) -> dict[str, list[dict[str, Any]]]:
        # Not in the order of their ids, which alone counts.
        categories = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}]
        return self.content.setdefault(split, {"images": [], "annotations": [], "categories": categories})


@pytest.fixture
def coco(tmp_path) -> Coco:
    """Training photos 9 (both classes), 25 (a person) and 30 (nothing), and photo 42 of a person for validation."""
    folder = Coco(tmp_path / "coco")
    folder.root.mkdir()
    for image_id in (30, 9, 25):
        folder.photo(image_id)
    folder.annotate(9, 1, [box(0, 0, 3, 2)])
    folder.annotate(25, 1, [box(1, 1, 2, 3)])
    folder.annotate(9, 90, [box(2, 1, 5, 4)])
    folder.photo(42, "val2014")
    folder.annotate(42, 1, [box(0, 0, 6, 4)], "val2014")
    return folder


def test_categories_become_classes_in_the_order_of_their_ids_and_annotations_become_tags(coco):
    data_set = coco.read()

    assert data_set.class_names == ("person", "toothbrush")
    assert [(record.name[-2:], record.tags) for record in data_set.splits["train2014"]] == [
        ("09", (1, 2)),
        ("25", (1,)),
        ("30", ()),
    ]
    assert data_set.faults == ()


def test_folder_is_checked_without_naming_its_splits(coco, tag2mask):
    coco.write()

    outcome = tag2mask("check", coco.root)

    assert "'train'" not in outcome.out
    assert "(train2014)" in outcome.out


def test_both_conventions_of_lists_are_splits(coco):
    sizes = {name: len(records) for name, records in coco.read().splits.items()}

    assert sizes == {"train2014": 3, "train2014_nonempty": 2, "val2014": 1, "val2014_nonempty": 1, "all": 4}


def test_list_of_the_field_names_photos_without_folder(coco, tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("COCO_train2014_000000000025\n")

    assert [record.tags for record in coco.read().split(str(path))] == [(1,)]


def test_category_called_background_is_refused(coco):
    coco.content["train2014"]["categories"][0]["name"] = "Background"

    with pytest.raises(ValueError, match=r"instances_train2014\.json: found a category 'Background', expected classes"):
        coco.read()


def test_later_annotation_covers_the_one_before(coco):
    expected = pixels("111000", "112220", "002220", "002220")

    assert np.array_equal(coco.mask(9), expected)

    coco.content["train2014"]["annotations"].reverse()
    assert np.array_equal(coco.mask(9), pixels("111000", "111220", "002220", "002220"))


def test_polygons_of_one_annotation_are_joined(coco):
    coco.annotate(30, 90, [box(0, 0, 1, 1), box(4, 2, 6, 4)])

    assert np.array_equal(coco.mask(30), pixels("200000", "000000", "000022", "000022"))


def test_crowd_is_a_tag_but_not_in_the_mask(coco):
    coco.annotate(30, 1, {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}, crowd=1)

    assert not coco.mask(30).any()
    assert coco.read().splits["train2014"][2].tags == (1,)


def test_photo_without_annotations_is_background(coco):
    assert np.array_equal(coco.mask(30), np.zeros((HEIGHT, WIDTH), np.uint8))


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_go_down_the_columns(coco, compressed):
    code = {"size": [HEIGHT, WIDTH], "counts": [5, 2, HEIGHT * WIDTH - 7]}
    if compressed:
        code["counts"] = coco_mask.frPyObjects(code, HEIGHT, WIDTH)["counts"].decode()
    coco.annotate(30, 90, code)

    assert np.array_equal(coco.mask(30), pixels("000000", "020000", "020000", "000000"))


def test_mask_is_what_the_authors_of_coco_draw(coco):
    corners = (np.random.default_rng(3).random((20, 2)) * [WIDTH, HEIGHT]).round(2).ravel().tolist()
    coco.annotate(30, 90, [corners])

    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([corners], HEIGHT, WIDTH)))
    assert np.array_equal(coco.mask(30), 2 * drawn)


@pytest.mark.parametrize(
    "file",
    [
        "mask/train2014/9.png",
        "mask/train2014/COCO_train2014_000000000009.png",
        "SegmentationClass/COCO_train2014_000000000009.png",
    ],
)
def test_label_map_that_lies_in_the_folder_is_used(coco, file):
    path = coco.root / file
    path.parent.mkdir(parents=True)
    Image.fromarray(np.full((HEIGHT, WIDTH), 2, np.uint8)).save(path)

    first, second, _ = coco.read().splits["train2014"]

    assert first.label_map == first.label_map_file == path
    assert isinstance(second.label_map, DrawnMask)
    assert second.label_map_file == coco.root / "annotations/instances_train2014.json"


def add_masks(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(root / file)


def call_photos(coco: Coco, **names: str) -> None:
    """Give the photos of each split one name after the other, in the order of their ids."""
    for split, images in ((split, content["images"]) for split, content in coco.content.items()):
        for image, name in zip(sorted(images, key=lambda image: image["id"]), names[split].split(), strict=True):
            (coco.root / split / image["file_name"]).rename(coco.root / split / name)
            image["file_name"] = name


def masks_of(data_set: DataSet) -> dict[str, str]:
    """The files that are label maps, by photo."""
    files = {record.name: record.label_map for record in data_set.splits["all"]}
    return {name: path.relative_to(data_set.root).as_posix() for name, path in files.items() if isinstance(path, Path)}


@pytest.mark.parametrize("folder", ["", "images/"])
def test_photos_of_one_name_in_two_splits_have_each_its_own_label_map(coco, folder):
    call_photos(coco, train2014="a.jpg b.jpg c.jpg", val2014="a.jpg")
    add_masks(coco.root, "masks/train2014/a.png", "masks/val2014/a.png", "masks/b.png")

    data_set = move(coco, *((split, folder + split) for split in coco.content if folder))

    assert masks_of(data_set) == {
        f"{folder}train2014/a": "masks/train2014/a.png",
        f"{folder}val2014/a": "masks/val2014/a.png",
        f"{folder}train2014/b": "masks/b.png",
    }


def test_label_map_in_a_folder_of_another_name_is_taken_where_its_own_name_is_of_one_photo(coco):
    call_photos(coco, train2014="a.jpg b.jpg c.jpg", val2014="d.jpg")
    add_masks(coco.root, "masks/train/a.png", "masks/first/b.png", "masks/second/b.png")

    assert masks_of(coco.read()) == {"train2014/a": "masks/train/a.png"}
    assert [fault.file for fault in coco.faults() if fault.code == "mask-without-photo"] == [
        "masks/first/b.png",
        "masks/second/b.png",
    ]


@pytest.mark.parametrize("is_id", [False, True])
def test_label_map_whose_name_fits_two_photos_is_left_out_and_told(coco, is_id):
    call_photos(coco, train2014="a.jpg b.jpg c.jpg", val2014="d.jpg" if is_id else "a.jpg")
    if is_id:
        val = coco.content["val2014"]
        val["images"][0]["id"] = val["annotations"][0]["image_id"] = 9
    add_masks(coco.root, "masks/9.png" if is_id else "masks/a.png")

    fault = coco.fault("mask-without-photo")

    assert masks_of(coco.read()) == {}
    assert fault.found == f"a name that fits train2014/a.jpg and val2014/{'d' if is_id else 'a'}.jpg"


def test_id_of_a_photo_counts_only_where_no_label_map_has_the_name_of_one(coco):
    call_photos(coco, train2014="25.jpg 30.jpg 31.jpg", val2014="43.jpg")
    add_masks(coco.root, "masks/25.png", "masks/9.png", "masks/42.png")

    assert masks_of(coco.read()) == {"train2014/25": "masks/25.png"}
    assert [fault.file for fault in coco.faults() if fault.code == "mask-without-photo"] == [
        "masks/42.png",
        "masks/9.png",
    ]

    (coco.root / "masks/25.png").unlink()
    assert masks_of(coco.read()) == {"train2014/25": "masks/9.png", "val2014/43": "masks/42.png"}


def test_label_map_of_another_name_is_told(coco):
    (coco.root / "mask").mkdir()
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(coco.root / "mask/7.png")

    fault = coco.fault("mask-without-photo")

    assert (fault.severity, fault.file, fault.hint) == ("warning", "mask/7.png", "It is left out.")


def test_check_understands_the_folder(coco):
    coco.write()

    text = render(check_data_set(DataSettings(root=coco.root, train_split="train2014", seed_split="train2014")))

    assert text.splitlines()[0] == (
        "coco: COCO folders, tags from the annotations (2 classes), 4 masks drawn from them, 0 from files"
    )
    assert "4 of 4 readable" in text
    assert "train2014 3   train2014_nonempty 2   val2014 1   val2014_nonempty 1" in text
    assert "no photo in both train2014 and val2014" in text
    assert "4, sizes match, ids 0..2; tags and masks agree on every photo" in text


def test_check_says_of_which_image_a_drawn_mask_has_another_size(coco):
    coco.content["train2014"]["images"][1]["width"] = WIDTH + 1

    fault = coco.fault("mask-size")

    assert fault.file == "annotations/instances_train2014.json image 9"
    assert (fault.found, fault.expected) == ("7x4 pixels", "6x4 as its photo")


def test_split_whose_photos_are_absent_needs_no_annotations(coco):
    del coco.content["val2014"]
    (coco.root / "val2014/COCO_val2014_000000000042.jpg").unlink()
    (coco.root / "val2014").rmdir()

    assert set(coco.read().splits) == {"train2014", "train2014_nonempty", "all"}


def test_missing_annotations_are_told_alone(coco):
    del coco.content["val2014"]

    (fault,) = [fault for fault in coco.faults() if fault.severity == "error"]

    assert fault.line.startswith("annotations/instances_val2014.json: found No such file or directory, expected COCO's")


def test_photos_of_coco_alone_are_recognised_and_their_annotations_missed(coco):
    with pytest.raises(DataError) as error:
        read_data_set(DataSettings(root=coco.root))

    assert [fault.code for fault in error.value.faults] == ["no-annotations", "no-annotations"]


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_annotations_without_one_of_the_lists_stop(coco, section):
    del coco.content["train2014"][section]

    assert coco.fault("annotations").found == f"no list {section!r}"


@pytest.mark.parametrize("text", ["[]", "3"])
def test_json_of_another_kind_stops(coco, text):
    coco.write()
    path = coco.root / "annotations/instances_train2014.json"
    path.write_text(text)

    with pytest.raises(DataError, match="found no list 'images', expected lists images, annotations, categories"):
        read_data_set(DataSettings(root=coco.root))


def test_damaged_json_stops_with_its_place(coco):
    coco.write()
    (coco.root / "annotations/instances_train2014.json").write_text('{"images": [')

    with pytest.raises(DataError, match=r"found no JSON \(Expecting value: line 1 column 13"):
        read_data_set(DataSettings(root=coco.root))


def test_entry_without_a_field_stops_with_its_place(coco):
    del coco.content["train2014"]["annotations"][2]["category_id"]

    fault = coco.fault("annotations")

    assert fault.found == "annotations[2] without a good category_id"
    assert fault.expected == "image_id, category_id, segmentation in each of annotations"


@pytest.mark.parametrize(
    ("section", "name"), [("images", "id"), ("images", "file_name"), ("categories", "id"), ("categories", "name")]
)
def test_entry_that_is_there_twice_stops(coco, section, name):
    entries = coco.content["train2014"][section]
    entries[1][name] = entries[0][name]

    assert coco.fault("annotations").found == f"{section} with {name} {entries[0][name]!r} 2 times"


def test_photo_of_the_annotations_that_is_missing_stops(coco):
    (coco.root / "train2014/COCO_train2014_000000000025.jpg").unlink()

    fault = coco.fault("no-photo")

    assert (fault.severity, fault.file) == ("error", "train2014/COCO_train2014_000000000025.jpg")
    assert fault.expected == "each photo of annotations/instances_train2014.json"


def test_photo_that_the_annotations_do_not_name_is_left_out_and_told(coco):
    coco.content["train2014"]["images"].pop(0)

    fault = coco.fault("photo-without-row")

    assert (fault.severity, fault.file) == ("warning", "train2014/COCO_train2014_000000000030.jpg")


@pytest.mark.parametrize(("name", "value"), [("category_id", 12), ("image_id", 77)])
def test_annotations_of_an_unknown_category_or_image_are_counted_and_stop(coco, name, value):
    for annotation in coco.content["train2014"]["annotations"][:2]:
        annotation[name] = value

    fault = coco.fault("unknown-id")

    assert (fault.severity, fault.file) == ("error", "annotations/instances_train2014.json")
    assert fault.found == f"{name} {value} in 2 annotations"


@pytest.mark.parametrize(("short", "long"), [("val2014", "train2014"), ("train2014", "val2014")])
@pytest.mark.parametrize(("kept", "lacking"), [(1, "toothbrush"), (0, "person, toothbrush")])
def test_other_categories_in_the_other_file_stop_in_one_line_that_names_them(coco, short, long, kept, lacking):
    coco.annotate(42, 90, [box(0, 0, 2, 2)], "val2014")
    content = coco.content[short]
    content["categories"] = [{"id": 1, "name": "person"}][:kept]
    content["annotations"] = [found for found in content["annotations"] if kept and found["category_id"] == 1]

    (fault,) = [fault for fault in coco.faults() if fault.severity == "error"]

    assert fault.line == (
        "annotations/instances_train2014.json and annotations/instances_val2014.json: "
        f"found {lacking} in annotations/instances_{long}.json alone, expected the same categories in both"
    )


def test_categories_whose_ids_are_exchanged_in_the_other_file_stop(coco):
    coco.content["val2014"]["categories"] = [{"id": 1, "name": "toothbrush"}, {"id": 90, "name": "person"}]

    assert coco.fault("classes").found == "them in another order of their ids"


def test_folders_of_another_year_are_read(coco, tag2mask):
    coco.content = {}
    coco.photo(9, "train2017")
    coco.annotate(9, 90, [box(2, 1, 5, 4)], "train2017")
    coco.photo(25, "train2017")
    coco.annotate(25, 1, [box(2, 1, 5, 4)], "train2017")
    coco.photo(42, "val2017")
    coco.annotate(42, 1, [box(0, 0, 6, 4)], "val2017")
    for split in ("train2014", "val2014"):
        shutil.rmtree(coco.root / split)

    splits = coco.read().splits

    assert {name: [record.tags for record in records] for name, records in splits.items()} == {
        "train2017": [(2,), (1,)],
        "train2017_nonempty": [(2,), (1,)],
        "val2017": [(1,)],
        "val2017_nonempty": [(1,)],
        "all": [(2,), (1,), (1,)],
    }
    assert np.array_equal(coco.mask(9, "train2017"), pixels("000000", "002220", "002220", "002220"))
    next_command = tag2mask("check", coco.root).out.splitlines()[-1]
    assert "--data.train_split train2017 --data.seed_split train2017 --data.val_split val2017" in next_command


def move(coco: Coco, *places: tuple[str, str]) -> DataSet:
    """Write the folder, move files or folders of it, and read it."""
    coco.write()
    for old, new in places:
        (coco.root / new).parent.mkdir(parents=True, exist_ok=True)
        (coco.root / old).rename(coco.root / new)
    return read_data_set(DataSettings(root=coco.root))


def found_in(data_set: DataSet, split: str) -> list[tuple[str, tuple[int, ...]]]:
    """The folder and the tags of every photo."""
    return [(record.name.rsplit("/", 1)[0], record.tags) for record in data_set.splits[split]]


def test_photos_may_be_in_a_folder_of_images(coco):
    data_set = move(coco, ("train2014", "images/train2014"), ("val2014", "images/val2014"))

    assert data_set.class_names == ("person", "toothbrush")
    folder = "images/train2014"
    assert found_in(data_set, "train2014") == [(folder, (1, 2)), (folder, (1,)), (folder, ())]
    assert found_in(data_set, "val2014") == [("images/val2014", (1,))]


@pytest.mark.parametrize("folder", ["images", "images/default"])
def test_export_of_cvat_is_read(coco, folder, tag2mask):
    del coco.content["val2014"]
    shutil.rmtree(coco.root / "val2014")
    instances = "annotations/instances_{}.json"

    data_set = move(coco, ("train2014", folder), (instances.format("train2014"), instances.format("default")))

    assert list(data_set.splits) == ["default", "default_nonempty", "all"]
    assert found_in(data_set, "default") == [(folder, (1, 2)), (folder, (1,)), (folder, ())]
    assert np.array_equal(open_label_map(data_set.splits["default"][1].label_map)[1], [0, 1, 0, 0, 0, 0])
    assert "--data.train_split default" in tag2mask("check", coco.root).out.splitlines()[-1]


def test_export_of_roboflow_is_read_without_the_category_above_the_others(coco, tag2mask):
    for content in coco.content.values():
        for category in content["categories"]:
            category["supercategory"] = "bathroom"
        content["categories"].insert(0, {"id": 0, "name": "bathroom", "supercategory": "none"})
    name = "_annotations.coco.json"

    data_set = move(
        coco,
        ("annotations/instances_train2014.json", f"train2014/{name}"),
        ("annotations/instances_val2014.json", f"val2014/{name}"),
        ("train2014", "train"),
        ("val2014", "valid"),
    )

    assert data_set.class_names == ("person", "toothbrush")
    assert found_in(data_set, "train") == [("train", (1, 2)), ("train", (1,)), ("train", ())]
    assert found_in(data_set, "valid") == [("valid", (1,))]
    assert data_set.faults == ()
    next_command = tag2mask("check", coco.root).out.splitlines()[-1]
    assert "--data.train_split train --data.seed_split train --data.val_split valid" in next_command


def test_class_that_groups_another_is_one_of_every_split_whatever_its_ids(coco):
    for split, first in (("train2014", 1), ("val2014", 10)):
        content = coco.content[split]
        names = {category["id"]: category["name"] for category in content["categories"]}
        content["categories"] = [
            {"id": first, "name": names[1], "supercategory": "none"},
            {"id": first + 1, "name": names[90], "supercategory": names[1]},
        ]
        for annotation in content["annotations"]:
            annotation["category_id"] = first if annotation["category_id"] == 1 else first + 1
    val = coco.content["val2014"]
    val["annotations"] = [annotation for annotation in val["annotations"] if annotation["category_id"] != 10]

    assert coco.read().class_names == ("person", "toothbrush")
    assert not [fault for fault in coco.faults() if fault.code == "classes"]


def test_category_called_as_the_one_that_groups_it_is_a_class(coco):
    for content in coco.content.values():
        content["categories"][1]["supercategory"] = "person"
        content["categories"].insert(0, {"id": 0, "name": "person", "supercategory": "none"})

    data_set = coco.read()

    assert data_set.class_names == ("person", "toothbrush")
    assert [record.tags for record in data_set.splits["train2014"]] == [(1, 2), (1,), ()]


def test_category_above_another_is_a_class_where_it_has_annotations(coco):
    for content in coco.content.values():
        content["categories"][1]["supercategory"] = "toothbrush"

    assert coco.read().class_names == ("person", "toothbrush")


def test_category_above_itself_is_a_class_even_without_annotations(coco):
    for content in coco.content.values():
        content["categories"][1]["supercategory"] = "person"
        content["annotations"] = [found for found in content["annotations"] if found["category_id"] != 1]

    assert coco.read().class_names == ("person", "toothbrush")


def without_outline(annotation: dict[str, Any], empty: Any) -> None:
    annotation["segmentation"] = empty
    if empty == "absent":
        del annotation["segmentation"]


@pytest.mark.parametrize("empty", ["absent", None, [], [[]]])
def test_boxes_alone_give_tags_and_no_mask_even_of_photos_without_any(coco, empty):
    for annotation in coco.content["train2014"]["annotations"]:
        without_outline(annotation, empty)

    records = coco.read().splits["train2014"]
    fault = coco.fault("only-box")

    assert [(record.tags, record.label_map) for record in records] == [((1, 2), None), ((1,), None), ((), None)]
    assert (fault.severity, fault.file) == ("warning", "annotations/instances_train2014.json")
    assert fault.found == "3 of 3 annotations without a usable outline"
    assert coco.mask(42, "val2014").all()


def test_box_among_outlines_takes_the_mask_of_its_photo_alone(coco):
    without_outline(coco.content["train2014"]["annotations"][0], "absent")
    coco.annotate(25, 90, None, crowd=1)

    first, second, third = coco.read().splits["train2014"]

    assert (first.tags, first.label_map) == ((1, 2), None)
    assert (second.tags, third.tags) == ((1, 2), ())
    assert coco.mask(25).sum() == 2
    assert not coco.mask(30).any()
    assert coco.fault("only-box").found == "1 of 3 annotations without a usable outline"


def test_polygon_that_leaves_the_photo_is_told_and_ends_at_its_edge(coco):
    coco.annotate(30, 90, [box(-5, 2, 3, 1e9)])

    fault = coco.fault("outside")

    assert (fault.severity, fault.file) == ("warning", "train2014/COCO_train2014_000000000030.jpg")
    assert np.array_equal(coco.mask(30), pixels("000000", "000000", "222000", "222000"))


@pytest.mark.parametrize("corners", [[0, 0, 2, 2], [0, 0, 2, 0, 2], [0, 0, 2, 0, 2, "2"], [0, 0, 2, 0, 2, np.nan], 3])
def test_polygon_that_has_no_three_corners_is_left_out_and_told(coco, corners):
    coco.annotate(30, 90, [corners])
    coco.annotate(25, 90, [corners, box(4, 2, 6, 4)])

    first, _, third = coco.read().splits["train2014"]

    assert [fault.severity for fault in coco.faults() if fault.code == "polygon"] == ["warning", "warning"]
    assert (third.tags, third.label_map) == ((2,), None)
    assert coco.fault("only-box").found == "1 of 5 annotations without a usable outline"
    assert np.array_equal(coco.mask(25), pixels("000000", "010000", "010022", "000022"))
    assert isinstance(first.label_map, DrawnMask)


def test_only_polygon_without_a_list_around_it_and_with_a_corner_that_is_none_is_told(coco):
    coco.annotate(30, 90, [0, 0, 2, 0, 2, "2"])

    assert coco.fault("polygon").file == "train2014/COCO_train2014_000000000030.jpg"
    assert coco.fault("only-box").found == "1 of 4 annotations without a usable outline"


def test_corners_of_an_only_polygon_need_no_list_around_them(coco):
    coco.annotate(30, 90, box(0, 2, 3, 4))

    assert np.array_equal(coco.mask(30), pixels("000000", "000000", "222000", "222000"))
    assert coco.read().faults == ()


def test_more_classes_than_a_label_map_has_ids_are_told(coco):
    for content in coco.content.values():
        content["categories"] += [{"id": number, "name": f"class {number}"} for number in range(100, 400)]
    coco.annotate(30, 399, [box(0, 2, 3, 4)])

    assert coco.fault("too-many-classes").found == "302 classes"


@pytest.mark.parametrize("counts", [[5, 1, 0, 1, 17, 0], [5, 2, 17]])
def test_compressed_run_lengths_may_be_of_no_pixel(coco, counts):
    code = coco_mask.frPyObjects({"size": [HEIGHT, WIDTH], "counts": counts}, HEIGHT, WIDTH)
    coco.annotate(30, 90, code | {"counts": code["counts"].decode()})

    assert np.array_equal(coco.mask(30), pixels("000000", "020000", "020000", "000000"))


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ([WIDTH, HEIGHT], [5, 2, 17]),
        ([HEIGHT, WIDTH], [5, 2, 18]),
        ([HEIGHT, WIDTH], [5, -2, 21]),
        ([HEIGHT, WIDTH], "52"),
        ([HEIGHT, WIDTH], "52zz"),
        ([HEIGHT, WIDTH], None),
    ],
)
def test_run_lengths_that_do_not_fill_the_photo_stop(coco, size, counts):
    coco.annotate(30, 90, {"size": size, "counts": counts})

    fault = coco.fault("run-lengths")

    assert (fault.severity, fault.file) == ("error", "train2014/COCO_train2014_000000000030.jpg")


def test_table_beside_the_annotations_stops_and_beside_photos_alone_counts(coco):
    name = "train2014/COCO_train2014_000000000009"
    (coco.root / "tags.csv").write_text(f"image,tags\n{name}.jpg,cat\n")

    alone = read_data_set(DataSettings(root=coco.root))
    fault = coco.fault("two-layouts")

    assert [record.name for record in alone.splits["all"]] == [name]
    assert fault.found == "COCO folders and tags.csv"
    assert fault.hint == "Choose layout coco or csv."
