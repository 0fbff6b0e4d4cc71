"""Where a data set in COCO's format has its photos and annotation files: as COCO itself, or as a tool exports them."""

from pathlib import Path
from typing import NamedTuple

from tag2mask.data.records import split_role

_ANNOTATIONS = "annotations"
_IMAGES = "images"
_ROBOFLOW = "_annotations.coco.json"
_PREFIX = "instances_"
_ROLES = ("train", None, "val", "test")
"""Roles of splits, the one to train on first; None: a split whose name tells no role."""


class CocoSplit(NamedTuple):
    """Photos and the file that describes them."""

    name: str
    photos: str
    """Folder below the data set's, `/` between folders."""
    annotations: str
    """File below the data set's folder; it may be absent."""


def coco_splits(root: Path) -> tuple[CocoSplit, ...]:
    """Splits whose photos are there, those to train on first.

    Photos of `annotations/instances_SPLIT.json` are in `SPLIT`, as COCO has them, or in `images/SPLIT`; those of the
    only such file may be in `images`, as CVAT has them. Roboflow has `_annotations.coco.json` among the photos of each
    split. Folders called as COCO's, `train2017`, are splits without annotations too, but for its tests.
    """
    named = [path.stem.removeprefix(_PREFIX) for path in root.glob(f"{_ANNOTATIONS}/{_PREFIX}*.json")]
    found = {name: photos for name in named if (photos := _photos_of(root, name, is_only=len(named) == 1))}
    for path in root.glob("*/"):
        # A year is what is beyond the role.
        if split_role(path.name) == path.name[:-4] != "test":
            found.setdefault(path.name, path.name)
    splits = [CocoSplit(name, photos, f"{_ANNOTATIONS}/{_PREFIX}{name}.json") for name, photos in found.items()]
    for path in root.glob(f"*/{_ROBOFLOW}"):
        folder = path.parent.name
        if folder not in found and split_role(folder):
            splits.append(CocoSplit(folder, folder, f"{folder}/{_ROBOFLOW}"))
    return tuple(sorted(splits, key=lambda split: (_ROLES.index(split_role(split.name)), split.name)))


def is_coco(root: Path) -> bool:
    """Whether the folder has photos and annotations where they are looked for."""
    return any((root / split.annotations).parent.is_dir() for split in coco_splits(root))


def unread_annotations(root: Path) -> tuple[str, ...]:
    """Files named like annotations of COCO or Roboflow in a folder that is not laid out as theirs."""
    patterns = (f"{_ANNOTATIONS}/{_PREFIX}*.json", _ROBOFLOW, f"*/{_ROBOFLOW}")
    return tuple(sorted(path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern)))


def _photos_of(root: Path, split: str, *, is_only: bool) -> str | None:
    """The folder of a split's photos, below `root`."""
    places = [split, f"{_IMAGES}/{split}"]
    if is_only:
        places.append(_IMAGES)
    return next((place for place in places if (root / place).is_dir()), None)
