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

from tag2mask import __version__
from tag2mask.cams.store import read_cams, stored_names
from tag2mask.config import Recipe
from tag2mask.data.photos import photo_size
from tag2mask.data.records import Record
from tag2mask.data.result_folders import MANIFEST_FILE, MODEL_FILE
from tag2mask.evaluation.sweep import read_sweep
from tag2mask.report.content import (
    METHODS,
    Command,
    Curve,
    DataFacts,
    EpochStrip,
    ReportContent,
    Restoration,
    StageFacts,
    TrainingCurves,
)
from tag2mask.report.galleries import find_galleries
from tag2mask.report.measurements import score_rows
from tag2mask.runs.manifest import read_manifest
from tag2mask.runs.stages import CLASSIFIERS, FOLDERS, TRAININGS, Photos, Stage, StageState, refined_methods
from tag2mask.stages.labels import note_on_unlabelled_classes, read_threshold
from tag2mask.stages.scores import SWEPT_LEVELS


def collect(
    recipe: Recipe, photos: Photos, states: Sequence[StageState], *, run: Path, warnings: Sequence[str] = ()
) -> ReportContent:
    """Collect what the report shows of a run: all that was made with the recipe's settings and these inputs.

    Args:
        recipe: recipe of the run.
        photos: photos of the run by split.
        states: states of the planned stages; those that are not done are left out, though older files may lie in
            their folders.
        run: run folder, which is read only.
        warnings: warnings of the check of the data.

    Raises:
        ValueError: a damaged file in the run folder.
    """
    ours = [stage for stage, state, _ in states if state != "to do"]
    # Half of a measurement is none.
    kept = [stage for stage, state, _ in states if state == "up to date" or (state == "unfinished" and not stage.level)]
    unique = list({record.name: record for record in (*photos.mapped, *photos.train, *photos.val)}.values())
    return ReportContent(
        run=run,
        recipe=recipe,
        class_names=photos.class_names,
        data=_count(unique, photos.class_names),
        is_measurable=any(stage.level for stage, _, _ in states),
        scores=tuple(score_rows(recipe, photos, kept, run)),
        unlabelled={
            stage.method: note_on_unlabelled_classes(stage.records, run / stage.folder, photos.class_names)
            for stage in kept
            if stage.kind == "labels"
        },
        curves=_curves(kept, run),
        used=_used_thresholds(recipe, kept, run),
        galleries=find_galleries(kept, unique, run=run, refined_methods=refined_methods(recipe)),
        trainings=_trainings(kept, run),
        strips=_strips(kept, unique, run),
        restorations=_restorations(kept, run),
        stages=_stages(kept, run),
        foreign=tuple(stage.folder for stage in kept if stage.foreign),
        left_out=_left_out(ours, run),
        warnings=tuple(warnings),
        commands=_commands(kept, run),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        version=__version__,
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
    )


def _left_out(stages: Sequence[Stage], run: Path) -> tuple[str, ...]:
    """Stage folders that are not of these stages, or were made with other settings or inputs than theirs."""
    # Hidden ones are on their way to be deleted or taken over, and elsewhere may be predictions of other photos.
    places = [folder.format(method="[!.]*", level="[!.]*") for folder in FOLDERS.values()]
    found = (path.parent.relative_to(run) for place in places for path in run.glob(f"{place}/{MANIFEST_FILE}"))
    return tuple(sorted({folder.as_posix() for folder in found} - {stage.folder for stage in stages}))


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


def _curves(stages: Sequence[Stage], run: Path) -> tuple[Curve, ...]:
    swept = {(stage.level, stage.method): run / stage.folder for stage in stages if stage.level}
    return tuple(
        Curve(method, level, read_sweep(swept[level, method]).scores())
        for level in SWEPT_LEVELS
        for method in METHODS
        if (level, method) in swept
    )


def _used_thresholds(recipe: Recipe, stages: Sequence[Stage], run: Path) -> dict[str, float]:
    used = {f"seed-{method}": recipe.cams.threshold for method in METHODS}
    used |= {f"refined-{method}": recipe.labels.threshold for method in METHODS}
    for stage in stages:
        chosen = read_threshold(run / stage.folder) if stage.kind == "labels" and not stage.foreign else None
        if chosen:
            used[f"refined-{stage.method}"] = chosen.used
    return used


