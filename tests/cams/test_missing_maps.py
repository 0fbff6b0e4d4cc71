from pathlib import Path

import numpy as np
from free_memory import expect_given_back
from lightning_fabric import Fabric

from tag2mask.cams.missing_maps import write_missing_maps
from tag2mask.cams.store import cams_from_full_size, stored_names, write_cams
from tag2mask.data.records import Record
from tag2mask.workers import Inference


def test_memory_of_photos_that_are_done_is_given_back(fabric: Fabric, tmp_path: Path):
    records = [Record(str(number), tmp_path / f"{number}.jpg", (1,)) for number in range(10)]

    def write(record: Record) -> None:
        write_cams(tmp_path, record.name, cams_from_full_size([1], np.zeros((1, 4, 4), np.float32)))

    with expect_given_back():
        write_missing_maps(
            Inference(fabric, records, tmp_path, 1), prepare=lambda record: record, infer=lambda record: record,
            write=write, title="maps",
        )  # fmt: skip

    assert stored_names(tmp_path) == {record.name for record in records}
