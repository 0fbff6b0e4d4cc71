"""Data sets in COCO's format, whose outlines give tags and masks."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from tag2mask.data.classes import MAX_CLASSES, is_background
from tag2mask.data.coco_masks import find_masks
from tag2mask.data.coco_outlines import Frame, read_outline
from tag2mask.data.coco_splits import CocoSplit, coco_splits
from tag2mask.data.drawn_masks import DrawnMask, Outline
from tag2mask.data.faults import FaultLog
from tag2mask.data.names import without_suffix
from tag2mask.data.photo_files import PhotoFiles, list_photos, warn_of_leftovers
from tag2mask.data.records import DataSet, Record, group_in_splits

NONEMPTY = "_nonempty"
"""Ends the name of a split that leaves out photos without tags: 2014 keeps 82,081 of 82,783 and 40,137 of 40,504."""

# The lists of an annotation file.
_Content = Mapping[str, list[dict[str, Any]]]

_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"image_id": int, "category_id": int, "segmentation": (list, dict, NoneType)},
    "categories": {"id": int, "name": str},
}


class _Object(NamedTuple):
    """What one annotation tells of a photo."""

    class_id: int
    is_crowd: bool
    """Whether it marks several objects together; these are left out of the mask."""
    outline: Outline | None
    """The object's outline; None for a crowd, and where no outline can be used."""


class _Photo(NamedTuple):
    image_id: int
    file_name: str
    tags: tuple[int, ...]
    label_map: DrawnMask | None


class _Annotations(NamedTuple):
    """What an annotation file says of the photos of its split."""

    class_names: tuple[str, ...]
    photos: tuple[_Photo, ...]


def read_coco(root: Path, log: FaultLog) -> DataSet:
    """The splits whose photos are there, each with and without the photos that have no tag.

    A class is a category that does not only group others; ids are 1, 2, ... in the order of the categories' ids. Every
    annotation, a crowd's too, gives its photo a tag. Label maps that lie in the folder, named as their photo or all by
    its id, are taken; the others are drawn from all annotations but the crowds', a later one over those before it. A
    photo with an annotation that has no usable outline has none, nor have those of a split of boxes alone.
    """
    annotations = _read_annotations(root, log)
    class_names = _common_class_names(annotations, log)
    if class_names is None:
        return DataSet(root, "COCO folders", (), group_in_splits([], {}, log))
    photos = _list_photos(root, annotations, log)
    ids = (
        (f"{split.photos}/{photo.image_id}", f"{split.photos}/{photo.file_name}")
        for split, found in annotations.items()
        for photo in found.photos
    )
    masks = find_masks(root, photos, ids, log)
    splits: dict[str, tuple[Record, ...]] = {}
    for split, found in annotations.items():
        records = tuple(_make_records(split, found, photos, masks, log))
        splits |= {split.name: records, split.name + NONEMPTY: tuple(record for record in records if record.tags)}
    everything = [record for split in annotations for record in splits[split.name]]
    used = [record.image.relative_to(root).as_posix() for record in everything]
    warn_of_leftovers(photos, used, log, place="the annotations")
    files = {record.label_map for record in everything if isinstance(record.label_map, Path)}
    num_drawn = sum(isinstance(record.label_map, DrawnMask) for record in everything)
    counts = f"{num_drawn:,} masks drawn from them, {len(files):,} from files"
    layout = f"COCO folders, tags from the annotations ({len(class_names)} classes), {counts}"
    return DataSet(root, layout, class_names, group_in_splits(everything, splits, log))


def _common_class_names(annotations: Mapping[CocoSplit, _Annotations], log: FaultLog) -> tuple[str, ...] | None:
    """The classes of all annotation files, or none where two have others, which is noted."""
    for (split, first), (other_split, other) in pairwise(annotations.items()):
        if first.class_names == other.class_names:
            continue
        alone = {
            split.annotations: [name for name in first.class_names if name not in other.class_names],
            other_split.annotations: [name for name in other.class_names if name not in first.class_names],
        }
        found = " and ".join(f"{', '.join(names)} in {file} alone" for file, names in alone.items() if names)
        where, expected = " and ".join(alone), "the same categories in both"
        log.error("classes", where, found=found or "them in another order of their ids", expected=expected)
        return None
    return next((found.class_names for found in annotations.values()), ())


