"""Photos, activations and label maps as `data:` URIs: small and, but for the photos, exact."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import StoredCams, read_cams, stored_maps
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import resize_label_map, resize_maps
from tag2mask.report.content import Column, EpochStrip
from tag2mask.report.figures import overlay_cam

_PHOTO_SIDE = 320
_STRIP_SIDE = 160
_QUALITY = 78


class Picture(NamedTuple):
    """What lies over a photo, as a grey PNG."""

    source: str
    """URI; pixels are class ids, or activations 0 to 255 with one class's map above the other's."""
    class_ids: tuple[int, ...] | None
    """Classes of the activations; None if pixels are class ids."""


class PhotoPictures(NamedTuple):
    """One photo with all that the page shows of it."""

    record: Record
    photo: str
    """URI of a JPEG."""
    width: int
    """Width of the photo in the page, in pixels, as is `height`."""
    height: int
    pictures: dict[str, Picture]
    """Pictures by the `source` of their column."""

    @property
    def num_bytes(self) -> int:
        """Bytes it takes in the page, without names and markup."""
        return len(self.photo) + sum(len(picture.source) for picture in self.pictures.values())


def photo_pictures(record: Record, columns: Sequence[Column]) -> PhotoPictures:
    """The photo, and its picture in every column that has one."""
    photo = small_photo(record.image, _PHOTO_SIDE)
    pictures: dict[str, Picture] = {}
    for column in columns:
        if column.source in pictures:
            continue
        match column.kind:
            case "labels":
                labels = labels_of(record, column)
                if labels is not None:
                    ids = Image.fromarray(resize_label_map(labels, photo.size))
                    pictures[column.source] = Picture(_png(ids), None)
            case _:
                cams = cams_of(record, column)
                if cams is not None:
                    pictures[column.source] = _activations(cams)
    return PhotoPictures(record, _jpeg(photo), *photo.size, pictures)


def strip_pictures(strip: EpochStrip, record: Record, epochs: Sequence[int]) -> list[str]:
    """URIs of JPEGs: the photo, and after each epoch the CAM of its first class over it.

    Args:
        strip: says where the CAMs are.
        record: one of the strip's photos.
        epochs: some of the strip's epochs.
    """
    photo = small_photo(record.image, _STRIP_SIDE)
    uris = [_jpeg(photo)]
    for epoch in epochs:
        cam = cam_of_class(read_cams(strip.folders[epoch], record.name), record.tags[0], photo.size)
        pixels = overlay_cam(np.asarray(photo), cam)
        uris.append(_jpeg(Image.fromarray(pixels)))
    return uris


def small_picture(path: Path) -> str:
    """URI of any picture, as a small JPEG."""
    return _jpeg(small_photo(path, _STRIP_SIDE))


def small_photo(path: Path, side: int) -> Image.Image:
    """The photo, brought down so that its long side has `side` pixels where it has more."""
    photo = open_photo(path)
    photo.thumbnail((side, side), Image.Resampling.LANCZOS)
    return photo


def cam_of_class(cams: StoredCams, class_id: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Activations of one class at the width and height of a small photo, 0 where the class was not predicted."""
    width, height = size
    # One map or none.
    found = stored_maps(cams)[cams.class_ids == class_id]
    shown: NDArray[np.float32] = resize_maps(found, height, width).sum(axis=0)
    return shown


def labels_of(record: Record, column: Column) -> NDArray[np.uint8] | None:
    """The label map of a photo in a column of label maps, None where there is none."""
    if column.folder is None:
        return open_label_map(record.label_map) if record.label_map else None
    path = column.folder / f"{record.name}.png"
    return open_label_map(path) if path.is_file() else None


def cams_of(record: Record, column: Column) -> StoredCams | None:
    """The activations of a photo in a column of activations, None where there are none."""
    assert column.folder is not None
    path = column.folder / f"{record.name}.npz"
    return read_cams(column.folder, record.name) if path.is_file() else None


def _activations(cams: StoredCams) -> Picture:
    maps = cams.maps
    if maps.dtype == np.uint16:
        # 65535 = 255 * 257.
        maps = np.rint(maps / 257).astype(np.uint8)
    stacked = maps.reshape(-1, maps.shape[2]) if len(maps) else np.zeros((1, 1), np.uint8)
    return Picture(_png(Image.fromarray(stacked)), tuple(cams.class_ids.tolist()))


def _jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return _uri("jpeg", buffer)


def _png(ids: Image.Image) -> str:
    """A grey PNG without colour profile, so that a browser gives back the exact values."""
    assert ids.mode == "L"
    buffer = io.BytesIO()
    ids.save(buffer, format="PNG", compress_level=9)
    return _uri("png", buffer)


def _uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
