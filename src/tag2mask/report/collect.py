"""Reads what the stages of a run left on disk, for the report."""

import csv
import dataclasses
import os
import platform
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tag2mask import __version__
from tag2mask.cams.store import stored_names
from tag2mask.config import Level, Recipe
from tag2mask.data.photos import photo_size
from tag2mask.data.records import Record
from tag2mask.dotted_names import leaves
from tag2mask.evaluation.sweep import read_sweep
from tag2mask.report.content import (
    METHODS,
    Command,
    Curve,
    DataFacts,
    EpochStrip,
    ReportContent,
    Restoration,
    Setting,
    StageFacts,
    TrainingCurves,
)
from tag2mask.report.galleries import find_galleries
from tag2mask.report.tables import read_scores
from tag2mask.runs.folder import RECIPE_FILE, expect_run
from tag2mask.runs.manifest import FILE_NAME, read_manifest
from tag2mask.runs.stages import CLASSIFIERS, REFINEMENTS
from tag2mask.stages.labels import read_threshold

_SWEPT_LEVELS: tuple[Level, ...] = ("seed", "refined")
# Stages of one folder, in the order in which they are done.
_ORDER: tuple[str, ...] = (*CLASSIFIERS, *REFINEMENTS)


def collect(
    run: Path,
    records: Sequence[Record],
    class_names: Sequence[str],
    *,
    warnings: Sequence[str] = (),
) -> ReportContent:
    """What the report tells of a run.

    Args:
        run: folder.
        records: photos of all splits of the run.
        class_names: foreground classes in the order of their ids.
        warnings: lines of the check of the data.

    Raises:
        ValueError: not a run folder, or a damaged file in it.
    """
    expect_run(run)
    recipe = _flatten(yaml.safe_load((run / RECIPE_FILE).read_text(encoding="utf-8")))
    # The last method where none is named.
    refined = recipe["methods"][-1:] if recipe["refined_methods"] is None else recipe["refined_methods"]
    unique = list({record.name: record for record in records}.values())
    return ReportContent(
        run=run,
        class_names=tuple(class_names),
        data=_count(unique, class_names),
        scores=tuple(read_scores(run / "scores.json")),
        curves=_curves(run),
        used=_used_thresholds(run, recipe),
        galleries=find_galleries(run, unique, refined),
        trainings=_trainings(run),
        strips=_strips(run, unique),
        restorations=_restorations(run),
        stages=_stages(run),
        settings=_settings(recipe),
        warnings=tuple(warnings),
        commands=_commands(run),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        version=__version__,
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
    )