def _list_photos(root: Path, splits: Iterable[CocoSplit], log: FaultLog) -> PhotoFiles:
    """Photos of the splits, named from the data set's folder."""
    files = {
        f"{split.photos}/{key}": path
        for split in splits
        for key, path in list_photos(root, root / split.photos, log).files.items()
    }
    return PhotoFiles(root, root, files)


def _make_records(
    split: CocoSplit, annotations: _Annotations, photos: PhotoFiles, masks: Mapping[str, Path], log: FaultLog
) -> Iterator[Record]:
    for photo in annotations.photos:
        key = f"{split.photos}/{photo.file_name}"
        image = photos.files.get(key)
        if image is None:
            log.error("no-photo", key, found="no such file", expected=f"each photo of {split.annotations}")
            continue
        yield Record(without_suffix(key), image, photo.tags, masks.get(key) or photo.label_map)


def _read_annotations(root: Path, log: FaultLog) -> dict[CocoSplit, _Annotations]:
    """What the files say of each split; those that cannot be used are noted."""
    read = {split: _read_json(root / split.annotations, split.annotations, log) for split in coco_splits(root)}
    contents = {split: content for split, content in read.items() if content is not None}
    headings = _headings(contents.values())
    return {split: _annotations_of(root, split, content, headings, log) for split, content in contents.items()}


def _headings(contents: Collection[_Content]) -> set[tuple[int, str]]:
    """Categories, by id and name, that only group others, as Roboflow puts one above those of a project.

    No annotation is of them, nor of others of their name but where a file has both.
    """
    used = [{annotation["category_id"] for annotation in content["annotations"]} for content in contents]
    annotated = {
        (category["id"], category["name"])
        for content, ids in zip(contents, used, strict=True)
        for category in content["categories"]
        if category["id"] in ids
    }
    names = {name for _, name in annotated}
    headings = set()
    for content in contents:
        categories = content["categories"]
        num_called = Counter(category["name"] for category in categories)
        num_grouped = Counter(str(category.get("supercategory")) for category in categories)
        for category in categories:
            name = category["name"]
            # COCO's person is its own.
            groups_others = num_grouped[name] > (category.get("supercategory") == name)
            if groups_others and (num_called[name] > 1 or name not in names):
                headings.add((category["id"], name))
    return headings - annotated


def _annotations_of(
    root: Path, split: CocoSplit, content: _Content, headings: set[tuple[int, str]], log: FaultLog
) -> _Annotations:
    """Photos of a split in the order of their names."""
    file = split.annotations
    listed = [category for category in content["categories"] if (category["id"], category["name"]) not in headings]
    _check_that_each_is_once("categories", "name", listed, file, log)
    categories = sorted(listed, key=lambda category: int(category["id"]))
    class_names = tuple(category["name"] for category in categories)
    for name in class_names:
        if is_background(name):
            expected = "classes alone, as the background is id 0"
            log.error("classes", file, found=f"a category {name!r}", expected=expected)
    class_ids = {category["id"]: class_id for class_id, category in enumerate(categories, start=1)}
    images = sorted(content["images"], key=lambda image: str(image["file_name"]))
    objects = _objects_by_image(content, class_ids, split, log)
    photos = [_photo(image, objects[image["id"]], root / file) for image in images]
    single = [found for of_image in objects.values() for found in of_image if not found.is_crowd]
    num_boxes = sum(found.outline is None for found in single)
    if num_boxes:
        counts = f"{num_boxes:,} of {len(single):,} annotations without a usable outline"
        hint = "They give tags; of their photos no mask is drawn."
        log.warn("only-box", file, found=counts, expected="one in each", hint=hint)
    # Label maps have no ids for more classes, which is told of every layout.
    if num_boxes == len(single) > 0 or len(class_names) > MAX_CLASSES:
        photos = [photo._replace(label_map=None) for photo in photos]
    return _Annotations(class_names, tuple(photos))


