"""Opens a photo of any kind as upright 8-bit RGB; nothing is ever written into a data set."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from tag2mask.data.names import UNREADABLE_SUFFIXES

_KINDS = "JPEG or PNG"
_CONVERT = "Convert it to JPEG."
_HEIC_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif")
_UPRIGHT = 1
_ORIENTATIONS = range(1, 9)
_QUARTER_TURNS = range(5, 9)
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where Pillow finds an orientation. Its exif_transpose writes the rest anew, which a single damaged tag makes fail.
_TELLING_A_TURN = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")


class FileError(ValueError):
    """A photo or label map that cannot be used: the file, what was found in it and what was expected."""

    def __init__(self, code: str, path: Path, *, found: str, expected: str, hint: str = "") -> None:
        self.code = code
        self.path = path
        self.found = found
        self.expected = expected
        self.hint = hint
        text = f"{path}: found {found}, expected {expected}"
        super().__init__(f"{text}. {hint}" if hint else text)

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would hand the text alone to the new one, and so break a pool of processes.
        with_words = partial(FileError, found=self.found, expected=self.expected, hint=self.hint)
        return with_words, (self.code, self.path)


def open_photo(path: Path) -> Image.Image:
    """The photo as 8-bit RGB, turned upright as its EXIF says.

    Grey is repeated in three channels, 16 bits become 8 by dividing by 257, CMYK and palettes are converted, what is
    transparent is laid on white, and of several frames or pages the first is taken.

    Raises:
        FileError: the file is missing, no photo, damaged, or too large.
    """
    return to_upright_rgb(decode(path, read_bytes(path)), path)


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright photo, from the head of its file alone."""
    with Image.open(path) as image:
        # Pillow gives the size of a TIFF as it is once it has been turned, whether it is loaded or not.
        on_its_side = _orientation(image) in _QUARTER_TURNS and image.format != "TIFF"
        return image.size[::-1] if on_its_side else image.size


def read_bytes(path: Path) -> bytes:
    """Content of a file that should hold an image.

    Raises:
        FileError: it cannot be read or is empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        found = error.strerror or str(error)
        raise FileError("unreadable", path, found=found, expected="a file that can be read") from error
    if not content:
        raise FileError("empty-file", path, found="zero bytes", expected="an image")
    return content


def decode(path: Path, content: bytes) -> Image.Image:
    """The first frame as it is stored: no turn, no change of mode.

    Raises:
        FileError: not an image, of a kind that is not read, damaged, or over Pillow's limit of pixels.
    """
    if path.suffix.lower() in UNREADABLE_SUFFIXES:
        raise FileError("unreadable-kind", path, found=f"a {path.suffix} file", expected=_KINDS, hint=_CONVERT)
    try:
        image = Image.open(io.BytesIO(content))
        _refuse_too_large(path, image.size)
        image.load()
    except UnidentifiedImageError as error:
        raise _not_an_image(path, content) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, "too many") from error
    except (FileError, MemoryError):
        raise
    # Each of Pillow's decoders lets its own parser's errors through: OSError, SyntaxError, struct.error, and others.
    except Exception as error:
        raise _damaged(path, error) from error
    return image


def is_turned(image: Image.Image, content: bytes) -> bool:
    """Whether EXIF says that the picture stored in a file is not upright.

    Args:
        image: decoded.
        content: of its file.
    """
    # Pillow turns a TIFF itself as it decodes it, and then forgets that it did.
    stored = Image.open(io.BytesIO(content)) if image.format == "TIFF" else image
    return _orientation(stored) != _UPRIGHT


def to_upright_rgb(image: Image.Image, path: Path) -> Image.Image:
    """The photo, decoded or opened alone, as `open_photo` gives it.

    Raises:
        FileError: it is damaged, or its pixels have no range that means a brightness.
    """
    # First, for a TIFF is turned by Pillow as it is decoded.
    try:
        image.load()
    except MemoryError:
        raise
    # As in `decode`.
    except Exception as error:
        raise _damaged(path, error) from error
    orientation = _orientation(image)
    if orientation != _UPRIGHT:
        image = image.transpose(_TO_UPRIGHT[orientation])
        # Or it would be turned again wherever it is taken for a photo of a file.
        image.info = {key: value for key, value in image.info.items() if key not in _TELLING_A_TURN}
    if image.mode.startswith("I"):
        return _from_16_bits(image, path)
    if image.mode == "F":
        raise FileError("float-pixels", path, found="pixels with decimals", expected="8 or 16 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; whatever else is written there means nothing, so that it is upright."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
    # Of damaged EXIF Pillow's parser lets errors of many kinds through; the picture is none the worse for it.
    except Exception:
        return _UPRIGHT
    return int(value) if value in _ORIENTATIONS else _UPRIGHT


def _from_16_bits(image: Image.Image, path: Path) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        found = f"pixels from {values.min()} to {values.max()}"
        raise FileError("deep-pixels", path, found=found, expected="8 or 16 bits a channel")
    # 65535 = 255 * 257, so white stays white.
    return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")


def _refuse_too_large(path: Path, size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise _too_large(path, f"{size[0]:,} x {size[1]:,}")


def _too_large(path: Path, num_pixels: str) -> FileError:
    expected = f"at most {Image.MAX_IMAGE_PIXELS:,}"
    return FileError("too-large", path, found=f"{num_pixels} pixels", expected=expected, hint="Shrink it.")


def _damaged(path: Path, error: Exception) -> FileError:
    reason = str(error) or type(error).__name__
    return FileError("damaged", path, found=f"a damaged file ({reason})", expected="a whole image")


def _not_an_image(path: Path, content: bytes) -> FileError:
    if content[4:12] in _HEIC_BRANDS:
        return FileError("not-an-image", path, found="a HEIC or AVIF photo", expected=_KINDS, hint=_CONVERT)
    return FileError("not-an-image", path, found=f"content that begins {content[:8]!r}", expected="an image")
