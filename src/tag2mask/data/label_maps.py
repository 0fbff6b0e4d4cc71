"""Label maps on disk: PNG files whose pixels are class ids, with a palette so that people see the classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.data.drawn_masks import DrawnMask, LabelMap
from tag2mask.data.photos import FileError, decode, read_bytes
from tag2mask.data.sizes import Size
from tag2mask.files import replacing

_ID_MODES = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L")
_NUM_COLOURS_SHOWN = 6


def open_label_map(source: LabelMap) -> NDArray[np.uint8]:
    """Class ids (H, W), 0 = background, 255 = ignored, read from a file or drawn; EXIF never turns it.

    Raises:
        FileError: damaged, coded by colours, or with values that are no 8-bit ids.
    """
    return source.draw() if isinstance(source, DrawnMask) else _read(source)


def write_label_map(path: Path, label_map: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> None:
    """Write class ids (H, W) as a palette PNG; a killed run leaves no half file."""
    assert label_map.ndim == 2
    assert label_map.dtype == np.uint8
    image = Image.fromarray(label_map)
    image.putpalette([channel for colour in palette for channel in colour])
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def refuse_other_size(label_map: LabelMap, size: Size, photo_size: Size, *, photo: str = "its photo") -> None:
    """Refuse a label map that does not lie on its photo pixel by pixel.

    Args:
        label_map: its file, or what it is drawn from.
        size: its width and height.
        photo_size: those of the upright photo.
        photo: what the message calls it.

    Raises:
        FileError: they differ.
    """
    if size != photo_size:
        found, expected = (f"{width}x{height}" for width, height in (size, photo_size))
        raise FileError("mask-size", Path(str(label_map)), found=f"{found} pixels", expected=f"{expected} as {photo}")


def label_map_names(folder: Path) -> set[str]:
    """Names of the photos whose label maps are in the folder, whole; none where there is no folder yet."""
    return {path.relative_to(folder).as_posix().removesuffix(".png") for path in folder.rglob("*.png")}


def _read(path: Path) -> NDArray[np.uint8]:
    image = decode(path, read_bytes(path))
    if image.mode not in _ID_MODES:
        hint = "Write ids instead, as a palette or grey PNG: 0 background, 1 the first class, 2 the second, and so on."
        expected = "one channel of class ids"
        raise FileError("rgb-mask", path, found=_colours(image), expected=expected, hint=hint)
    values = np.asarray(image)
    if values.size and values.max() > 255:
        raise FileError("mask-value", path, found=f"value {values.max()}", expected="class ids from 0 to 255")
    return values.astype(np.uint8)


def _colours(image: Image.Image) -> str:
    rgb = image.convert("RGB")
    counts = rgb.getcolors(maxcolors=rgb.width * rgb.height) or []
    commonest = sorted(counts, key=lambda entry: entry[0], reverse=True)[:_NUM_COLOURS_SHOWN]
    # In an order of their own, so that files with the same colours share a line of the check.
    colours = sorted(colour for _, colour in commonest if isinstance(colour, tuple))
    names = " ".join("#" + "".join(f"{channel:02x}" for channel in colour) for colour in colours)
    more = f" and {len(counts) - len(commonest):,} more" if len(counts) > len(commonest) else ""
    return f"{image.mode} pixels with the colours {names}{more}"
