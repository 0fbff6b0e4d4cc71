import pickle
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from tag2mask.data.photos import FileError, open_photo, photo_size, to_upright_rgb

AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not read AVIF")
SIX = np.array([[0, 128, 255], [10, 20, 30]], np.uint8)


def save(tmp_path, image, name="photo.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_grey_is_repeated_in_three_channels(tmp_path):
    photo = open_photo(save(tmp_path, Image.fromarray(SIX)))

    assert photo.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(photo), np.repeat(SIX[..., None], 3, axis=2))


def test_16_bit_grey_keeps_its_range(tmp_path):
    deep = SIX.astype(np.uint16) * 257
    path = save(tmp_path, Image.fromarray(deep))

    np.testing.assert_array_equal(np.asarray(open_photo(path))[..., 1], SIX)


def test_transparent_pixels_are_laid_on_white(tmp_path):
    path = save(tmp_path, Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8)))

    assert np.asarray(open_photo(path)).tolist() == [[[255, 255, 255], [9, 9, 9]]]


def test_palette_colours_are_looked_up_and_transparent_ones_are_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([200, 0, 0, 0, 0, 200])
    path = save(tmp_path, image, transparency=1)

    assert np.asarray(open_photo(path)).tolist() == [[[200, 0, 0], [255, 255, 255]]]


def test_cmyk_becomes_rgb(tmp_path):
    path = save(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "photo.jpg", quality=95)

    red, green, blue = np.asarray(open_photo(path))[4, 4]
    assert red > 245
    assert max(green, blue) < 10


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = save(tmp_path, frames[0], "photo.gif", save_all=True, append_images=frames[1:])

    assert np.asarray(open_photo(path))[0, 0].tolist() == [255, 0, 0]


def test_photo_is_turned_upright_as_exif_says(tmp_path):
    exif = Image.Exif()
    # 6: the stored top is the right side, so it is turned by 90 degrees clockwise.
    exif[274] = 6
    path = save(tmp_path, Image.fromarray(SIX), exif=exif)

    np.testing.assert_array_equal(np.asarray(open_photo(path))[..., 0], np.rot90(SIX, k=-1))


@pytest.mark.parametrize("name", ["photo.png", "photo.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_turned_upright_as_pillow_would_do_it_and_once(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    # In colour: a grey TIFF is read wrongly by Pillow itself where it opens the file.
    path = save(tmp_path, Image.fromarray(SIX).convert("RGB"), name, exif=exif)

    photo = open_photo(path)

    with Image.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(photo), np.asarray(ImageOps.exif_transpose(stored)))
    # Of which only the head has been read.
    with Image.open(path) as opened:
        np.testing.assert_array_equal(np.asarray(to_upright_rgb(opened, path)), np.asarray(photo))
    np.testing.assert_array_equal(np.asarray(to_upright_rgb(photo, path)), np.asarray(photo))


def test_photo_is_turned_upright_as_xmp_says_where_exif_says_nothing(tmp_path):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = save(tmp_path, Image.fromarray(SIX), "photo.webp", lossless=True, xmp=xmp)

    photo = open_photo(path)

    np.testing.assert_array_equal(np.asarray(photo)[..., 0], np.rot90(SIX, k=-1))
    assert photo_size(path) == photo.size
    np.testing.assert_array_equal(np.asarray(to_upright_rgb(photo, path)), np.asarray(photo))


def exif_with(tag, kind, value):
    """EXIF that says to turn by 90 degrees and has one more tag, of whatever kind."""
    entries = struct.pack("<HHII", 274, 3, 1, 6) + struct.pack("<HHI4s", tag, kind, 1, value)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
@pytest.mark.parametrize(
    "exif",
    [
        exif_with(296, 4, struct.pack("<I", 70_000)),  # a unit beyond 16 bits
        exif_with(282, 2, b"abc"),  # a resolution in letters
    ],
    ids=["unit", "resolution"],
)
def test_damaged_exif_leaves_the_photo_and_its_turn(tmp_path, name, exif):
    path = save(tmp_path, Image.fromarray(SIX), name, exif=exif)
    with pytest.raises((TypeError, struct.error)), Image.open(path) as stored:
        ImageOps.exif_transpose(stored)

    photo = open_photo(path)

    assert photo.size == photo_size(path) == (2, 3)
    with Image.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(photo)[..., 0], np.rot90(np.asarray(stored), k=-1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0no TIFF", b"Exif\0\0II*\0", exif_with(282, 5, b"")[:20]], ids=["head", "end", "tag"]
)
def test_exif_that_cannot_be_read_says_nothing_of_a_turn(tmp_path, exif):
    path = save(tmp_path, Image.fromarray(SIX), exif=exif)

    assert open_photo(path).size == photo_size(path) == (3, 2)


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.tif", pytest.param("photo.avif", marks=AVIF)])
@pytest.mark.parametrize("orientation", [None, *range(11), 300])
def test_size_in_the_head_is_that_of_the_upright_photo(tmp_path, name, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    path = save(tmp_path, Image.fromarray(SIX), name, exif=exif)

    assert photo_size(path) == open_photo(path).size
    assert photo_size(path) == ((2, 3) if orientation in (5, 6, 7, 8) else (3, 2))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "zero bytes"),
        (b"hello, I am text", "content that begins b'hello, I'"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "a HEIC or AVIF photo"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "content that begins"),
    ],
)
def test_what_is_no_photo_is_told_with_its_file(tmp_path, content, found):
    path = tmp_path / "a b.jpg"
    path.write_bytes(content)

    with pytest.raises(FileError) as error:
        open_photo(path)

    assert str(error.value).startswith(f"{path}: found ")
    assert found in str(error.value)


