from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.cams.store import StoredCams, write_cams
from tag2mask.data.records import Record
from tag2mask.report.agreement import compare_levels
from tag2mask.report.content import Column, Gallery


def test_foreground_and_agreement_are_counted_without_unlabelled_pixels(tmp_path: Path):
    maps = np.zeros((1, 1, 1), np.uint8)
    maps[0] = 102
    write_cams(tmp_path / "cams", "a", StoredCams(np.array([2], np.uint8), maps, 4, 4))
    labels = np.full((4, 4), 2, np.uint8)
    labels[0] = 0
    labels[1, :2] = 255
    (tmp_path / "crf").mkdir()
    Image.fromarray(labels).save(tmp_path / "crf" / "a.png")
    columns = (
        Column("acr", "cam", "heat", tmp_path / "cams"),
        Column("acr", "seed", "maps", tmp_path / "cams"),
        # Of another method, and so no level before the next.
        Column("baseline", "seed", "maps", tmp_path / "cams"),
        Column("acr", "crf", "labels", tmp_path / "crf"),
    )
    records = (Record("a", tmp_path / "a.jpg", (2,)), Record("b", tmp_path / "b.jpg", (2,)))
    gallery = Gallery("labels", records, columns, {}, None)

    seed, baseline, crf = compare_levels(gallery, records, {"seed-acr": 0.39, "seed-baseline": 0.9})
    at_the_activation, *_ = compare_levels(gallery, records, {"seed-acr": 0.4, "seed-baseline": 0.9})

    assert (seed.column.level, seed.num_photos, seed.foreground, seed.agreement) == ("seed", 1, 1.0, None)
    assert (baseline.foreground, baseline.agreement) == (0, None)
    assert (crf.column.level, crf.num_photos) == ("crf", 1)
    assert crf.foreground == pytest.approx(10 / 14)
    assert crf.agreement == pytest.approx(10 / 14)
    assert (seed.unlabelled, crf.unlabelled) == (0, 2 / 16)
    assert at_the_activation.foreground == 0