def _flatten(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their dotted names; a setting that the recipe does not have, as older runs', has its default."""
    return leaves(dataclasses.asdict(Recipe())) | leaves(recipe)


def _settings(recipe: Mapping[str, Any]) -> tuple[Setting, ...]:
    defaults = leaves(dataclasses.asdict(Recipe()))
    return tuple(
        Setting(name, _as_text(value), _as_text(defaults.get(name)))
        for name, value in recipe.items()
        if name != "extends"
    )


def _as_text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(_as_text(part) for part in value)
        case float():
            # A YAML file may hold 384.0 where the default is written 384.
            return f"{value:.10g}"
    return str(value)


def _count(records: Sequence[Record], class_names: Sequence[str]) -> DataFacts:
    class_ids = range(1, len(class_names) + 1)
    pairs = Counter((tag, other) for record in records for tag in record.tags for other in record.tags if tag != other)
    of_class = Counter(tag for record in records for tag in record.tags)
    sizes = Counter(photo_size(record.image) for record in records)
    return DataFacts(
        num_photos=len(records),
        num_with_mask=sum(record.label_map is not None for record in records),
        num_tags=dict(sorted(Counter(len(record.tags) for record in records).items())),
        num_of_class=tuple(of_class[class_id] for class_id in class_ids),
        together=tuple(
            tuple((class_names[other - 1], count) for (tag, other), count in pairs.most_common() if tag == class_id)
            for class_id in class_ids
        ),
        sizes=_sizes_in_words(sizes),
    )


def _sizes_in_words(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return "none"
    smallest, largest = (pick(sizes, key=lambda size: size[0] * size[1]) for pick in (min, max))
    (width, height), count = sizes.most_common(1)[0]
    share = 100 * count / sizes.total()
    ends = f"{smallest[0]} × {smallest[1]} to {largest[0]} × {largest[1]}"
    return f"{ends}, most often {width} × {height} ({share:.0f} %)"


def _curves(run: Path) -> tuple[Curve, ...]:
    return tuple(
        Curve(method, level, read_sweep(path).scores())
        for level in _SWEPT_LEVELS
        for method in METHODS
        if (path := run / "scores" / f"{level}-{method}" / "sweep.npz").is_file()
    )


def _used_thresholds(run: Path, recipe: Mapping[str, Any]) -> dict[str, float]:
    used = {f"seed-{method}": float(recipe["cams.threshold"]) for method in METHODS}
    for method in METHODS:
        chosen = read_threshold(run / "4-pseudo-labels" / method)
        used[f"refined-{method}"] = chosen.used if chosen else float(recipe["labels.threshold"])
    return used


def _trainings(run: Path) -> tuple[TrainingCurves, ...]:
    folders = [run / "1-classifier" / kind for kind in CLASSIFIERS]
    folders += [path.parent for path in sorted(run.glob("3-refined/*/network/losses.csv"))]
    folders += [path.parent for path in sorted(run.glob("5-segmenter/*/losses.csv"))]
    return tuple(_training(run, folder) for folder in folders if (folder / "losses.csv").is_file())


def _training(run: Path, folder: Path) -> TrainingCurves:
    with (folder / "losses.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: tuple(float(row[name]) for row in rows) for name in rows[0]} if rows else {}
    return TrainingCurves(
        folder=folder.relative_to(run).as_posix(),
        epochs=columns.get("epoch", ()),
        losses=_with_prefix(columns, "loss/"),
        rates=_with_prefix(columns, "learning_rate/"),
    )


def _with_prefix(columns: Mapping[str, tuple[float, ...]], prefix: str) -> dict[str, tuple[float, ...]]:
    return {name.removeprefix(prefix): values for name, values in columns.items() if name.startswith(prefix)}


def _strips(run: Path, records: Sequence[Record]) -> tuple[EpochStrip, ...]:
    strips = []
    for method in METHODS:
        found = run.glob(f"1-classifier/{method}/epochs/*")
        folders = {int(path.name): path for path in found if path.name.isdigit()}
        names = set.intersection(*(stored_names(folder) for folder in folders.values())) if folders else set()
        shown = tuple(record for record in records if record.name in names and record.tags)
        if shown:
            strips.append(EpochStrip(method, dict(sorted(folders.items())), shown))
    return tuple(strips)


def _restorations(run: Path) -> tuple[Restoration, ...]:
    folder = run / "1-classifier" / "acr" / "restored"
    found = []
    for photo in sorted(folder.rglob("*.photo.png")):
        name = photo.relative_to(folder).as_posix().removesuffix(".photo.png")
        target, rest = (folder / f"{name}.{part}.png" for part in ("target", "rest"))
        if target.is_file() and rest.is_file():
            found.append(Restoration(name, photo, target, rest))
    return tuple(found)


def _stages(run: Path) -> tuple[StageFacts, ...]:
    facts = []
    for folder in sorted((path.parent for path in run.rglob(FILE_NAME)), key=_in_order):
        manifest = read_manifest(folder)
        assert manifest is not None
        name = folder.relative_to(run).as_posix()
        counts = manifest.counts
        facts.append(
            StageFacts(name, manifest.finished, manifest.seconds, counts.get("photos"), counts.get("peak_memory_mib"))
        )
    return tuple(facts)


def _commands(run: Path) -> tuple[Command, ...]:
    folder, recipe = (shlex.quote(str(path)) for path in (run, run / RECIPE_FILE))
    commands = [
        Command("See which stages are up to date", f"tag2mask status {recipe} --run {folder}"),
        Command("Finish or redo stages after a change of settings", f"tag2mask run {recipe} --run {folder}"),
    ]
    for model in sorted(run.glob("5-segmenter/*/config.json")):
        line = f"tag2mask predict PHOTOS --model {shlex.quote(str(model.parent))} --out DIR"
        commands.append(Command(f"Label photos with the segmenter {model.parent.name}", line))
    return (*commands, Command("Write this page with more photos", f"tag2mask report {folder} --photos 300"))


def _in_order(folder: Path) -> tuple[str, int, str]:
    rank = _ORDER.index(folder.name) if folder.name in _ORDER else len(_ORDER)
    return folder.parent.as_posix(), rank, folder.name