def test_kind_that_is_not_read_is_told_even_where_pillow_finds_a_preview(tmp_path):
    Image.fromarray(SIX).save(tmp_path / "photo.DNG", format="TIFF")

    with pytest.raises(FileError, match=r"DNG: found a \.DNG file, expected JPEG or PNG\. Convert it to JPEG\.$"):
        open_photo(tmp_path / "photo.DNG")


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_truncated_photo_is_told(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[:1500])

    with pytest.raises(FileError, match="damaged"):
        open_photo(path)


def test_missing_photo_is_told(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        open_photo(tmp_path / "none.jpg")


# Pillow itself refuses above twice its limit and only warns between; we refuse above the limit.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("limit", "found"), [(1599, "40 x 40"), (100, "too many")])
def test_photo_over_the_pixel_limit_is_told(tmp_path, monkeypatch, limit, found):
    path = save(tmp_path, Image.new("RGB", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1600)
    assert open_photo(path).size == (40, 40)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(FileError) as error:
        open_photo(path)

    assert error.value.code == "too-large"
    assert (error.value.found, error.value.expected) == (f"{found} pixels", f"at most {limit:,}")


def test_pixels_without_a_known_range_are_told(tmp_path):
    path = save(tmp_path, Image.fromarray(np.zeros((2, 2), np.float32)), "photo.tif")

    with pytest.raises(FileError, match="8 or 16 bits"):
        open_photo(path)


@pytest.mark.parametrize("hint", ["", "Shrink it."])
def test_error_of_a_file_travels_from_one_process_to_another(tmp_path, hint):
    error = FileError("too-large", tmp_path / "a.png", found="9 pixels", expected="at most 8", hint=hint)

    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_want_of_memory_is_not_taken_for_damage(tmp_path, monkeypatch):
    def load(image: Image.Image) -> None:
        raise MemoryError

    path = save(tmp_path, Image.new("RGB", (2, 2)), "photo.jpg")
    opened = Image.open(path)
    monkeypatch.setattr(type(opened), "load", load)

    with pytest.raises(MemoryError):
        to_upright_rgb(opened, path)
    with pytest.raises(MemoryError):
        open_photo(path)
