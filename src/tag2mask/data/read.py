"""Reads a data set: recognises how its folder is laid out and gives its records, or every reason why it cannot."""

from dataclasses import replace
from pathlib import Path

from tag2mask.config import DataSettings, Layout
from tag2mask.data.class_folders import are_splits, find_class_folders, read_class_folders
from tag2mask.data.classes import MAX_CLASSES
from tag2mask.data.coco import read_coco
from tag2mask.data.coco_splits import coco_splits, is_coco, unread_annotations
from tag2mask.data.csv_layout import TABLES, find_table, other_tables, read_csv_layout
from tag2mask.data.faults import DataError, FaultLog, did_you_mean
from tag2mask.data.names import UNREADABLE_SUFFIXES
from tag2mask.data.records import ALL, TRAIN, DataSet
from tag2mask.data.voc import PHOTOS, TABLE, is_voc, read_voc

_NUM_ENTRIES_SHOWN = 10
_LAYOUTS = (
    "one of: VOC folders (JPEGImages with ImageSets, Annotations, SegmentationClass or labels.csv); "
    "COCO's format (train2017 or images with annotations/instances_train2017.json, train with _annotations.coco.json); "
    "photos with tags.csv (image,tags); photos with tags.csv (image and one 0/1 column per class); "
    "one folder of photos per class"
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
    return next((split.name for split in coco_splits(root)), TRAIN)


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
    layout = _recognise(root, log) if settings.layout == "auto" else settings.layout
    if layout not in ("voc", None) and settings.tag_source in ("boxes", "masks"):
        expected = "auto, as only VOC folders have tags of several sources"
        log.error("tag-source", "data.tag_source", found=settings.tag_source, expected=expected)
    match layout:
        case "voc":
            return _read_as_voc(root, settings, log)
        case "coco":
            return _read_as_coco(root, log)
        case "csv":
            return _read_as_csv(root, log)
        case "class_folders":
            return _read_as_class_folders(root, log)
        case _:
            return _nothing(root)


def _recognise(root: Path, log: FaultLog) -> Layout | None:
    """How the folder is laid out; none, which is noted, where it is so in no known way or in two."""
    table = find_table(root)
    folders: Layout | None = "voc" if is_voc(root) else "coco" if is_coco(root) else None
    # VOC's own labels.csv may lie beside its folders.
    is_own = folders == "voc" and table == root / TABLE
    if folders and table and not is_own:
        found, hint = f"{folders.upper()} folders and {table.name}", f"Choose layout {folders} or csv."
        log.error("two-layouts", str(root), found=found, expected="one layout", hint=hint)
        return None
    if folders:
        return folders
    if table:
        return "csv"
    if coco_splits(root):
        return "coco"
    if find_class_folders(root) and not _why_no_classes(root):
        for name in other_tables(root):
            if Path(name).stem.casefold() in {Path(read).stem for read in TABLES}:
                log.warn("other-table", name, found="a table", expected=TABLES[0], hint="It is not read.")
        return "class_folders"
    entries = sorted(path.name for path in root.iterdir())
    more = f" and {len(entries) - _NUM_ENTRIES_SHOWN:,} more" if len(entries) > _NUM_ENTRIES_SHOWN else ""
    found = f"{', '.join(entries[:_NUM_ENTRIES_SHOWN])}{more}" if entries else "an empty folder"
    log.error("no-layout", str(root), found=found, expected=_LAYOUTS, hint=_hint(root))
    return None


def _why_no_classes(root: Path) -> str:
    """What speaks against folders of photos being classes, as a sentence; empty where nothing does."""
    names = [folder.name for folder in find_class_folders(root).get("", ())]
    annotations = unread_annotations(root)
    if names and annotations:
        return f"{annotations[0]} is not read, as its photos are not where COCO, CVAT or Roboflow have them."
    if are_splits(names):
        return f"Folders called {', '.join(names)} are splits, and nothing gives the photos' tags."
    return ""


def _hint(root: Path) -> str:
    """What to do with a folder that is not understood; empty where nothing is known."""
    below = sorted(path for pattern in ("*/", "*/*/") for path in root.glob(pattern))
    meant = next((path for path in below if (path / PHOTOS).is_dir() or find_table(path) or is_coco(path)), None)
    if meant is not None:
        return f"Did you mean its folder {meant.relative_to(root).as_posix()!r}?"
    tables = other_tables(root)
    if tables:
        return f"If {' or '.join(tables)} has the tags, save it as {TABLES[0]}."
    reason = _why_no_classes(root)
    if reason:
        return f"{reason} If the folders are classes, choose layout class_folders."
    suffixes = {path.suffix for pattern in ("*/*", "*/*/*") for path in root.glob(pattern)}
    kinds = sorted(suffix for suffix in suffixes if suffix.lower() in UNREADABLE_SUFFIXES)
    return f"Convert its {' and '.join(kinds)} files to JPEG." if kinds else ""


def _read_as_voc(root: Path, settings: DataSettings, log: FaultLog) -> DataSet:
    if not (root / PHOTOS).is_dir():
        log.error("no-layout", str(root), found=f"no folder {PHOTOS}", expected=f"{PHOTOS}, as layout voc asks for it")
        return _nothing(root)
    return read_voc(root, settings, log)


def _read_as_coco(root: Path, log: FaultLog) -> DataSet:
    if not coco_splits(root):
        found, expected = "no folder train2017, val2017 or the like", "photos there, as layout coco asks for them"
        log.error("no-layout", str(root), found=found, expected=expected)
        return _nothing(root)
    return read_coco(root, log)


def _read_as_csv(root: Path, log: FaultLog) -> DataSet:
    table = find_table(root)
    if table is None:
        found = f"no {' or '.join(TABLES)}"
        log.error("no-layout", str(root), found=found, expected="a table, as layout csv asks for it")
        return _nothing(root)
    return read_csv_layout(root, table, log)


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
