"""The photos and label maps that lie in a data set's folder, found by the names that rows and lists give them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tag2mask.data.faults import FaultLog
from tag2mask.data.lists import ListedPhoto
from tag2mask.data.names import PHOTO_SUFFIXES, UNREADABLE_SUFFIXES, NameIndex, path_inside, without_suffix
from tag2mask.data.result_folders import holds_results

MASK_FOLDERS = ("masks", "SegmentationClass", "SegmentationClassAug")
# Suffixes of masks, as people keep them.
_MASK_SUFFIXES = PHOTO_SUFFIXES | {".npy", ".npz", ".mat"}


@dataclass(frozen=True)
class PhotoFiles:
    """Photos below one folder."""

    root: Path
    """Folder of the data set."""
    folder: Path
    """Folder that photos are named from, `root` or below it."""
    files: dict[str, Path]
    """Photo by its path below `folder`, in sorted order."""
    unreadable: tuple[Path, ...] = ()
    """Photos of kinds that are not read and have no copy of a kind that is read."""

    @cached_property
    def index(self) -> NameIndex:
        """Finds a photo by what a row calls it."""
        return NameIndex(self.files)

    def resolve(self, name: str, log: FaultLog, *, file: str, row: int) -> str | None:
        """The key of the photo that `name` in this file and row means, or none after noting why."""
        inside = path_inside(self.root, name)
        if inside is None:
            log.error("outside", file, row=row, found=f"{name!r}", expected="a path inside the data set's folder")
            return None
        prefix = f"{self.folder.relative_to(self.root).as_posix()}/"
        keys = self.index.find(inside) or self.index.find(inside.removeprefix(prefix))
        if len(keys) == 1:
            return keys[0]
        if keys:
            found = f"{name!r}, which fits {' and '.join(keys[:3])}"
            log.error("ambiguous-photo", file, row=row, found=found, expected="one photo", hint="Write its path.")
        else:
            hint = self.index.suggest(inside)
            log.error("row-without-photo", file, row=row, found=f"{name!r}", expected="a photo's name", hint=hint)
        return None


@dataclass(frozen=True)
class LabelMapFiles:
    """Label maps of one or more folders; where two have a map for the same photo the first folder's counts."""

    files: dict[str, Path]
    """PNG file by its path below its folder, without suffix."""
    shared_stems: frozenset[str]
    """File names, without folder and suffix, that more than one photo has: they do not identify a photo."""

    def find(self, name: str) -> Path | None:
        """The label map of the photo `name`: at the same path, or of the same file name where that is unique."""
        stem = name.rsplit("/", 1)[-1]
        found = self.files.get(name)
        return found if found or stem in self.shared_stems else self.files.get(stem)


def find_listed(
    listed: Iterable[ListedPhoto], photos: PhotoFiles, log: FaultLog, *, file: str
) -> dict[str, Path | None]:
    """Keys of the photos of a list, each with the label map that its line names, None where it names none.

    Args:
        listed: the lines of the list.
        photos: all photos in the folder.
        log: where faults go, among them a photo that is there twice and counts once.
        file: the list, as faults name it.
    """
    found: dict[str, Path | None] = {}
    for photo in listed:
        key = photos.resolve(photo.image, log, file=file, row=photo.row)
        if key is None:
            continue
        if key in found:
            hint = "It counts once."
            log.warn("row-twice", file, row=photo.row, found=f"{photo.image!r} again", expected="it once", hint=hint)
            continue
        found[key] = None
        if photo.label_map is not None:
            inside = path_inside(photos.root, photo.label_map)
            found[key] = photos.root / inside if inside else None
            if inside is None or not (photos.root / inside).is_file():
                log.error("row-without-mask", file, row=photo.row, found=photo.label_map, expected="a label map")
    return found


def list_photos(root: Path, folder: Path, log: FaultLog, *, skip: Iterable[str] = ()) -> PhotoFiles:
    """All photos below `folder`, but for the subfolders named in `skip`.

    Two of one name are noted, and those of kinds that are not read.
    """
    skipped = frozenset(skip)
    files = {}
    names: dict[str, str] = {}
    unreadable = {}
    for path in _walk(folder):
        key = path.relative_to(folder).as_posix()
        if "/" in key and key.split("/")[0] in skipped:
            continue
        if path.suffix.lower() in UNREADABLE_SUFFIXES:
            unreadable[key.removesuffix(path.suffix)] = path
        if path.suffix.lower() not in PHOTO_SUFFIXES:
            continue
        files[key] = path
        other = names.setdefault(without_suffix(key), key)
        if other != key:
            log.error("same-name", key, found=f"the name of {other}", expected="one photo of a name", hint="Rename it.")
    left_out = tuple(path for name, path in unreadable.items() if name not in names)
    for path in left_out:
        file = path.relative_to(root).as_posix()
        hint = "It is left out. Convert it to JPEG."
        log.warn("unreadable-kind", file, found=f"a {path.suffix} file", expected="JPEG or PNG", hint=hint)
    return PhotoFiles(root, folder, files, left_out)


def list_label_maps(root: Path, folders: Iterable[str], photos: PhotoFiles, log: FaultLog) -> LabelMapFiles:
    """All PNG files of the folders of `root` that exist.

    Those that fit no photo are noted, and other kinds of masks that have no PNG file of the same name.
    """
    names = {without_suffix(key) for key in photos.files}
    stems = Counter(name.rsplit("/", 1)[-1] for name in names)
    shared_stems = frozenset(stem for stem, count in stems.items() if count > 1)
    files: dict[str, Path] = {}
    others = []
    for folder in folders:
        for path in _walk(root / folder):
            file = path.relative_to(root / folder).as_posix()
            key = file.removesuffix(path.suffix)
            if path.suffix.lower() != ".png":
                others.append((key, path))
            elif key in names or key in stems:
                files.setdefault(key, path)
            else:
                hint = f"It is left out. {photos.index.suggest(key)}".rstrip()
                expected = "a PNG file with the name of a photo"
                log.warn("mask-without-photo", f"{folder}/{file}", found="another name", expected=expected, hint=hint)
    label_maps = LabelMapFiles(files, shared_stems)
    for key, path in others:
        if path.suffix.lower() in _MASK_SUFFIXES and label_maps.find(key) is None:
            hint = "It is left out. Save class ids as PNG; JPEG changes them."
            file, found = path.relative_to(root).as_posix(), f"a {path.suffix} file"
            log.warn("mask-kind", file, found=found, expected="PNG", hint=hint)
    return label_maps


def warn_of_leftovers(photos: PhotoFiles, used: Iterable[str], log: FaultLog, *, place: str) -> None:
    """Note every photo that `place` (a list or table, in words) does not name."""
    taken = set(used)
    for key, path in photos.files.items():
        if key not in taken:
            file = path.relative_to(photos.root).as_posix()
            log.warn("photo-without-row", file, found=f"no mention in {place}", expected="one", hint="It is left out.")


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder in sorted order, without hidden ones, what macOS puts into archives, and results."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        if not path.is_dir():
            yield path
        elif not holds_results(path):
            yield from _walk(path)
