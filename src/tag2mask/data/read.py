"""Reads a data set: recognises how its folder is laid out and gives its records, or every reason why it cannot."""

from dataclasses import replace
from pathlib import Path

from tag2mask.config import DataSettings
from tag2mask.data.class_folders import find_class_folders, read_class_folders
from tag2mask.data.classes import MAX_CLASSES
from tag2mask.data.coco import ANNOTATIONS, SPLITS, is_coco, read_coco
from tag2mask.data.faults import DataError, FaultLog, did_you_mean
from tag2mask.data.folder import TABLES, find_table, read_photos_with_table
from tag2mask.data.names import UNREADABLE_SUFFIXES
from tag2mask.data.records import ALL, TRAIN, DataSet
from tag2mask.data.voc import PHOTOS, is_voc, read_voc

_NUM_ENTRIES_SHOWN = 10
_LAYOUTS = (
    "one of: VOC folders (JPEGImages with ImageSets, Annotations, SegmentationClass or labels.csv); "
    "COCO 2014 (train2014 or val2014 with annotations); "
    "photos with tags.csv (image,tags); photos with tags.csv (image and a 0/1 column a class); "
    "a folder of photos a class"
)


def read_data_set(settings: DataSettings) -> DataSet:
    """The data set at `settings.root`; its `faults` are warnings.

    Raises:
        DataError: with every fault that stops, not only the first.
    """
    data_set = read_with_faults(settings)
    if any(fault.severity == "error" for fault in data_set.faults):
        raise DataError(data_set.faults)
    return data_set


def read_with_faults(settings: DataSettings) -> DataSet:
    """What could be understood of the data set, with errors among its `faults`."""
    log = FaultLog()
    try:
        data_set = _read(settings, log)
    except DataError as error:
        log.faults.extend(error.faults)
        data_set = _nothing(settings.root)
    _judge(data_set, log)
    return replace(data_set, faults=tuple(log.faults))


def usual_train_split(root: Path) -> str:
    """Name of the split that one trains on in a folder laid out as this one is."""
    return SPLITS[0] if is_coco(root) else TRAIN


def _read(settings: DataSettings, log: FaultLog) -> DataSet:
    root = settings.root
    if root is None:
        log.error("no-folder", "data.root", found="nothing", expected="the folder of the data set")
        return _nothing(root)
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        beside = [path.name for path in root.absolute().parent.glob("*/")] if root.absolute().parent.is_dir() else []
        hint = did_you_mean(root.name, beside)
        log.error("no-folder", str(root), found=found, expected="the folder of the data set", hint=hint)
        return _nothing(root)
    match settings.layout:
        case "voc":
            return _read_as_voc(root, settings, log)
        case "coco":
            return _read_as_coco(root, log)
        case "csv":
            return _read_as_table(root, log)
        case "class_folders":
            return _read_as_class_folders(root, log)
        case "auto":
            return _recognise(root, settings, log)


def _recognise(root: Path, settings: DataSettings, log: FaultLog) -> DataSet:
    table = find_table(root)
    if is_voc(root):
        # Its labels.csv may lie beside VOC's folders.
        if table is not None and table.name == TABLES[0]:
            return _two_layouts(root, "VOC", table, log)
        return read_voc(root, settings, log)
    if is_coco(root) and table is not None and (root / ANNOTATIONS).is_dir():
        return _two_layouts(root, "COCO", table, log)
    if table is not None:
        return read_photos_with_table(root, table, log)
    if is_coco(root):
        return read_coco(root, log)
    if find_class_folders(root):
        return read_class_folders(root, log)
    entries = sorted(path.name for path in root.iterdir())
    more = f" and {len(entries) - _NUM_ENTRIES_SHOWN:,} more" if len(entries) > _NUM_ENTRIES_SHOWN else ""
    found = f"{', '.join(entries[:_NUM_ENTRIES_SHOWN])}{more}" if entries else "an empty folder"
    below = next((entry for entry in entries if (root / entry / PHOTOS).is_dir() or is_coco(root / entry)), None)
    hint = f"Did you mean its folder {below!r}?" if below else _hint_at_kinds(root)
    log.error("no-layout", str(root), found=found, expected=_LAYOUTS, hint=hint)
    return _nothing(root)


def _hint_at_kinds(root: Path) -> str:
    """What to do where photos lie as they should, but are of kinds that are not read; else empty."""
    suffixes = {path.suffix for pattern in ("*/*", "*/*/*") for path in root.glob(pattern)}
    kinds = sorted(suffix for suffix in suffixes if suffix.lower() in UNREADABLE_SUFFIXES)
    return f"Convert its {' and '.join(kinds)} files to JPEG." if kinds else ""


def _two_layouts(root: Path, name: str, table: Path, log: FaultLog) -> DataSet:
    hint = f"Choose with --data.layout {name.lower()} or --data.layout csv."
    log.error("two-layouts", str(root), found=f"{name} folders and {table.name}", expected="one layout", hint=hint)
    return _nothing(root)


def _read_as_voc(root: Path, settings: DataSettings, log: FaultLog) -> DataSet:
    if not (root / PHOTOS).is_dir():
        log.error("no-layout", str(root), found=f"no folder {PHOTOS}", expected=f"{PHOTOS}, as layout voc asks for it")
        return _nothing(root)
    return read_voc(root, settings, log)


def _read_as_coco(root: Path, log: FaultLog) -> DataSet:
    if not is_coco(root):
        found, expected = f"no folder {' or '.join(SPLITS)}", "photos there, as layout coco asks for them"
        log.error("no-layout", str(root), found=found, expected=expected)
        return _nothing(root)
    return read_coco(root, log)


def _read_as_table(root: Path, log: FaultLog) -> DataSet:
    table = find_table(root)
    if table is None:
        found = f"no {' or '.join(TABLES)}"
        log.error("no-layout", str(root), found=found, expected="a table, as layout csv asks for it")
        return _nothing(root)
    return read_photos_with_table(root, table, log)


def _read_as_class_folders(root: Path, log: FaultLog) -> DataSet:
    if not find_class_folders(root):
        expected = "folders, as layout class_folders asks for them"
        log.error("no-layout", str(root), found="no folder with photos", expected=expected)
        return _nothing(root)
    return read_class_folders(root, log)


def _nothing(root: Path | None) -> DataSet:
    return DataSet(root or Path(), "not understood", (), {ALL: ()})


def _judge(data_set: DataSet, log: FaultLog) -> None:
    """Note what is wrong with the whole, whatever the layout."""
    root = str(data_set.root)
    if len(data_set.class_names) > MAX_CLASSES:
        found = f"{len(data_set.class_names)} classes"
        log.error("too-many-classes", root, found=found, expected=f"at most {MAX_CLASSES}, as a label map has 8 bits")
    stopped = any(fault.severity == "error" for fault in log.faults)
    photos = data_set.splits[ALL]
    if not photos and not stopped:
        log.error("no-photos", root, found="no photo with known tags", expected="photos")
    elif not any(photo.tags for photo in photos) and not stopped:
        log.error("no-tags", root, found=f"no tag in {len(photos):,} photos", expected="tags of some photos")
