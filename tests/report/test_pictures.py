import base64
import io
from pathlib import Path

import numpy as np
from drawn_run import DrawnRun
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import StoredCams, read_cams, write_cams
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.records import Record
from tag2mask.report.content import Column
from tag2mask.report.pictures import photo_pictures


def pixels(uri: str) -> NDArray[np.uint8]:
    kind, _, content = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def columns(run: DrawnRun) -> list[Column]:
    return [
        Column("acr", "cam", "heat", run.folder / "2-cams" / "acr"),
        Column("acr", "seed", "maps", run.folder / "2-cams" / "acr"),
        Column("acr", "crf", "labels", run.folder / "3-refined" / "acr" / "crf"),
        Column("", "truth", "labels", None),
    ]


def test_activations_and_ids_are_exact(masked_run: DrawnRun):
    record = masked_run.records[1]

    shown = photo_pictures(record, columns(masked_run))

    stored = read_cams(masked_run.folder / "2-cams" / "acr", record.name)
    assert set(shown.pictures) == {"cam-acr", "crf-acr", "truth-"}
    assert shown.pictures["cam-acr"].class_ids == record.tags
    assert np.array_equal(pixels(shown.pictures["cam-acr"].source), stored.maps[0])
    assert np.array_equal(pixels(shown.pictures["truth-"].source), open_label_map(record.label_map))
    assert pixels(shown.photo).shape == (shown.height, shown.width, 3) == (60, 80, 3)


def test_maps_of_several_classes_stand_above_each_other_in_8_bits(tmp_path: Path, masked_run: DrawnRun):
    record = masked_run.records[1]
    maps = np.arange(2 * 15 * 20).reshape(2, 15, 20) * 100
    write_cams(tmp_path, record.name, StoredCams(np.array([2, 1], np.uint8), maps.astype(np.uint16), 60, 80))

    shown = photo_pictures(record, [Column("acr", "cam", "heat", tmp_path)]).pictures["cam-acr"]

    assert shown.class_ids == (2, 1)
    assert np.array_equal(pixels(shown.source), np.rint(maps / 257).reshape(30, 20))


def test_large_photos_and_their_labels_are_shrunk_to_one_size(tmp_path: Path):
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (300, 640, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    labels = np.zeros((300, 640), np.uint8)
    labels[:, 320:] = 3
    Image.fromarray(labels).save(tmp_path / "a.png")

    shown = photo_pictures(
        Record("a", tmp_path / "a.jpg", (3,), tmp_path / "a.png"), [Column("", "truth", "labels", None)]
    )

    found = pixels(shown.pictures["truth-"].source)
    assert (shown.width, shown.height) == (320, 150)
    assert np.array_equal(found, labels[::2, ::2])


def test_a_photo_without_files_has_no_picture(tmp_path: Path, masked_run: DrawnRun):
    record = Record("val_00", masked_run.records[-1].image, (1,))

    assert photo_pictures(record, columns(masked_run)).pictures == {}
