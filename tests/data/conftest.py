"""A small data set that a test writes as it needs it."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.config import DataSettings
from tag2mask.data.check import CheckResult, check_data_set
from tag2mask.data.faults import Fault
from tag2mask.data.read import read_data_set
from tag2mask.data.records import DataSet

SIZE = (40, 36)


@dataclass(frozen=True)
class Folder:
    """The folder of a data set under construction."""

    root: Path

    def text(self, name: str, content: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def photo(self, name: str, *, content: str = "", size: tuple[int, int] = SIZE) -> Path:
        """A photo whose colour depends on its name, or on `content` so that two can be alike."""
        colour = tuple(zlib.crc32((content or name).encode(errors="surrogateescape")).to_bytes(4, "big")[:3])
        return self.image(name, Image.new("RGB", size, colour))

    def photos(self, *names: str) -> None:
        for name in names:
            self.photo(name)

    def image(self, name: str, image: Image.Image, **options: Any) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
        return path

    def mask(self, name: str, values: Sequence[int], *, size: tuple[int, int] = SIZE) -> Path:
        """A label map of vertical stripes, one a value."""
        row = np.asarray(values, np.uint8)[np.arange(size[0]) * len(values) // size[0]]
        return self.image(name, Image.fromarray(np.tile(row, (size[1], 1))))

    def settings(self, **settings: Any) -> DataSettings:
        return DataSettings(root=self.root, **settings)

    def read(self, **settings: Any) -> DataSet:
        return read_data_set(self.settings(**settings))

    def check(self, **settings: Any) -> CheckResult:
        return check_data_set(self.settings(**settings))

    def fault(self, code: str, **settings: Any) -> Fault:
        """The first fault of this kind that a check finds."""
        faults = self.check(**settings).faults
        found = [fault for fault in faults if fault.code == code]
        assert found, f"no {code} in {[fault.line for fault in faults]}"
        return found[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path / "pets"
    root.mkdir()
    return Folder(root)


@pytest.fixture
def pets(folder: Folder) -> Folder:
    """Six photos with a table of tags and nothing wrong."""
    folder.photos(*(f"{index}.png" for index in range(6)))
    folder.text("tags.csv", "image,tags\n0.png,cat\n1.png,cat\n2.png,dog\n3.png,dog\n4.png,cat;dog\n5.png,\n")
    return folder
