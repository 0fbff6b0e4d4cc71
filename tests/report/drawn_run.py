"""Draws a run as all its stages would leave it, with NumPy and Pillow alone."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import cams_from_full_size, write_cams
from tag2mask.config import AcrSettings, DataSettings, LabelSettings, Level, Recipe, SegmenterSettings
from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.records import Record
from tag2mask.recipes import load_recipe, save_recipe
from tag2mask.report.collect import collect
from tag2mask.report.content import ReportContent
from tag2mask.report.measurements import score_rows
from tag2mask.report.tables import write_scores
from tag2mask.runs.manifest import write_manifest
from tag2mask.runs.plan import plan
from tag2mask.runs.stages import Photos, Stage, states_of
from tag2mask.stages.labels import ChosenThreshold, write_threshold
from tag2mask.stages.scores import measure

CLASS_NAMES = ("disc", "</script>")
EVIL_NAME = "<img src=x onerror=alert(1)>"
NUM_PHOTOS = {"train": 12, "val": 4}
# How far each level's labels reach beyond the object, in pixels: the nearer to 0, the better.
REACH: dict[Level, int] = {"crf": 4, "refined": 2, "pseudo-label": 3, "segmenter": 1}


@dataclass(frozen=True)
class DrawnRun:
    """A run folder, and the recipe and photos that it was made from."""

    folder: Path
    recipe: Recipe
    photos: Photos

    @property
    def records(self) -> list[Record]:
        """All photos."""
        return [*self.photos.train, *self.photos.val]

    @property
    def stages(self) -> list[Stage]:
        """As the recipe plans them."""
        return plan(self.recipe, self.photos, self.folder)

    def content(self, *, warnings: Sequence[str] = ()) -> ReportContent:
        """What the report tells."""
        states = states_of(self.stages, self.folder)
        return collect(self.recipe, self.photos, states, run=self.folder, warnings=warnings)


def photos_of_splits(train: Sequence[Record], val: Sequence[Record], class_names: Sequence[str]) -> Photos:
    """Photos of a run that trains on those whose seeds are made and measured."""
    return Photos(train=train, seed=train, label=train, val=val, class_names=tuple(class_names))


def finish(stages: Sequence[Stage], run: Path) -> None:
    """Note in the stages' folders that they are done, with times and memory that grow."""
    for number, stage in enumerate(stages):
        counts = {"photos": len(stage.records), "peak_memory_mib": 300 + 40 * number}
        manifest = replace(stage.manifest, finished=True, seconds=7.5 * 1.4**number, counts=counts)
        write_manifest(run / stage.folder, manifest)


def draw_run(folder: Path, *, with_masks: bool) -> DrawnRun:
    """Photos of discs of two classes, and a run whose maps and labels are these discs, a little too large."""
    generator = np.random.default_rng(0)
    data, run = folder / "data", folder / "run"
    names = [EVIL_NAME, *(f"train_{number:02}" for number in range(1, NUM_PHOTOS["train"]))]
    train = [_draw_photo(data, name, (number % 2 + 1,), generator) for number, name in enumerate(names)]
    val = [_draw_photo(data, f"val_{number:02}", (1, 2), generator) for number in range(NUM_PHOTOS["val"])]
    settings = Recipe(
        data=DataSettings(root=data, val_split="val"),
        acr=AcrSettings(reconstructor_epochs=1),
        labels=LabelSettings(threshold=0.31),
        segmenter=SegmenterSettings(supervision=("pseudo_labels", "masks")),
    )
    save_recipe(run / "config.yaml", settings)
    recipe = load_recipe(str(run / "config.yaml"))
    known = (train, val) if with_masks else ([replace(record, label_map=None) for record in s] for s in (train, val))
    drawn = DrawnRun(run, recipe, photos_of_splits(*known, CLASS_NAMES))
    # Before there are files, which without manifests would be somebody else's.
    stages = drawn.stages
    _write_losses(run)
    for method, reach in (("baseline", 12), ("acr", 7)):
        _write_maps(run / "2-cams" / method, train, reach, generator)
    _write_maps(run / "3-refined" / "acr" / "maps", train, REACH["refined"], generator)
    for level, part in (("crf", "3-refined/acr/crf"), ("pseudo-label", "4-pseudo-labels/acr")):
        _write_labels(run / part, train, REACH[level], uncertain=level == "pseudo-label")
    for method in ("acr", "masks"):
        _write_labels(run / "6-predictions" / method / "masks", val, REACH["segmenter"] * (method == "acr"))
    write_threshold(run / "4-pseudo-labels" / "acr", ChosenThreshold(0.31, "fixed"))
    _write_examples(run / "1-classifier" / "acr", train, generator)
    for stage in stages:
        if stage.level:
            source = run / stage.source.folder
            measure(stage, source, run / stage.folder, class_names=CLASS_NAMES, num_processes=1)
    finish(stages, run)
    write_scores(run / "scores.json", score_rows(recipe, drawn.photos, stages, run))
    return drawn


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


def _write_labels(folder: Path, records: list[Record], reach: int, *, uncertain: bool = False) -> None:
    for number, record in enumerate(records):
        assert record.label_map is not None
        labels = np.zeros_like(open_label_map(record.label_map))
        for tag in record.tags:
            far = _far(record, tag)
            # Photos differ, so that there is a best and a worst one.
            edge = 11 + reach * (1 + number / len(records))
            labels[far < edge] = tag
            labels[(far >= edge) & (far < edge + 2)] = 255 if uncertain else 0
        write_label_map(folder / f"{record.name}.png", labels, voc_palette())


def _write_losses(run: Path) -> None:
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


def _write_rows(path: Path, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
