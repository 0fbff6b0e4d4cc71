"""PASCAL VOC's folders: JPEGImages, SegmentationClass, ImageSets, Annotations, and an optional labels.csv."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tag2mask.config import DataSettings
from tag2mask.data.classes import VOC_CLASS_NAMES, read_class_names
from tag2mask.data.faults import FaultLog
from tag2mask.data.lists import ListedPhoto, find_list, is_class_list, read_list
from tag2mask.data.names import without_suffix
from tag2mask.data.photo_files import (
    LabelMapFiles,
    PhotoFiles,
    find_listed,
    list_label_maps,
    list_photos,
    warn_of_leftovers,
)
from tag2mask.data.records import ALL, DataSet, Record, group_in_splits
from tag2mask.data.tables import read_tag_table, rows_by_photo, tag_ids
from tag2mask.data.voc_tags import tags_of_boxes, tags_of_label_maps

PHOTOS = "JPEGImages"
ANNOTATIONS = "Annotations"
MASKS = ("SegmentationClass", "SegmentationClassAug")
TABLE = "labels.csv"
LISTS = (Path("ImageSets/Segmentation"), Path("ImageSets/Main"))


@dataclass(frozen=True)
class _Entry:
    """One photo of one split."""

    key: str
    label_map: Path | None


@dataclass(frozen=True)
class _Tags:
    """Class ids by the key of the photo; a photo whose tags are not known is absent."""

    source: str
    class_names: tuple[str, ...]
    by_photo: Mapping[str, tuple[int, ...]]


def is_voc(root: Path) -> bool:
    """Whether the folder has VOC's photos and one more thing of VOC's."""
    others = (ANNOTATIONS, "ImageSets", TABLE, *MASKS)
    return (root / PHOTOS).is_dir() and any((root / name).exists() for name in others)


def read_voc(root: Path, settings: DataSettings, log: FaultLog) -> DataSet:
    """Photos named by the lists, by labels.csv and by the settings; every photo where none names any."""
    photos = list_photos(root, root / PHOTOS, log)
    label_maps = list_label_maps(root, MASKS, photos, log)
    splits = _read_splits(root, settings, photos, label_maps, log)
    named = {entry.key: entry for entries in splits.values() for entry in reversed(entries)}
    source = _choose_source(root, settings)
    if source == "csv":
        tags, more_splits = _read_table(root, photos, log)
        named |= {key: _Entry(key, label_maps.find(without_suffix(key))) for key in tags.by_photo if key not in named}
        for split, keys in more_splits.items():
            splits.setdefault(split, [named[key] for key in keys])
    else:
        named = named or {key: _Entry(key, label_maps.find(without_suffix(key))) for key in photos.files}
        tags = _read_tags(root, source, {key: entry.label_map for key, entry in named.items()}, log)
    warn_of_leftovers(photos, named, log, place="any list")
    _warn_of_unknown_tags(named, tags, photos, log)
    records = {split: _make_records(entries, tags, photos) for split, entries in splits.items()}
    everything = _make_records(list(named.values()), tags, photos)
    layout = f"VOC folders, tags from {tags.source}"
    lists = (folder / f"{ALL}.txt" for folder in LISTS)
    file_of_all = next((file.as_posix() for file in lists if (root / file).is_file()), "splits")
    return DataSet(root, layout, tags.class_names, group_in_splits(everything, records, log, file_of_all=file_of_all))


def _choose_source(root: Path, settings: DataSettings) -> Literal["csv", "boxes", "masks"]:
    if settings.tag_source != "auto":
        return settings.tag_source
    if (root / TABLE).is_file():
        return "csv"
    return "boxes" if (root / ANNOTATIONS).is_dir() else "masks"


def _read_table(root: Path, photos: PhotoFiles, log: FaultLog) -> tuple[_Tags, dict[str, list[str]]]:
    """Tags of labels.csv, and the photos of each split that it names."""
    path = root / TABLE
    given = read_class_names(root / "classes.txt", log)
    if not path.is_file():
        log.error("no-table", TABLE, found="no such file", expected=f"{TABLE}, as tag_source csv asks for it")
        return _Tags(TABLE, given or (), {}), {}
    table = read_tag_table(path, log, class_names=given)
    if table is None:
        return _Tags(TABLE, given or (), {}), {}
    class_names = given or table.columns or tuple(sorted({tag for row in table.rows for tag in row.tags}))
    rows = rows_by_photo(path, table, photos, log)
    splits: dict[str, list[str]] = {}
    for key, row in rows.items():
        if row.split:
            splits.setdefault(row.split, []).append(key)
    by_photo = {key: tag_ids(row, class_names, log, file=TABLE) for key, row in rows.items()}
    return _Tags(f"{TABLE} ({len(table.rows):,} rows, {len(class_names)} classes)", class_names, by_photo), splits


def _read_tags(
    root: Path, source: Literal["boxes", "masks"], label_maps: Mapping[str, Path | None], log: FaultLog
) -> _Tags:
    class_names = read_class_names(root / "classes.txt", log) or VOC_CLASS_NAMES
    if source == "boxes":
        paths = {key: root / ANNOTATIONS / f"{without_suffix(key)}.xml" for key in label_maps}
        by_photo = tags_of_boxes(root, paths, class_names, log)
        return _Tags(f"the boxes in {ANNOTATIONS} ({len(class_names)} classes)", class_names, by_photo)
    by_photo = tags_of_label_maps(root, label_maps, class_names, log)
    return _Tags(f"the masks ({len(class_names)} classes)", class_names, by_photo)


def _read_splits(
    root: Path, settings: DataSettings, photos: PhotoFiles, label_maps: LabelMapFiles, log: FaultLog
) -> dict[str, list[_Entry]]:
    """Photos of every list; of two lists with one name that in Segmentation counts, and the other is `Main/name`."""
    splits: dict[str, list[_Entry]] = {}
    for folder in LISTS:
        for path in sorted((root / folder).glob("*.txt")):
            name = path.stem if path.stem not in splits else f"{folder.name}/{path.stem}"
            listed = read_list(path)
            if not is_class_list(listed):
                splits[name] = _read_entries(path, listed, photos, label_maps, log)
    # The last ones decide which of several masks of a photo its tags are read from: those it is trained with.
    for given in (settings.val_split, settings.label_split, settings.train_split, settings.seed_split):
        file = find_list(root, given) if given and given not in (*splits, ALL) else None
        if given and file:
            splits[given] = _read_given(file, photos, label_maps, log)
    return splits


def _read_given(path: Path, photos: PhotoFiles, label_maps: LabelMapFiles, log: FaultLog) -> list[_Entry]:
    """Photos of a list that the settings name, which may not be that of a class."""
    listed = read_list(path)
    # A photo may be called `cat 1`.
    if is_class_list(listed) and not photos.index.find(listed[0].image):
        log.error("list", _place(path, photos), found="a list of one class", expected="a list of photos")
        return []
    return _read_entries(path, listed, photos, label_maps, log)


def _read_entries(
    path: Path, listed: Iterable[ListedPhoto], photos: PhotoFiles, label_maps: LabelMapFiles, log: FaultLog
) -> list[_Entry]:
    """Photos of one list, each with the label map that its line names, or else the photo's own."""
    found = find_listed(listed, photos, log, file=_place(path, photos))
    return [_Entry(key, label_map or label_maps.find(without_suffix(key))) for key, label_map in found.items()]


def _place(path: Path, photos: PhotoFiles) -> str:
    """A list as faults name it."""
    return path.relative_to(photos.root).as_posix() if path.is_relative_to(photos.root) else str(path)


def _warn_of_unknown_tags(named: Mapping[str, _Entry], tags: _Tags, photos: PhotoFiles, log: FaultLog) -> None:
    for key in named:
        if key not in tags.by_photo:
            file = photos.files[key].relative_to(photos.root).as_posix()
            expected = "tags of each listed photo"
            hint = "It is left out of every split."
            log.warn("photo-without-row", file, found=f"none in {tags.source}", expected=expected, hint=hint)


def _make_records(entries: list[_Entry], tags: _Tags, photos: PhotoFiles) -> tuple[Record, ...]:
    return tuple(
        Record(without_suffix(entry.key), photos.files[entry.key], tags.by_photo[entry.key], entry.label_map)
        for entry in entries
        if entry.key in tags.by_photo
    )