def _trainings(stages: Sequence[Stage], run: Path) -> tuple[TrainingCurves, ...]:
    """Curves of the trainings that have finished an epoch."""
    files = {stage.folder: run / stage.folder / "losses.csv" for stage in stages if stage.kind in TRAININGS}
    return tuple(_training(folder, path) for folder, path in files.items() if path.is_file())


def _training(folder: str, path: Path) -> TrainingCurves:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: tuple(float(row[name]) for row in rows) for name in rows[0]} if rows else {}
    return TrainingCurves(
        folder=folder,
        epochs=columns.get("epoch", ()),
        losses=_with_prefix(columns, "loss/"),
        rates=_with_prefix(columns, "learning_rate/"),
    )


def _with_prefix(columns: Mapping[str, tuple[float, ...]], prefix: str) -> dict[str, tuple[float, ...]]:
    return {name.removeprefix(prefix): values for name, values in columns.items() if name.startswith(prefix)}


def _strips(stages: Sequence[Stage], records: Sequence[Record], run: Path) -> tuple[EpochStrip, ...]:
    strips = []
    for stage in stages:
        if stage.kind not in CLASSIFIERS:
            continue
        found = (run / stage.folder / "epochs").glob("*")
        folders = {int(path.name): path for path in found if path.name.isdigit()}
        names = set.intersection(*(stored_names(folder) for folder in folders.values())) if folders else set()
        examples = (_as_example(record, folders[max(folders)]) for record in records if record.name in names)
        shown = tuple(record for record in examples if record.tags)
        if shown:
            strips.append(EpochStrip(stage.kind, dict(sorted(folders.items())), shown))
    return tuple(strips)


def _as_example(record: Record, cams: Path) -> Record:
    """The photo with the tags that have CAMs: it may stand for only one of its own."""
    return dataclasses.replace(record, tags=tuple(read_cams(cams, record.name).class_ids.tolist()))


def _restorations(stages: Sequence[Stage], run: Path) -> tuple[Restoration, ...]:
    folders = [run / stage.folder / "restored" for stage in stages if stage.kind == "acr"]
    return tuple(restoration for folder in folders for restoration in _restorations_in(folder))


def _restorations_in(folder: Path) -> list[Restoration]:
    found = []
    for photo in sorted(folder.rglob("*.photo.png")):
        name = photo.relative_to(folder).as_posix().removesuffix(".photo.png")
        target, rest = (folder / f"{name}.{part}.png" for part in ("target", "rest"))
        if target.is_file() and rest.is_file():
            found.append(Restoration(name, photo, target, rest))
    return found


def _stages(stages: Sequence[Stage], run: Path) -> tuple[StageFacts, ...]:
    """Facts of the stages, by folder number and then in the order of work; somebody else's files took no time."""
    facts = []
    for stage in sorted(stages, key=lambda stage: stage.folder.partition("/")[0]):
        manifest = read_manifest(run / stage.folder)
        if manifest:
            photos, memory = (manifest.counts.get(name) for name in ("photos", "peak_memory_mib"))
            facts.append(StageFacts(stage.folder, manifest.finished, manifest.seconds, photos, memory))
    return tuple(facts)


def _commands(stages: Sequence[Stage], run: Path) -> tuple[Command, ...]:
    folder = shlex.quote(str(run))
    commands = [
        Command("See which stages are up to date", f"tag2mask status {folder}"),
        Command("Finish or redo stages after a change of settings", f"tag2mask run {folder}"),
    ]
    for model in (run / stage.folder for stage in stages if stage.kind == "segmenter"):
        if (model / MODEL_FILE).is_file():
            line = f"tag2mask predict PHOTOS --model {shlex.quote(str(model))} --out DIR"
            commands.append(Command(f"Label photos with the segmenter {model.name}", line))
    return (*commands, Command("Write this page with more photos", f"tag2mask report {folder} --photos 300"))
