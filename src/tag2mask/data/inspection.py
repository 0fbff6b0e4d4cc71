"""Opens every photo and label map once and keeps the facts that a check judges."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tag2mask.data.digests import digest_content, digest_file
from tag2mask.data.drawn_masks import DrawnMask, LabelMap
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.photos import FileError, decode, is_turned, read_bytes, to_upright_rgb
from tag2mask.data.records import Record
from tag2mask.progress import is_first_process, track


@dataclass(frozen=True)
class PhotoFacts:
    """What a photo's file holds."""

    width: int
    """Width in pixels of the upright photo; `height` likewise."""
    height: int
    mode: str
    """Pillow's name of how pixels are stored."""
    has_alpha: bool
    is_turned: bool
    num_frames: int
    """Number of frames or pages; where a later one is damaged they are not counted, and it is 2."""
    num_bytes: int
    digest: str
    """Digest of the file's content; equal for exact copies."""


@dataclass(frozen=True)
class LabelMapFacts:
    """What a label map's file holds."""

    width: int
    height: int
    ids: tuple[int, ...]
    """Sorted values that have a pixel."""
    digest: str | None
    """Digest of the file's content; None for a label map that is drawn from outlines, which has no file of its own."""


@dataclass(frozen=True)
class RecordFacts:
    """Facts of one record, or why its files cannot be used."""

    photo: PhotoFacts | FileError
    label_map: LabelMapFacts | FileError | None
    """None for a record without a label map."""


def inspect_records(records: Sequence[Record]) -> list[RecordFacts]:
    """Facts of each record, in the order given. Threads share the work: Pillow decodes outside Python's lock."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # What Pillow warns of (too many pixels, broken EXIF) is either a fault of ours or does no harm.
        warnings.simplefilter("ignore")
        return list(track(pool.map(_inspect, records), len(records), "check of photos", shown=is_first_process()))


def inspect_photo(path: Path) -> PhotoFacts:
    """Decode a photo as training would, and keep its facts.

    Raises:
        FileError: it cannot be used.
    """
    content = read_bytes(path)
    image = decode(path, content)
    upright = to_upright_rgb(image, path)
    return PhotoFacts(
        width=upright.width,
        height=upright.height,
        mode=image.mode,
        has_alpha=image.has_transparency_data,
        is_turned=is_turned(image, content),
        num_frames=_num_frames(image),
        num_bytes=len(content),
        digest=digest_content(content),
    )


def inspect_label_map(source: LabelMap) -> LabelMapFacts:
    """Open a label map and keep its facts.

    Raises:
        FileError: it cannot be used.
    """
    label_map = open_label_map(source)
    counts = np.bincount(label_map.ravel(), minlength=256)
    ids = tuple(int(value) for value in np.flatnonzero(counts))
    digest = None if isinstance(source, DrawnMask) else digest_file(source)
    return LabelMapFacts(width=label_map.shape[1], height=label_map.shape[0], ids=ids, digest=digest)


def _inspect(record: Record) -> RecordFacts:
    photo: PhotoFacts | FileError
    label_map: LabelMapFacts | FileError | None = None
    try:
        photo = inspect_photo(record.image)
    except FileError as error:
        photo = error
    if record.label_map is not None:
        try:
            label_map = inspect_label_map(record.label_map)
        except FileError as error:
            label_map = error
    return RecordFacts(photo, label_map)


def _num_frames(image: Image.Image) -> int:
    try:
        # MPO is a phone's JPEG with previews behind it: one photo.
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    # Of a damaged frame behind the first Pillow lets errors of many kinds through, as of a damaged photo.
    except Exception:
        return 2
