import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.data.classes import VOC_CLASS_NAMES, voc_palette
from tag2mask.data.label_maps import write_label_map
from tag2mask.export.voc_server import write_voc_package

NAMES = ("2008_000001", "2008_000004")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Predictions of two test photos, and of a third that is not asked for."""
    for number, name in enumerate((*NAMES, "other")):
        write_label_map(tmp_path / "masks" / f"{name}.png", np.full((4, 5), 18 + number, np.uint8), voc_palette())
    return tmp_path / "masks"


def pack(masks: Path, name: str = "results.tar.gz", **changes: Any) -> Path:
    archive = masks.parent / name
    write_voc_package(masks, archive, **{"names": NAMES, "class_names": VOC_CLASS_NAMES} | changes)
    return archive


@pytest.mark.parametrize("name", ["results.tar", "results.tar.gz"])
def test_package_has_the_devkit_s_form(name: str, masks: Path):
    with tarfile.open(pack(masks, name)) as package:
        found = {member.name: package.extractfile(member).read() for member in package.getmembers()}
        owners = {(member.uname, member.uid, member.mtime) for member in package.getmembers()}

    folder = "results/VOC2012/Segmentation/comp6_test_cls"
    assert found == {f"{folder}/{name}.png": (masks / f"{name}.png").read_bytes() for name in NAMES}
    assert owners == {("", 0, 0)}


def test_compressed_package_is_gzip(masks: Path):
    assert pack(masks, "a.tar.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert pack(masks, "a.tar").read_bytes()[:2] != b"\x1f\x8b"


@pytest.mark.parametrize("label", [21, 255])
def test_ids_that_voc_does_not_have_are_refused(label: int, masks: Path):
    write_label_map(masks / f"{NAMES[1]}.png", np.array([[0, label]], np.uint8), voc_palette())

    with pytest.raises(ValueError, match=rf"2008_000004\.png: found class id {label}, expected 0 to 20"):
        pack(masks)

    assert not (masks.parent / "results.tar.gz").exists()


def test_classes_other_than_voc_s_are_refused(masks: Path):
    with pytest.raises(ValueError, match=r"found 2 classes \(cat, dog, \.\.\.\), expected the 20 of VOC"):
        pack(masks, class_names=("cat", "dog"))


def test_missing_prediction_is_told(masks: Path):
    with pytest.raises(ValueError, match=r"2008_000009\.png: found No such file"):
        pack(masks, names=("2008_000009",))


def test_archive_of_another_kind_is_refused(masks: Path):
    with pytest.raises(
        ValueError, match=r"found the name .*results\.zip, expected one that ends in \.tar or \.tar\.gz$"
    ):
        pack(masks, "results.zip")
