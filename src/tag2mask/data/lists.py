"""Text files that name one photo per line: the splits of VOC, and any list that a user writes."""

import re
from dataclasses import dataclass
from pathlib import Path

from tag2mask.data.faults import DataError, Fault
from tag2mask.data.names import PHOTO_SUFFIXES

_SUFFIXES = "|".join(sorted(suffix[1:] for suffix in PHOTO_SUFFIXES))
# A photo's name may hold spaces, so only a suffix tells where the first of two paths ends.
_PAIR = re.compile(rf"(?P<image>.+\.(?:{_SUFFIXES}))\s+(?P<label_map>\S.*\.png)", re.IGNORECASE)
_CLASS_VERDICT = re.compile(r"\S+\s+(-1|0|1)")


@dataclass(frozen=True)
class ListedPhoto:
    """One line of a list."""

    row: int
    image: str
    """Name or path of the photo, as written."""
    label_map: str | None
    """Path of its label map, where the line has two paths."""


def read_list(path: Path) -> tuple[ListedPhoto, ...]:
    """The photos of a list: lines `name`, `name.jpg`, or `/JPEGImages/name.jpg /SegmentationClassAug/name.png`."""
    listed = []
    for row, line in enumerate(_read_text(path).splitlines(), start=1):
        text = line.strip()
        if not text:
            continue
        pair = _PAIR.fullmatch(text)
        if pair:
            listed.append(ListedPhoto(row, pair["image"], pair["label_map"]))
        else:
            listed.append(ListedPhoto(row, text, None))
    return tuple(listed)


def is_class_list(listed: tuple[ListedPhoto, ...]) -> bool:
    """Whether this is VOC's `cat_train.txt`, whose lines are a name and whether the photo shows the class."""
    return bool(listed) and all(_CLASS_VERDICT.fullmatch(photo.image) for photo in listed)


def find_list(root: Path, name: str) -> Path | None:
    """The file that a split's name means if it is a path, from the current folder or the data set's; else None."""
    below = root / name
    return list_of_here(name) or (below if below.is_file() else None)


def list_of_here(name: str) -> Path | None:
    """The file that a split's name means in the current folder, if it has a folder or a suffix: `./some`, `some.txt`.

    So `train` is always the split, even where the current folder has a file called train.
    """
    path = Path(name)
    is_path = path.name != name or path.suffix
    return path if is_path and path.is_file() else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError([Fault("error", "list", str(path), None, str(error), "a UTF-8 text file")]) from error
