"""Draws a run as all its stages would leave it, with NumPy and Pillow alone."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import cams_from_full_size, full_size_maps, read_cams, write_cams
from tag2mask.config import DataSettings, Level, Recipe
from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.records import Record
from tag2mask.evaluation.confusion import Scores
from tag2mask.evaluation.label_maps import measure_label_maps, write_photo_scores
from tag2mask.evaluation.sweep import ThresholdSweep, write_sweep
from tag2mask.recipes import save_recipe
from tag2mask.report.tables import ScoreRow, read_scores, write_scores
from tag2mask.runs.manifest import Manifest, write_manifest

CLASS_NAMES = ("disc", "</script>")
EVIL_NAME = "<img src=x onerror=alert(1)>"
NUM_PHOTOS = {"train": 12, "val": 4}
# How far each level's labels reach beyond the object, in pixels: the nearer to 0, the better.
REACH: dict[Level, int] = {"crf": 4, "refined": 2, "pseudo-label": 3, "segmenter": 1}


@dataclass(frozen=True)
class DrawnRun:
    """A run folder and the photos that it was made from."""

    folder: Path
    records: list[Record]


def draw_run(folder: Path, *, with_masks: bool) -> DrawnRun:
    """Photos of discs of two classes, and a run whose maps and labels are these discs, a little too large."""
    generator = np.random.default_rng(0)
    data, run = folder / "data", folder / "run"
    names = [EVIL_NAME, *(f"train_{number:02}" for number in range(1, NUM_PHOTOS["train"]))]
    train = [_draw_photo(data, name, (number % 2 + 1,), generator) for number, name in enumerate(names)]
    val = [_draw_photo(data, f"val_{number:02}", (1, 2), generator) for number in range(NUM_PHOTOS["val"])]
    save_recipe(run / "config.yaml", Recipe(data=DataSettings(root=data, val_split="val")))
    _write_trainings(run)
    for method, reach in (("baseline", 12), ("acr", 7)):
        _write_maps(run / "2-cams" / method, train, reach, generator)
    _write_maps(run / "3-refined" / "acr" / "maps", train, REACH["refined"], generator)
    for level, part in (("crf", "3-refined/acr/crf"), ("pseudo-label", "4-pseudo-labels/acr")):
        _write_labels(run / part, train, REACH[level], unsure=level == "pseudo-label")
    for method in ("acr", "masks"):
        _write_labels(run / "6-predictions" / method / "masks", val, REACH["segmenter"] * (method == "acr"))
    (run / "4-pseudo-labels" / "acr" / "threshold.json").write_text('{"used": 0.31, "source": "fixed"}')
    _write_examples(run / "1-classifier" / "acr", train, generator)
    if with_masks:
        _measure(run, train, val)
    else:
        train, val = ([replace(record, label_map=None) for record in split] for split in (train, val))
    return DrawnRun(run, [*train, *val])


def _draw_photo(data: Path, name: str, tags: tuple[int, ...], generator: np.random.Generator) -> Record:
    height, width = (60, 80) if len(tags) == 1 else (72, 64)
    pixels = generator.integers(70, 130, (height, width, 3), dtype=np.uint8)
    label_map = np.zeros((height, width), np.uint8)
    for place, tag in enumerate(tags):
        far = _distance(label_map, (16 + 34 * place + int(generator.integers(4)), 24 + int(generator.integers(16))))
        pixels[far < 11] = ((220, 60, 40), (50, 90, 230))[tag - 1]
        label_map[far < 11] = tag
        label_map[(far >= 11) & (far < 12)] = 255
    (data / "images").mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(data / "images" / f"{name}.jpg", quality=92)
    write_label_map(data / "masks" / f"{name}.png", label_map, voc_palette())
    return Record(name, data / "images" / f"{name}.jpg", tags, data / "masks" / f"{name}.png")


def _distance(label_map: NDArray[np.uint8], centre: tuple[float, float]) -> NDArray[np.float64]:
    rows, columns = np.indices(label_map.shape)
    return np.hypot(rows - centre[0], columns - centre[1])


def _far(record: Record, tag: int) -> NDArray[np.float64]:
    """Distance of every pixel from the middle of the disc of a class."""
    assert record.label_map is not None
    label_map = open_label_map(record.label_map)
    rows, columns = np.nonzero(label_map == tag)
    return _distance(label_map, (rows.mean(), columns.mean()))


def _write_maps(folder: Path, records: list[Record], reach: float, generator: np.random.Generator) -> None:
    for record in records:
        slope = 11 + reach + generator.uniform(0, 6)
        maps = np.stack([(1 - 0.5 * _far(record, tag) / slope).clip(0, 1) for tag in record.tags])
        write_cams(folder, record.name, cams_from_full_size(record.tags, maps.astype(np.float32)))


def _write_labels(folder: Path, records: list[Record], reach: int, *, unsure: bool = False) -> None:
    for number, record in enumerate(records):
        assert record.label_map is not None
        labels = np.zeros_like(open_label_map(record.label_map))
        for tag in record.tags:
            far = _far(record, tag)
            # Photos differ, so that there is a best and a worst one.
            edge = 11 + reach * (1 + number / len(records))
            labels[far < edge] = tag
            labels[(far >= edge) & (far < edge + 2)] = 255 if unsure else 0
        write_label_map(folder / f"{record.name}.png", labels, voc_palette())


def _write_trainings(run: Path) -> None:
    folders = ["1-classifier/baseline", "1-classifier/reconstructor", "1-classifier/acr", "2-cams/baseline"]
    folders += ["2-cams/acr", "3-refined/acr/crf", "3-refined/acr/relations", "3-refined/acr/network"]
    folders += ["3-refined/acr/maps", "4-pseudo-labels/acr", "5-segmenter/acr", "5-segmenter/masks"]
    for number, folder in enumerate([*folders, "6-predictions/acr", "6-predictions/masks"]):
        counts = {"photos": 12, "peak_memory_mib": 300 + 40 * number}
        write_manifest(run / folder, Manifest({}, {}, finished=True, seconds=7.5 * 1.8**number, counts=counts))
    for folder in ("1-classifier/baseline", "1-classifier/acr", "3-refined/acr/network", "5-segmenter/acr"):
        rows = [(epoch, 0.7 / epoch, 0.002 * (1 - epoch / 8), 3.5) for epoch in range(1, 8)]
        _write_rows(run / folder / "losses.csv", ("epoch", "loss/main", "learning_rate/network", "seconds"), rows)


def _write_examples(folder: Path, records: list[Record], generator: np.random.Generator) -> None:
    """CAMs after each epoch, and restored photos."""
    for epoch in range(1, 10):
        _write_maps(folder / "epochs" / f"{epoch:02}", records[:3], 12 - epoch, generator)
    for record in records[:2]:
        for part in ("photo", "target", "rest"):
            (folder / "restored").mkdir(exist_ok=True)
            picture = Image.open(record.image).resize((48, 48))
            picture.save(folder / "restored" / f"{record.name}.{part}.png")


def _measure(run: Path, train: list[Record], val: list[Record]) -> None:
    for method, level, folder in (
        ("baseline", "seed", "2-cams/baseline"), ("acr", "seed", "2-cams/acr"),
        ("acr", "refined", "3-refined/acr/maps"),
    ):  # fmt: skip
        _measure_maps(run, method, level, run / folder, train)
    for method, level, folder, records in (
        ("acr", "crf", "3-refined/acr/crf", train), ("acr", "pseudo-label", "4-pseudo-labels/acr", train),
        ("acr", "segmenter", "6-predictions/acr/masks", val), ("masks", "segmenter", "6-predictions/masks/masks", val),
    ):  # fmt: skip
        labels = [open_label_map(run / folder / f"{record.name}.png") for record in records]
        row = _row(method, level, "val" if level == "segmenter" else "train", len(records))
        if level == "pseudo-label":
            row = replace(row, threshold=0.31, threshold_source="fixed")
        scores = _measure_labels(run / "scores" / f"{level}-{method}", records, labels)
        _add_scores(run, [replace(row, **vars(scores))])


def _measure_maps(run: Path, method: str, level: Level, folder: Path, records: list[Record]) -> None:
    sweep, labels = ThresholdSweep(len(CLASS_NAMES)), []
    for record in records:
        cams = read_cams(folder, record.name)
        maps = full_size_maps(cams)
        sweep.add(maps, cams.class_ids, open_label_map(record.label_map))
        labels.append(np.where(maps[0] > 0.5, cams.class_ids[0], 0).astype(np.uint8))
    write_sweep(run / "scores" / f"{level}-{method}" / "sweep.npz", sweep)
    _measure_labels(run / "scores" / f"{level}-{method}", records, labels)
    scores = sweep.scores()
    thresholds = {"best on this split": scores.best(), "fixed": 0.25}
    rows = [
        replace(_row(method, level, "train", len(records)), **vars(scores.at(value, CLASS_NAMES)),
                threshold=value, threshold_source=source)
        for source, value in thresholds.items()
    ]  # fmt: skip
    _add_scores(run, rows)


def _add_scores(run: Path, rows: list[ScoreRow]) -> None:
    path = run / "scores.json"
    write_scores(path, [*read_scores(path), *rows])


def _measure_labels(folder: Path, records: list[Record], labels: list[NDArray[np.uint8]]) -> Scores:
    """Scores of all photos; the photos' own go to a file."""
    triples = [
        (record.name, found, open_label_map(record.label_map)) for record, found in zip(records, labels, strict=True)
    ]
    measured = measure_label_maps(triples, CLASS_NAMES)
    write_photo_scores(folder / "photos.csv", measured.photos)
    return measured.scores


def _row(method: str, level: Level, split: str, num_photos: int) -> ScoreRow:
    return ScoreRow(
        method=method, level=level, split=split, miou=0, precision=0, recall=0, iou={}, threshold=None,
        threshold_source=None, num_photos=num_photos, seconds=42,
    )  # fmt: skip


def _write_rows(path: Path, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
