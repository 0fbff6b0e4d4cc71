from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.cams.store import StoredCams, write_cams
from tag2mask.data.records import Record
from tag2mask.runs.manifest import Manifest
from tag2mask.runs.stages import Stage
from tag2mask.stages.scores import measure


def test_photo_whose_maps_do_not_fit_its_mask_is_named(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")
    write_cams(tmp_path / "maps", "cat", StoredCams(np.array([1], np.uint8), np.zeros((1, 2, 1), np.uint8), 8, 4))
    record = Record("cat", tmp_path / "cat.png", (1,), tmp_path / "mask.png")
    stage = Stage("scores", "acr", "scores/seed-acr", [record], Manifest({}, {}), (), level="seed")

    with pytest.raises(ValueError, match=r"^cat: activation maps have shape"):
        measure(stage, tmp_path / "maps", tmp_path / "scores", class_names=("cat",))
