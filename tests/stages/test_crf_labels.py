import re
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import StoredCams, read_cams, stored_maps, write_cams
from tag2mask.config import CamSettings, CrfSettings, RefinementSettings
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import resize_maps
from tag2mask.refinement.crf import affinity_relations, irn_relations
from tag2mask.stages.crf_labels import write_crf_labels, write_relations
from tag2mask.workers import Inference


@pytest.mark.parametrize("level", ["seeds", "sure labels"])
def test_labels_of_a_camera_photo_are_those_of_the_photo_brought_down(
    level: str, fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path
):
    def labels(name: str, long_side: int) -> NDArray[np.uint8]:
        write = {
            "seeds": partial(
                write_crf_labels, settings=CrfSettings(long_side=long_side), cam_settings=CamSettings(threshold=0.25)
            ),
            "sure labels": partial(write_relations, settings=RefinementSettings(long_side=long_side)),
        }
        write[level](Inference(fabric, [records[name]], tmp_path, 1), cams=cams)
        return open_label_map(tmp_path / f"{name}.png")

    large, small = labels("large", 200), labels("small", 0)

    assert large.shape == (2000, 3000)
    assert len(np.unique(small)) > 1
    # Rows and columns in the middle of each pixel of the small one.
    rows, columns = (np.arange(133) * 2 + 1) * 2000 // 266, np.arange(200) * 15 + 7
    assert (large[np.ix_(rows, columns)] == small).mean() > 0.995


def test_constant_background_is_the_threshold_of_the_cams(
    fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path
):
    def foreground(threshold: float) -> float:
        folder = tmp_path / str(threshold)
        settings, cam_settings = CrfSettings(background="constant"), CamSettings(threshold=threshold)
        inference = Inference(fabric, [records["small"]], folder, 1)
        write_crf_labels(inference, cams=cams, settings=settings, cam_settings=cam_settings)
        return float((open_label_map(folder / "small.png") > 0).mean())

    assert foreground(0.1) > foreground(0.9) + 0.1


@pytest.mark.parametrize("method", ["irn", "affinity"])
def test_sure_labels_are_those_of_the_method(
    method: Literal["irn", "affinity"], fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path
):
    settings = RefinementSettings(method=method)

    write_relations(Inference(fabric, [records["small"]], tmp_path, 1), cams=cams, settings=settings)

    stored = read_cams(cams, "small")
    photo = np.asarray(open_photo(records["small"].image))
    maps = resize_maps(stored_maps(stored), stored.height, stored.width)
    of_irn, of_affinity = (
        make(photo, maps, stored.class_ids, settings=settings) for make in (irn_relations, affinity_relations)
    )
    assert not np.array_equal(of_irn, of_affinity)
    assert np.array_equal(open_label_map(tmp_path / "small.png"), of_irn if method == "irn" else of_affinity)


def test_photo_too_long_for_a_crf_is_named_with_the_setting_that_helps(fabric: Fabric, tmp_path: Path):
    Image.new("RGB", (1_900_000, 1)).save(tmp_path / "strip.png")
    write_cams(tmp_path, "strip", StoredCams(np.uint8([1]), np.ones((1, 1, 475_000), np.uint8), 1, 1_900_000))
    photos = [Record("strip", tmp_path / "strip.png", (1,))]
    inference = Inference(fabric, photos, tmp_path / "labels", 1)
    told = re.escape(f"{tmp_path / 'strip.png'}: found 1,900,000 x 1 pixels, expected fewer for a CRF. Bring it down")

    with pytest.raises(ValueError, match=rf"^{told} by crf.long_side.$"):
        write_crf_labels(inference, cams=tmp_path, settings=CrfSettings(), cam_settings=CamSettings())
    with pytest.raises(ValueError, match=rf"^{told} by refinement.long_side.$"):
        write_relations(inference, cams=tmp_path, settings=RefinementSettings())