def _objects_by_image(
    content: _Content, class_ids: Mapping[int, int], split: CocoSplit, log: FaultLog
) -> dict[int, list[_Object]]:
    """The objects of every image, by its id; annotations of images or categories that are not there are noted."""
    objects: dict[int, list[_Object]] = {image["id"]: [] for image in content["images"]}
    frames = {
        image["id"]: Frame(f"{split.photos}/{image['file_name']}", image["height"], image["width"])
        for image in content["images"]
    }
    unknown: Counter[str] = Counter()
    for annotation in content["annotations"]:
        image_id, category_id = annotation["image_id"], annotation["category_id"]
        if image_id not in objects:
            unknown[f"image_id {image_id}"] += 1
        elif category_id not in class_ids:
            unknown[f"category_id {category_id}"] += 1
        else:
            class_id, segmentation = class_ids[category_id], annotation.get("segmentation")
            is_crowd = bool(annotation.get("iscrowd"))
            outline = None if is_crowd else read_outline(segmentation, class_id, frames[image_id], log)
            objects[image_id].append(_Object(class_id, is_crowd, outline))
    for name, count in unknown.items():
        found = f"{name} in {count:,} annotation{'s' if count > 1 else ''}"
        log.error("unknown-id", split.annotations, found=found, expected="the id of an image and of a category")
    return objects


def _photo(image: Mapping[str, Any], objects: Sequence[_Object], annotations: Path) -> _Photo:
    """A photo with its tags and the label map that is drawn from all of its objects but the crowds, if all can be."""
    tags = tuple(sorted({found.class_id for found in objects}))
    single = [found.outline for found in objects if not found.is_crowd]
    outlines = tuple(outline for outline in single if outline is not None)
    drawn = DrawnMask(annotations, image["id"], image["height"], image["width"], outlines)
    return _Photo(image["id"], image["file_name"], tags, drawn if len(outlines) == len(single) else None)


def _read_json(path: Path, file: str, log: FaultLog) -> _Content | None:
    """The lists of an annotation file, whose entries have all that is read of them; else the reason is noted."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            content = json.load(stream)
    except OSError as error:
        hint = "COCO's are in annotations_trainval2014.zip and annotations_trainval2017.zip."
        log.error("no-annotations", file, found=f"{error.strerror}", expected="COCO's instances", hint=hint)
        return None
    except ValueError as error:
        log.error("annotations", file, found=f"no JSON ({error})", expected="COCO's instances")
        return None
    num_faults = len(log.faults)
    for section in _FIELDS:
        entries = content.get(section) if isinstance(content, dict) else None
        if isinstance(entries, list):
            _check_entries(section, entries, file, log)
        else:
            log.error("annotations", file, found=f"no list {section!r}", expected=f"lists {', '.join(_FIELDS)}")
    return content if len(log.faults) == num_faults else None


def _check_entries(section: str, entries: list[Any], file: str, log: FaultLog) -> None:
    """Note the first entry that lacks a field, else ids and photos that are there twice."""
    fields = _FIELDS[section]
    for index, entry in enumerate(entries):
        given = entry if isinstance(entry, dict) else {}
        wrong = [name for name, kind in fields.items() if not isinstance(given.get(name), kind)]
        if wrong:
            found = f"{section}[{index}] without a good {' and '.join(wrong)}"
            log.error("annotations", file, found=found, expected=f"{', '.join(fields)} in each of {section}")
            return
    for name in ("id", "file_name"):
        if name in fields:
            _check_that_each_is_once(section, name, entries, file, log)


def _check_that_each_is_once(section: str, name: str, entries: list[Any], file: str, log: FaultLog) -> None:
    value, count = Counter(entry[name] for entry in entries).most_common(1)[0] if entries else ("", 0)
    if count > 1:
        found = f"{section} with {name} {value!r} {count} times"
        log.error("annotations", file, found=found, expected="each once")
