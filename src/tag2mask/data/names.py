"""Finds a photo by what a row calls it, and guesses what a name that fits nothing was meant to be."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from PIL import features

from tag2mask.data.faults import TWO_FORMS, fold

_READ = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
# Suffixes from phones, newer web sites and cameras; Pillow takes some for TIFF files of a preview's few pixels.
_NOT_READ = {".heic", ".heif", ".hif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"}
# Not every build of Pillow reads it.
_AVIF = {".avif"}

PHOTO_SUFFIXES = frozenset(_READ | _AVIF if features.check("avif") else _READ)
UNREADABLE_SUFFIXES = frozenset(_NOT_READ | _AVIF) - PHOTO_SUFFIXES
"""Suffixes of photos that are not read and would have to be converted first."""


class NameIndex:
    """Photos by their path, by their path without suffix, and by the end of either.

    Args:
        keys: paths below one folder, with suffix and `/` between folders.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys: set[str] = set()
        self._stems: dict[str, list[str]] = defaultdict(list)
        self._tails: dict[str, list[str]] = defaultdict(list)
        self._loose: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            self._keys.add(key)
            self._stems[without_suffix(key)].append(key)
            for tail in _tails(key):
                self._tails[tail].append(key)
                self._tails[without_suffix(tail)].append(key)
                self._loose[fold(without_suffix(tail))].append(key)

    def find(self, name: str) -> tuple[str, ...]:
        """Keys that `name` fits equally well: one is right, none is missing, several are ambiguous."""
        if name in self._keys:
            return (name,)
        return tuple(self._stems.get(name) or self._tails.get(name) or ())

    def suggest(self, name: str) -> str:
        """A hint that names the key which differs in case, spaces, suffix or Unicode form only, else empty."""
        for tail in _tails(name):
            if found := self._loose.get(fold(without_suffix(tail))):
                return f"Did you mean {found[0]!r}? {_difference(tail, found[0])}"
        return ""


def without_suffix(key: str) -> str:
    """The path without the suffix of a photo; other dots belong to the name."""
    path = PurePosixPath(key)
    return key[: -len(path.suffix)] if path.suffix.lower() in PHOTO_SUFFIXES else key


def path_inside(root: Path, name: str) -> str | None:
    """The path below `root` that a row means, or none if it leads outside."""
    text = name.strip().replace("\\", "/")
    if ".." in PurePosixPath(text).parts:
        return None
    if not PurePosixPath(text).is_absolute() and not PureWindowsPath(text).is_absolute():
        return str(PurePosixPath(text))
    for folder in Path(text).parents if Path(text).is_absolute() else ():
        if _is_same(folder, root):
            return Path(text).relative_to(folder).as_posix()
    # The lists of VOC write /JPEGImages/name.jpg and mean the data set's folder by the first slash.
    return text.lstrip("/") if (root / text.lstrip("/")).is_file() else None


def _is_same(folder: Path, root: Path) -> bool:
    """Whether both are one folder, by whatever name: links may lead to it."""
    try:
        return folder.samefile(root)
    except OSError:  # the folder is not there, or nobody may look
        return False


def _tails(key: str) -> list[str]:
    parts = key.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _difference(name: str, key: str) -> str:
    tail = "/".join(key.split("/")[-len(name.split("/")) :])
    if without_suffix(name) == name:
        tail = without_suffix(tail)
    if name == tail:
        return "The folder differs."
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", tail):
        return TWO_FORMS
    if name.casefold() == tail.casefold():
        return "Upper and lower case differ."
    if without_suffix(name) == without_suffix(tail):
        return "The suffix differs."
    return "Case, spaces, suffix or Unicode form differ."
