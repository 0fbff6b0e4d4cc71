"""One folder of photos per class, perhaps below one folder per split: `train/cat/1.jpg` or `cat/1.jpg`."""

from collections.abc import Sequence
from pathlib import Path

from tag2mask.data.classes import is_background, read_class_names
from tag2mask.data.csv_layout import PHOTO_FOLDERS
from tag2mask.data.faults import FaultLog
from tag2mask.data.names import PHOTO_SUFFIXES, without_suffix
from tag2mask.data.photo_files import MASK_FOLDERS, list_label_maps, list_photos, warn_of_leftovers
from tag2mask.data.records import DataSet, Record, group_in_splits, split_role
from tag2mask.data.result_folders import holds_results
from tag2mask.data.tables import TaggedRow, tag_ids


def find_class_folders(root: Path) -> dict[str, tuple[Path, ...]]:
    """Class folders by split, under an empty name where there is no level of splits; empty if there are none."""
    folders = _subfolders(root)
    splits = {folder.name: _with_photos(folder) for folder in folders if split_role(folder.name)}
    splits = {split: classes for split, classes in splits.items() if classes}
    # A class may be called photos, but not the only one.
    if any(folder.name not in PHOTO_FOLDERS for classes in splits.values() for folder in classes):
        return splits
    classes = tuple(folder for folder in _with_photos(root) if folder.name not in PHOTO_FOLDERS)
    return {"": classes} if classes else {}


def are_splits(names: Sequence[str]) -> bool:
    """Whether these folders are splits: two or more are named like splits, or the only one is.

    A single such name among others may be a class, as VOC's `train` is.
    """
    splits = [name for name in names if split_role(name)]
    return len(splits) > 1 or len(splits) == len(names) == 1


def read_class_folders(root: Path, log: FaultLog) -> DataSet:
    """Photos whose one tag is the name of their folder; those in a folder `background` have none."""
    by_split = find_class_folders(root)
    seen = {folder.name for classes in by_split.values() for folder in classes if not is_background(folder.name)}
    class_names = read_class_names(root / "classes.txt", log) or tuple(sorted(seen))
    photos = list_photos(root, root, log, skip=MASK_FOLDERS)
    label_maps = list_label_maps(root, MASK_FOLDERS, photos, log)
    splits: dict[str, list[Record]] = {split: [] for split in by_split}
    used = []
    for split, classes in by_split.items():
        for folder in classes:
            place = folder.relative_to(root).as_posix()
            tag = () if is_background(folder.name) else (folder.name,)
            tags = tag_ids(TaggedRow(None, "", tag, split), class_names, log, file=place)
            for key in photos.files:
                if key.startswith(f"{place}/"):
                    name = without_suffix(key)
                    splits[split].append(Record(name, photos.files[key], tags, label_maps.find(name)))
                    used.append(key)
    warn_of_leftovers(photos, used, log, place="any class folder")
    everything = [record for records in splits.values() for record in records]
    layout = f"one folder per class ({len(class_names)} classes, {len(everything):,} photos)"
    named = {split: records for split, records in splits.items() if split}
    return DataSet(root, layout, class_names, group_in_splits(everything, named, log))


def _subfolders(folder: Path) -> list[Path]:
    ours = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))
    return sorted(path for path in ours if path.name not in MASK_FOLDERS and not holds_results(path))


def _with_photos(folder: Path) -> tuple[Path, ...]:
    """Subfolders that hold photos themselves."""
    return tuple(
        subfolder
        for subfolder in _subfolders(folder)
        if any(path.suffix.lower() in PHOTO_SUFFIXES for path in subfolder.iterdir())
    )
