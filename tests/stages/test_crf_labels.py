from functools import partial
from pathlib import Path

import numpy as np
import pytest
from lightning_fabric import Fabric
from numpy.typing import NDArray

from tag2mask.config import CamSettings, CrfSettings, RefinementSettings
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.records import Record
from tag2mask.stages.crf_labels import write_crf_labels, write_relations


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
        write[level](fabric, [records[name]], cams=cams, folder=tmp_path, num_processes=1)
        return open_label_map(tmp_path / f"{name}.png")

    large, small = labels("large", 200), labels("small", 0)

    assert large.shape == (2000, 3000)
    assert len(np.unique(small)) > 1
    # Rows and columns in the middle of each pixel of the small one.
    rows, columns = (np.arange(133) * 2 + 1) * 2000 // 266, np.arange(200) * 15 + 7
    assert (large[np.ix_(rows, columns)] == small).mean() > 0.995
