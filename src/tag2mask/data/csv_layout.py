"""Layout csv: photos, a table of their tags such as `tags.csv`, and `masks/` where there are label maps."""

from collections import defaultdict
from pathlib import Path

from tag2mask.data.classes import read_class_names
from tag2mask.data.faults import FaultLog
from tag2mask.data.names import without_suffix
from tag2mask.data.photo_files import MASK_FOLDERS, PhotoFiles, list_label_maps, list_photos, warn_of_leftovers
from tag2mask.data.records import DataSet, Record, group_in_splits
from tag2mask.data.tables import TaggedRow, read_tag_table, rows_by_photo, tag_ids

TABLES = ("tags.csv", "labels.csv")
_TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".xls", ".ods")
PHOTO_FOLDERS = ("images", "photos", "JPEGImages")


def find_table(root: Path) -> Path | None:
    """The table of tags of a folder, None where it has none."""
    return next((root / name for name in TABLES if (root / name).is_file()), None)


def other_tables(root: Path) -> list[str]:
    """Names of the tables of a folder, but for hidden ones and the locks of a spreadsheet that is open."""
    paths = (path for path in root.iterdir() if path.suffix.lower() in _TABLE_SUFFIXES)
    return sorted(path.name for path in paths if not path.name.startswith((".", "~$")))


def read_csv_layout(root: Path, path: Path, log: FaultLog) -> DataSet:
    """Photos anywhere below the folder, with the tags of the table at `path`."""
    given = read_class_names(root / "classes.txt", log)
    table = read_tag_table(path, log, class_names=given)
    folder = next((root / name for name in PHOTO_FOLDERS if (root / name).is_dir()), root)
    photos = list_photos(root, folder, log, skip=MASK_FOLDERS)
    if table is None:
        return DataSet(root, f"photos and {path.name}", given or (), group_in_splits([], {}, log))
    rows = rows_by_photo(path, table, photos, log)
    warn_of_leftovers(photos, rows, log, place=path.name)
    # Sorted, because a table with a column of tags has no order of its own.
    seen = {tag for row in table.rows for tag in row.tags}
    class_names = given or table.columns or tuple(sorted(seen))
    splits = _make_records(path, rows, photos, log, class_names=class_names)
    kind = "one column per class" if table.columns else "tags"
    layout = f"photos, {kind} in {path.name} ({len(table.rows):,} rows, {len(class_names)} classes)"
    everything = [record for records in splits.values() for record in records]
    named = {split: records for split, records in splits.items() if split}
    return DataSet(root, layout, class_names, group_in_splits(everything, named, log))


def _make_records(
    path: Path, rows: dict[str, TaggedRow], photos: PhotoFiles, log: FaultLog, *, class_names: tuple[str, ...]
) -> dict[str, list[Record]]:
    """Records by split; those of rows without a split are under an empty name."""
    label_maps = list_label_maps(photos.root, MASK_FOLDERS, photos, log)
    splits: dict[str, list[Record]] = defaultdict(list)
    for key, row in rows.items():
        tags = tag_ids(row, class_names, log, file=path.name)
        name = without_suffix(key)
        splits[row.split].append(Record(name, photos.files[key], tags, label_maps.find(name)))
    return splits
