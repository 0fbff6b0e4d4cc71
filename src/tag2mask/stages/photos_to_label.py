"""Which photos are to be predicted, and the names of their predictions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tag2mask.data.csv_layout import find_table
from tag2mask.data.faults import FaultLog
from tag2mask.data.names import without_suffix
from tag2mask.data.photo_files import MASK_FOLDERS, list_photos
from tag2mask.data.voc import is_voc


def photos_of_places(places: Sequence[Path], *, without: Path) -> dict[str, Path]:
    """The given photos and all photos of the given folders, by name; one found in several places is listed once.

    Args:
        places: photos and folders, as `photos_below` takes them.
        without: subfolder that is left out, for predictions may go there.

    Raises:
        ValueError: two photos would be called the same, or one of the places holds none.
    """
    photos: dict[str, Path] = {}
    for place in places:
        known = {photo.resolve() for photo in photos.values()}
        # Some disks do not tell a.png from A.png.
        called = {name.casefold(): photo for name, photo in photos.items()}
        for name, photo in photos_below(place, without=without).items():
            if photo.resolve() in known:
                continue
            if name.casefold() in called:
                raise ValueError(
                    f"{called[name.casefold()]} and {photo}: found two photos for the mask {name}.png, expected a name "
                    "each: give the folder above them"
                )
            photos[name] = photo
    return photos


def photos_below(folder: Path, *, without: Path) -> dict[str, Path]:
    """All photos of a folder by name: the path below it without suffix, or with it where two names would be the same.

    Args:
        folder: is searched with its subfolders, but for those of results and the masks of a data set; or a single
            photo.
        without: subfolder that is left out, for predictions may go there.

    Raises:
        ValueError: there is none, or predictions cannot go there.
    """
    if not folder.exists():
        raise ValueError(f"{folder}: no such file or folder, expected a photo or a folder of photos")
    if without.is_file():
        raise ValueError(f"{without}: found a file, expected a folder for predictions")
    if folder.is_file():
        return {folder.stem: folder}
    out = without.resolve()
    if out in _with_parents(folder):
        raise ValueError(
            f"{without}: holds the photos of {folder}, expected a folder beside or below it for predictions"
        )
    # In a data set only the photos are searched.
    skipped = MASK_FOLDERS if find_table(folder) or is_voc(folder) else ()
    found = list_photos(folder, folder, FaultLog(), skip=skipped)
    # What is not read either is told where it fails, like a damaged file.
    files = found.files | {path.relative_to(folder).as_posix(): path for path in found.unreadable}
    # Folder by folder: there may be very many photos.
    outside = {place for place in {path.parent for path in files.values()} if out not in _with_parents(place)}
    photos = {key: path for key, path in files.items() if path.parent in outside}
    if not photos:
        raise ValueError(
            f"{folder}: found no photo, expected files such as photo.jpg in it or its subfolders (results do not count)"
        )
    return _by_name(photos)


def _with_parents(folder: Path) -> tuple[Path, ...]:
    place = folder.resolve()
    return (place, *place.parents)


def _by_name(photos: Mapping[str, Path]) -> dict[str, Path]:
    """Photos by their keys without suffix, or with it where another photo has the same name when case is ignored."""
    num_named = Counter(without_suffix(key).casefold() for key in photos)
    # A photo a.jpg.png is not called a.jpg, lest that be the name of a.jpg beside a.png.
    whole = {key.casefold() for key in photos}

    def name(key: str) -> str:
        short = without_suffix(key)
        return key if num_named[short.casefold()] > 1 or short.casefold() in whole else short

    return {name(key): path for key, path in photos.items()}
