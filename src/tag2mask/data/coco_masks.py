"""Label maps beside the photos of a data set in COCO's format."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tag2mask.data.faults import FaultLog
from tag2mask.data.names import without_suffix
from tag2mask.data.photo_files import PhotoFiles

MASKS = ("mask", "masks", "SegmentationClass")
"""Folders that may hold them."""


def find_masks(root: Path, photos: PhotoFiles, ids: Iterable[tuple[str, str]], log: FaultLog) -> dict[str, Path]:
    """Label maps in the folder by the key of their photo, of two for one photo that in the first folder.

    A label map's path below its folder is the end of its photo's path, or else its file name is that of one photo and
    of no other label map; in a folder where no file is called like a photo, the photo's id stands for its name.

    Args:
        root: of the data set.
        photos: of all splits.
        ids: for each photo its path with the image id instead of the file name, and its key.
        log: where label maps that fit no photo, or several, are noted.
    """
    by_name = _by_ends((without_suffix(key), key) for key in photos.files)
    by_id = _by_ends(ids)
    masks: dict[str, Path] = {}
    for folder in MASKS:
        names = {
            path: path.relative_to(root / folder).with_suffix("").as_posix()
            for path in sorted((root / folder).rglob("*.png"))
        }
        num_called = Counter(path.stem for path in names)
        # All or none: where photos are called by numbers, the name of one may be the id of another.
        index = by_name if any(stem in by_name for stem in num_called) else by_id
        for path, name in names.items():
            keys = index.get(name) or (index.get(path.stem, []) if num_called[path.stem] == 1 else [])
            if len(keys) == 1:
                masks.setdefault(keys[0], path)
                continue
            found = f"a name that fits {' and '.join(keys[:3])}" if keys else "another name"
            hint = f"It is left out. {photos.index.suggest(name)}".rstrip()
            expected = "the name or the image id of one photo"
            log.warn("mask-without-photo", path.relative_to(root).as_posix(), found=found, expected=expected, hint=hint)
    return masks


def _by_ends(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Keys of photos by each end of the path that a photo is called by: of a/b/c also b/c and c."""
    keys = defaultdict(list)
    for name, key in names:
        folders = name.split("/")
        for start in range(len(folders)):
            keys["/".join(folders[start:])].append(key)
    return keys
