from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import label_map_names, write_label_map
from tag2mask.data.records import Record
from tag2mask.stages.missing import write_missing
from tag2mask.workers import Inference


def test_only_label_maps_that_are_missing_are_written(fabric: Fabric, tmp_path: Path):
    records = [Record(name, tmp_path / f"{name}.jpg", (1,)) for name in ("cat", "more/cat", "dog")]
    written = []

    def write(record: Record) -> None:
        written.append(record.name)
        write_label_map(tmp_path / f"{record.name}.png", np.zeros((2, 2), np.uint8), voc_palette())

    write(records[1])
    for _ in range(2):
        write_missing(Inference(fabric, records, tmp_path, 1), write, title="labels")

    assert written == ["more/cat", "cat", "dog"]
    assert label_map_names(tmp_path) == {"cat", "more/cat", "dog"}
