import re
from pathlib import Path

import numpy as np
import pytest
from lightning_fabric import Fabric
from PIL import Image

from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.photos import FileError
from tag2mask.data.records import Record
from tag2mask.stages.labels import copy_label_maps
from tag2mask.workers import Inference

IDS = np.array([[0, 1, 20], [255, 7, 254]], np.uint8)


def test_label_map_survives_writing_and_reading(tmp_path):
    path = tmp_path / "deep" / "a b.png"

    write_label_map(path, IDS, voc_palette())

    np.testing.assert_array_equal(open_label_map(path), IDS)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette() == [channel for colour in voc_palette() for channel in colour]
    assert [entry.name for entry in path.parent.iterdir()] == ["a b.png"]


def test_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_label_map(path, IDS, voc_palette())

    def stop(self, name, **options):
        name.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(OSError, match="no space"):
        write_label_map(path, 255 - IDS, voc_palette())

    np.testing.assert_array_equal(open_label_map(path), IDS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_label_map_is_read_as_ids(tmp_path, dtype):
    Image.fromarray(IDS.astype(dtype)).save(tmp_path / "a.png")

    label_map = open_label_map(tmp_path / "a.png")

    assert label_map.dtype == np.uint8
    np.testing.assert_array_equal(label_map, IDS)


def test_exif_does_not_turn_a_label_map(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(IDS).save(tmp_path / "a.png", exif=exif)

    np.testing.assert_array_equal(open_label_map(tmp_path / "a.png"), IDS)


def test_label_map_coded_by_colours_is_told_with_its_colours(tmp_path):
    Image.fromarray(np.array([[[0, 0, 0], [128, 0, 0], [128, 0, 0]]], np.uint8)).save(tmp_path / "a.png")

    with pytest.raises(FileError, match=r"a.png: found RGB pixels with the colours #000000 #800000, expected one"):
        open_label_map(tmp_path / "a.png")


def test_ids_of_more_than_8_bits_are_told(tmp_path):
    Image.fromarray(np.array([[300]], np.uint16)).save(tmp_path / "a.png")

    with pytest.raises(FileError, match="value 300"):
        open_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("num_processes", [1, 2])
def test_damaged_label_map_is_told_in_the_same_line_by_a_pool_of_processes(fabric: Fabric, tmp_path, num_processes):
    for name in ("a", "b"):
        write_label_map(tmp_path / "crf" / f"{name}.png", np.zeros((64, 64), np.uint8), voc_palette())
    path = tmp_path / "crf" / "b.png"
    path.write_bytes(path.read_bytes()[:-30])
    records = [Record(name, Path(f"{name}.jpg"), ()) for name in ("a", "b")]

    with pytest.raises(FileError, match=re.escape(f"{path}: found a damaged file (")):
        copy_label_maps(Inference(fabric, records, tmp_path / "out", num_processes), labels=path.parent)
