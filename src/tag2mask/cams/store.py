"""Activation maps on disk: one small npz file per photo, without pickled objects, at a quarter of the photo's sides."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import ArrayLike, NDArray

from tag2mask.data.classes import BACKGROUND, MAX_CLASSES
from tag2mask.data.sizes import resize_maps
from tag2mask.files import replacing

STRIDE = 4
"""Pixels of the photo per side of a stored cell; IRN's stride of its low-resolution CAMs."""

_SUFFIX = ".npz"
# Sums and interpolation in float32 leave [0, 1] by less than this.
_ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class StoredCams:
    """Activation maps of one photo as they lie on disk."""

    class_ids: NDArray[np.uint8]
    """(K,) distinct ids from 1."""
    maps: NDArray[np.uint8] | NDArray[np.uint16]
    """(K, ceil(height / 4), ceil(width / 4)): 0 is activation 0, the type's highest value is activation 1."""
    height: int
    """Height of the photo in pixels."""
    width: int
    """Width of the photo in pixels."""

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise ValueError(fault)


def cams_from_full_size(class_ids: ArrayLike, maps: NDArray[np.float32]) -> StoredCams:
    """Samples maps at the centres of the stored cells, so that `full_size_maps` gives back nearly the same.

    Args:
        class_ids: (K,) distinct ids from 1.
        maps: (K, height, width) in [0, 1].
    """
    _check_range(maps)
    height, width = maps.shape[1:]
    size = stored_size(height, width)
    small = resize_maps(maps, *size)
    # Enlarging flattens peaks: adding once what is lost there and back makes the mIoU error several times smaller.
    small += resize_maps(maps - resize_maps(small, height, width), *size)
    return cams_from_stored_size(class_ids, small.clip(0, 1), height=height, width=width)


def cams_from_stored_size(class_ids: ArrayLike, maps: NDArray[np.float32], *, height: int, width: int) -> StoredCams:
    """Keeps maps that were made at the stored size already, with half-pixel centres.

    Args:
        class_ids: (K,) distinct ids from 1.
        maps: (K, ceil(height / 4), ceil(width / 4)) in [0, 1].
        height: of the photo.
        width: of the photo.
    """
    _check_range(maps)
    ids = np.asarray(class_ids, np.int64)
    fault = _class_ids_fault(ids)
    if fault:
        raise ValueError(fault)
    quantised = np.rint(maps.clip(0, 1) * np.float32(255)).astype(np.uint8)
    return StoredCams(ids.astype(np.uint8), quantised, height, width)


def stored_maps(cams: StoredCams) -> NDArray[np.float32]:
    """Activation maps (K, ceil(height / 4), ceil(width / 4)) in [0, 1]."""
    return cams.maps.astype(np.float32) / np.float32(np.iinfo(cams.maps.dtype).max)


def full_size_maps(cams: StoredCams) -> NDArray[np.float32]:
    """Activation maps (K, height, width) in [0, 1]."""
    return resize_maps(stored_maps(cams), cams.height, cams.width)


def stored_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the maps kept for a photo."""
    return -(-height // STRIDE), -(-width // STRIDE)


def write_cams(folder: Path, name: str, cams: StoredCams) -> None:
    """Writes the maps of photo `name`, which may hold `/` for folders, whole or not at all."""
    path = folder / f"{name}{_SUFFIX}"
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, class_ids=cams.class_ids, maps=cams.maps, height=np.int64(cams.height), width=np.int64(cams.width)
        )


def read_cams(folder: Path, name: str) -> StoredCams:
    """The maps of photo `name`; a ValueError of one line where the file is missing, broken or of another format."""
    path = folder / f"{name}{_SUFFIX}"
    if not path.is_file():
        raise ValueError(f"{path}: no such file, expected the activation maps of photo {name}")
    try:
        with path.open("rb") as file:
            return _from_arrays(np.load(file, allow_pickle=False))
    # NumPy and zipfile raise all of these on damaged bytes; RuntimeError where they read as an unknown compression.
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a file of activation maps: {reason}") from error


def stored_names(folder: Path) -> set[str]:
    """Names of the photos whose maps are in the folder, whole; none where there is no folder yet."""
    return {path.relative_to(folder).as_posix().removesuffix(_SUFFIX) for path in folder.rglob(f"*{_SUFFIX}")}


def _check_range(maps: NDArray[np.float32]) -> None:
    lowest, highest = maps.min(initial=0), maps.max(initial=0)
    # Written so that NaN fails too.
    if not (lowest >= -_ROUNDING and highest <= 1 + _ROUNDING):
        raise ValueError(f"activation maps reach from {lowest:.4g} to {highest:.4g}, expected 0 to 1")


def _from_arrays(archive: NpzFile | NDArray[np.generic]) -> StoredCams:
    if not isinstance(archive, NpzFile):
        raise ValueError("it holds a single array")
    arrays = dict(archive)
    missing = sorted({"class_ids", "maps", "height", "width"} - set(arrays))
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name in ("height", "width"):
        if arrays[name].shape != () or arrays[name].dtype.kind not in "iu":
            raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, expected one whole number")
    return StoredCams(
        class_ids=arrays["class_ids"],
        maps=arrays["maps"],
        height=int(arrays["height"]),
        width=int(arrays["width"]),
    )


def _fault(cams: StoredCams) -> str | None:
    """What is wrong with the arrays, in one line."""
    class_ids, maps = cams.class_ids, cams.maps
    if maps.dtype not in (np.uint8, np.uint16):
        return f"maps are {maps.dtype}, expected uint8 or uint16"
    if class_ids.dtype != np.uint8 or class_ids.ndim != 1:
        return f"class_ids are {class_ids.dtype} {class_ids.shape}, expected uint8 (classes,)"
    expected = len(class_ids), *stored_size(cams.height, cams.width)
    if maps.shape != expected or 0 in expected[1:]:
        return (
            f"maps have shape {maps.shape}, but {len(class_ids)} classes at {cams.height}x{cams.width} need {expected}"
        )
    return _class_ids_fault(class_ids)


def _class_ids_fault(class_ids: NDArray[np.uint8] | NDArray[np.int64]) -> str | None:
    ids = class_ids.tolist()
    if len(set(ids)) != len(ids) or not all(BACKGROUND < class_id <= MAX_CLASSES for class_id in ids):
        return f"class_ids are {ids}, expected distinct ids from 1 to {MAX_CLASSES}"
    return None
