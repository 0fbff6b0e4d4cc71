import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.cams.store import StoredCams, full_size_maps, read_cams, write_cams
from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.records import Record
from tag2mask.evaluation.confusion import confusion_matrix
from tag2mask.evaluation.label_maps import LabelMapCounts, read_photo_scores
from tag2mask.evaluation.sweep import ThresholdSweep, read_sweep, sweep_photo
from tag2mask.pseudo_labels import label_map_from_maps
from tag2mask.runs.manifest import Manifest
from tag2mask.runs.stages import Stage
from tag2mask.stages import scores
from tag2mask.stages.scores import measure

NAMES = ("cat", "dog", "cow")


def drawn_photos(root: Path, count: int) -> list[Record]:
    """Photos with true masks, drawn maps and label maps; of the first one nothing is known, the second has no tag."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(count):
        name = f"{number:02}"
        tags = () if number == 1 else tuple(sorted(rng.choice([1, 2, 3], rng.integers(1, 4), replace=False).tolist()))
        truth = rng.choice(np.uint8([255] if number == 0 else [0, *tags, 255]), (8, 12))
        write_label_map(root / "truth" / f"{name}.png", truth, voc_palette())
        write_label_map(root / "labels" / f"{name}.png", rng.choice(np.uint8([0, 1, 2, 255]), (8, 12)), voc_palette())
        maps = rng.integers(0, 256, (len(tags), 2, 3), np.uint8)
        write_cams(root / "maps", name, StoredCams(np.uint8(tags), maps, 8, 12))
        records.append(Record(name, root / f"{name}.jpg", tags, root / "truth" / f"{name}.png"))
    return records


def stage_of(records: list[Record], level: str) -> Stage:
    return Stage("scores", "acr", f"scores/{level}-acr", records, Manifest({}, {}), (), level=level)


def plain_counts(pairs: list[tuple[Record, np.ndarray]]) -> LabelMapCounts:
    """Label maps one after the other."""
    counts = LabelMapCounts(NAMES)
    for record, label_map in pairs:
        assert record.label_map is not None
        counts.add(record.name, confusion_matrix(label_map, open_label_map(record.label_map), num_classes=3))
    return counts


def assert_scores_are(folder: Path, counts: LabelMapCounts) -> None:
    assert json.loads((folder / "label_maps.json").read_text()) == asdict(counts.scores())
    assert list(read_photo_scores(folder).items()) == list(counts.photos.items())


@pytest.mark.parametrize("num_processes", [1, 2])
def test_maps_score_as_at_every_threshold_and_as_label_maps_at_the_best_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_processes: int
):
    monkeypatch.setattr(scores, "_PHOTOS_A_PROCESS", 10)
    records = drawn_photos(tmp_path, 20)
    stored = [read_cams(tmp_path / "maps", record.name) for record in records]
    sweep = ThresholdSweep(len(NAMES))
    for record, cams in zip(records, stored, strict=True):
        assert record.label_map is not None
        truth = open_label_map(record.label_map)
        sweep.add(sweep_photo(full_size_maps(cams), cams.class_ids, truth, num_classes=len(NAMES)))

    measure(stage_of(records, "seed"), tmp_path / "maps", tmp_path, class_names=NAMES, num_processes=num_processes)

    found, best = read_sweep(tmp_path), sweep.scores().best()
    assert np.array_equal(found.counts, sweep.counts)
    assert 0 < best < 1
    seeds = [label_map_from_maps(full_size_maps(cams), cams.class_ids, threshold=best, uncertain=0) for cams in stored]
    assert_scores_are(tmp_path, plain_counts(list(zip(records, seeds, strict=True))))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_label_maps_score_as_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_processes: int):
    monkeypatch.setattr(scores, "_PHOTOS_A_PROCESS", 10)
    records = drawn_photos(tmp_path, 20)
    label_maps = [open_label_map(tmp_path / "labels" / f"{record.name}.png") for record in records]

    measure(stage_of(records, "crf"), tmp_path / "labels", tmp_path, class_names=NAMES, num_processes=num_processes)

    assert_scores_are(tmp_path, plain_counts(list(zip(records, label_maps, strict=True))))


def test_few_photos_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("tag2mask.workers.ProcessPoolExecutor", refuse)

    measure(
        stage_of(drawn_photos(tmp_path, 4), "crf"), tmp_path / "labels", tmp_path, class_names=NAMES, num_processes=2
    )

    assert len(read_photo_scores(tmp_path)) == 3


def test_photo_whose_maps_do_not_fit_its_mask_is_named(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")
    write_cams(tmp_path / "maps", "cat", StoredCams(np.array([1], np.uint8), np.zeros((1, 2, 1), np.uint8), 8, 4))
    record = Record("cat", tmp_path / "cat.png", (1,), tmp_path / "mask.png")

    with pytest.raises(ValueError, match=r"^cat: activation maps have shape"):
        measure(stage_of([record], "seed"), tmp_path / "maps", tmp_path, class_names=("cat",), num_processes=1)


@pytest.mark.parametrize(
    ("width", "label", "message"), [(3, 0, "prediction has shape"), (8, 4, "label map has class 4")]
)
def test_photo_whose_label_map_does_not_fit_its_mask_is_named(tmp_path: Path, width: int, label: int, message: str):
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")
    write_label_map(tmp_path / "labels" / "cat.png", np.full((8, width), label, np.uint8), voc_palette())
    record = Record("cat", tmp_path / "cat.png", (1,), tmp_path / "mask.png")

    with pytest.raises(ValueError, match=f"^cat: {message}"):
        measure(stage_of([record], "crf"), tmp_path / "labels", tmp_path, class_names=NAMES, num_processes=1)
