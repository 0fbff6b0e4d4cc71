"""Fixtures: a photo as a camera takes it, the same brought down, and activation maps of both."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.cams.store import cams_from_stored_size, stored_size, write_cams
from tag2mask.data.records import Record
from tag2mask.data.sizes import reduce_photo, resize_maps

LARGE, SMALL = (3000, 2000), (200, 133)


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """A photo of a disc, `large` and brought down to `small`."""
    root = tmp_path_factory.mktemp("photos")
    row, column = np.mgrid[-1:1:2000j, -1.5:1.5:3000j]
    pixels = np.full((2000, 3000, 3), 70, np.uint8)
    pixels[row**2 + column**2 < 0.4] = (200, 90, 40)
    photo = Image.fromarray(pixels)
    photo.save(root / "large.bmp")
    reduce_photo(photo, SMALL[0]).save(root / "small.bmp")
    row, column = np.mgrid[-1:1:500j, -1.5:1.5:750j]
    hill = np.exp(-3 * (row**2 + column**2)).astype(np.float32)
    maps = np.stack([hill, hill[:, ::-1] * 0.5])
    for name, (width, height) in {"large": LARGE, "small": SMALL}.items():
        coarse = resize_maps(maps, *stored_size(height, width))
        write_cams(root / "cams", name, cams_from_stored_size([2, 5], coarse, height=height, width=width))
    return {name: Record(name, root / f"{name}.bmp", (2, 5)) for name in ("large", "small")}


@pytest.fixture(scope="session")
def cams(records: dict[str, Record]) -> Path:
    """Folder of the maps of both photos."""
    return records["large"].image.parent / "cams"
