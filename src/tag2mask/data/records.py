"""What is known of a photo before it is opened, whatever the data set."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tag2mask.data.drawn_masks import DrawnMask, LabelMap
from tag2mask.data.faults import DataError, Fault, FaultLog, did_you_mean
from tag2mask.data.lists import find_list, read_list
from tag2mask.data.photo_files import PhotoFiles, find_listed

ALL = "all"
TRAIN = "train"

_NUM_NAMED = 3
_USUAL_SPLIT = re.compile(r"(train|val|test)(ing|id|idation)?(\d{4})?")


@dataclass(frozen=True)
class Record:
    """One photo with its tags."""

    name: str
    """Unique within the data set: the path below the photo folder, without suffix, with `/` between folders."""
    image: Path
    """File of the photo."""
    tags: tuple[int, ...]
    """Sorted class ids, 1 for the first class; empty for a photo without tags."""
    label_map: LabelMap | None = None
    """File of the true label map, or what it is drawn from: class ids, 0 = background, 255 = ignored."""

    @property
    def label_map_file(self) -> Path | None:
        """File that decides what the true label map is."""
        return self.label_map.annotations if isinstance(self.label_map, DrawnMask) else self.label_map


@dataclass(frozen=True)
class DataSet:
    """Photos with their tags, grouped in named splits."""

    root: Path
    """Folder it was read from."""
    layout: str
    """In words: what kind of folder this is and where the tags come from."""
    class_names: tuple[str, ...]
    """Foreground classes in the order of their ids, which begin at 1."""
    splits: dict[str, tuple[Record, ...]]
    """Records by split name; a photo may be in several splits. `all` holds every photo."""
    faults: tuple[Fault, ...] = ()
    """What was noticed while reading; only warnings in a data set that can be used."""

    def split(self, name: str) -> tuple[Record, ...]:
        """Records of a split, by its name or by the path of a text file with one photo per line."""
        if name in self.splits:
            return self.splits[name]
        path = find_list(self.root, name)
        if path is None:
            expected = f"one of {', '.join(self.splits)}, or the path of a text file"
            hint = f"Did you mean ./{name}?" if Path(name).is_file() else did_you_mean(name, self.splits)
            raise DataError([Fault("error", "unknown-split", "split", None, repr(name), expected, hint)])
        return self._listed(path)

    def _listed(self, path: Path) -> tuple[Record, ...]:
        records = {record.name + record.image.suffix: record for record in self.splits[ALL]}
        # A name is the path below the photo folder, so the folder is what the name leaves of the path.
        folders = [record.image.parents[record.name.count("/")] for record in records.values()]
        files = {key: record.image for key, record in records.items()}
        photos = PhotoFiles(self.root, folders[0] if folders else self.root, files)
        log = FaultLog()
        listed = find_listed(read_list(path), photos, log, file=str(path))
        if any(fault.severity == "error" for fault in log.faults):
            raise DataError(log.faults)
        return tuple(
            replace(records[key], label_map=label_map) if label_map else records[key]
            for key, label_map in listed.items()
        )


def split_role(name: str) -> str | None:
    """What a split is for by its usual name, perhaps of a year: `val` of Validation2017; none where it has its own."""
    usual = _USUAL_SPLIT.fullmatch(name.casefold())
    return usual[1] if usual else None


def group_in_splits(
    everything: Iterable[Record], splits: Mapping[str, Iterable[Record]], log: FaultLog, *, file_of_all: str = "splits"
) -> dict[str, tuple[Record, ...]]:
    """Splits with `all`, which holds every photo; where no other split is named these are to train.

    Args:
        everything: every photo of the data set.
        splits: by name; one called `all` may be among them where it names every photo.
        log: where it is noted that `all` names only some, and that photos are in no other split.
        file_of_all: what the fault names: the file of this split, if it has one of its own.
    """
    named = {name: tuple(records) for name, records in splits.items()}
    unique = {record.name: record for record in everything}
    listed = {record.name: record for record in named.pop(ALL, unique.values())}
    if listed.keys() != unique.keys():
        found = f"a split {ALL!r} of {len(listed):,} of the {len(unique):,} photos"
        log.error("split-name", file_of_all, found=found, expected=f"another name, as {ALL} means every photo")
    homeless = sorted(unique.keys() - {record.name for records in named.values() for record in records})
    if named and homeless:
        some = ", ".join(homeless[:_NUM_NAMED]) + ", ..." * (len(homeless) > _NUM_NAMED)
        found = f"{len(homeless):,} of the {len(unique):,} photos in none ({some})"
        hint = f"Only {ALL} has them. A blank cell names no split."
        log.warn("no-split", "splits", found=found, expected="each photo in one", hint=hint)
    # A list of all photos may say which label map each of them has.
    photos = tuple(record for _, record in sorted((unique | listed).items()))
    return {**(named or {TRAIN: photos}), ALL: photos}
