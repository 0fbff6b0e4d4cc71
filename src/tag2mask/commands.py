"""The commands: one typed function each, which prints where its result is and the number that matters."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console

from tag2mask.config import DataSettings, EngineSettings, Recipe
from tag2mask.data.result_folders import FACTS_FILE
from tag2mask.paper_tables import load_table, row_recipes
from tag2mask.progress import is_first_process
from tag2mask.recipes import save_recipe
from tag2mask.recipes.recipe_files import shipped_recipes
from tag2mask.runs.folder import (
    RECIPE_FILE,
    alone_in,
    refuse_foreign,
    refuse_foreign_tables,
    refuse_in_use,
    refuse_other_photos,
    refuse_unwritable,
)
from tag2mask.runs.plan import refuse_contradictions
from tag2mask.runs.stages import CLASSIFIERS, PLAIN_TRAININGS, REFINEMENTS, Kind
from tag2mask.usage import UsageError

ExportFormat = Literal["onnx", "voc-server"]

_logger = logging.getLogger(__name__)
_FIRST_RECIPE = "animals_lite0"
_LOG_WIDTH = 120


@dataclass(frozen=True)
class Job:
    """A recipe and the folder it works in."""

    recipe: Recipe
    """Settings, flags laid on top."""
    run: Path
    """The run folder."""

    def __post_init__(self) -> None:
        # From Python it comes as text too.
        object.__setattr__(self, "run", Path(self.run))


def run(job: Job) -> None:
    """Run every stage that is not up to date, from tags to predictions, then measure and report."""
    _work(job, get_args(Kind))


def train(job: Job) -> None:
    """Train the classifiers, and first the reconstructor where the recipe asks for it."""
    _work(job, CLASSIFIERS)


def cams(job: Job) -> None:
    """Make the class activation maps."""
    _work(job, ("cams",))


def refine(job: Job) -> None:
    """Sharpen the seeds: CRF, boundary or affinity network, random walk."""
    _work(job, REFINEMENTS)


def label(job: Job) -> None:
    """Turn the maps into pseudo-labels."""
    _work(job, ("labels",))


def segment(job: Job) -> None:
    """Train the segmenters, and predict the validation split with them."""
    _work(job, ("segmenter", "predictions"))


def evaluate(job: Job) -> None:
    """Score everything made so far against the true masks, and write the report."""
    _work(job, ("scores",))


def table(name: str, recipe: str, flags: Sequence[str], *, num_seeds: int, run: Path) -> None:
    """Run every row of one of the paper's tables, over several seeds, and compare the scores with the paper's."""
    chosen = load_table(name)
    refuse_foreign_tables(run)
    refuse_unwritable(run)
    recipes = row_recipes(chosen, recipe, flags)
    # Only now: it brings torch.
    from tag2mask.comparison import TableRun
    from tag2mask.runs.checked_data import checked_data

    with checked_data(recipes[0].data, run) as (data_set, warnings):
        table_run = TableRun(chosen, recipes, name=Path(recipe).stem, data_set=data_set, run=run)
        comparison = table_run.do(num_seeds, warnings=warnings)
    if comparison:
        from tag2mask.report.comparison import comparison_notes, comparison_table

        print(comparison.title)
        _console().print(comparison_table(comparison))
        for note in comparison_notes(comparison):
            print(note)
        print(f"results: {run / chosen.name}.md, .json and .png")


def report(job: Job, num_photos: int) -> None:
    """Write the report of a run: a single HTML page that needs no other file."""
    from tag2mask.data.check import check_used_splits
    from tag2mask.data.known_facts import read_known_facts
    from tag2mask.results import REPORT_FILE, write_run_report
    from tag2mask.runs.stages import photos_of

    data = job.recipe.data
    result = check_used_splits(data, read_known_facts(job.run / FACTS_FILE))
    result.raise_errors()
    warnings = [warning.line for warning in result.warnings]
    photos = photos_of(result.data_set, data)
    write_run_report(job.recipe, photos, job.run, warnings=warnings, num_photos=num_photos)
    print(f"report: {job.run / REPORT_FILE}")


def predict(photos: Sequence[Path], model: Path, folder: Path, engine: EngineSettings) -> int:
    """Label photos with a trained segmenter: palette PNGs, overlays and areas.

    Photos that cannot be read are told and left out; a path that is not there is refused before any is labelled.

    Returns:
        0 if every photo was labelled, else 1.
    """
    from tag2mask.engine import inference_arithmetic, launch
    from tag2mask.segmenter import Segmenter, model_folder
    from tag2mask.stages.photos_to_label import photos_of_places
    from tag2mask.stages.predictions import origin_of, predict_photos, refuse_other_origin

    model = model_folder(model)
    segmenter = Segmenter.load(model)
    origin = origin_of(model, engine)
    refuse_other_origin(folder, origin)
    found = photos_of_places(photos, without=folder)
    try:
        fabric = launch(engine)
    except ValueError as error:
        # A setting of recipes, of which there is none here.
        raise ValueError(f"--device {engine.accelerator}: torch finds no such device; use auto or cpu") from error
    with inference_arithmetic(fabric, engine):
        result = predict_photos(fabric, segmenter, found, folder=folder, origin=origin)
    print(f"labelled {result.num_photos - len(result.failed):,} of {result.num_photos:,} photos: {folder}")
    return int(bool(result.failed))


def export(model: Path, out: Path, to: ExportFormat, *, masks: Path | None, names: Path | None) -> None:
    """Export a trained segmenter to ONNX, or pack its predictions for the VOC test server."""
    from tag2mask.segmenter import Segmenter

    segmenter = Segmenter.load(model)
    match to:
        case "onnx":
            from tag2mask.export.onnx import differences, export_onnx

            export_onnx(segmenter, out)
            for sentence in differences(segmenter.settings):
                print(sentence)
        case "voc-server":
            from tag2mask.export.voc_server import write_voc_package

            if masks is None or names is None:
                raise UsageError("command line: --to voc-server needs --masks DIR and --names FILE")
            photos = names.read_text(encoding="utf-8").split()
            write_voc_package(masks, out, names=photos, class_names=segmenter.class_names)
    print(f"exported: {out}")


def demo(job: Job) -> None:
    """Draw a small data set, then train, measure and compare the baseline and ACR on it."""
    from tag2mask.data.scenes import draw_scenes

    if job.recipe.data.root:
        raise UsageError(
            f"command line: --data.root is {job.recipe.data.root}, but demo draws its photos: leave it out"
        )
    root = job.run / "data"
    refuse_foreign(job.run)
    recipe = replace(job.recipe, data=replace(job.recipe.data, root=root))
    refuse_contradictions(recipe, job.run)
    if is_first_process():
        with alone_in(job.run):
            # Photos without a recipe would look like somebody else's folder; a later recipe the run itself keeps.
            if not (job.run / RECIPE_FILE).exists():
                save_recipe(job.run / RECIPE_FILE, recipe)
            draw_scenes(root, seed=recipe.engine.seed)
    run(replace(job, recipe=recipe))
    splits = "--data.train_split train --data.seed_split train --data.val_split null"
    print(f"next: tag2mask check PHOTOS, then tag2mask run {_FIRST_RECIPE} --data.root PHOTOS {splits} --run runs/mine")


def status(job: Job) -> None:
    """Show which stages are up to date, and why the others are not."""
    from tag2mask.data.known_facts import read_known_facts, remember
    from tag2mask.data.read import read_data_set
    from tag2mask.runs.plan import plan
    from tag2mask.runs.stages import photos_of, states_of

    remember(read_known_facts(job.run / FACTS_FILE))
    photos = photos_of(read_data_set(job.recipe.data), job.recipe.data)
    stages = plan(job.recipe, photos, job.run)
    for stage, state, reason in states_of(stages, job.run):
        print(f"{stage.folder:32}{state:12}{reason}")
    refuse_other_photos(job.run, stages, job.recipe.data.root)


def check(settings: DataSettings, *, strict: bool, as_json: bool, faults_file: Path | None) -> int:
    """Show what was understood of a data set, and everything wrong with it.

    Returns:
        0 if it can be trained on, else 1; `strict` counts warnings as faults.
    """
    from tag2mask.data.check import check_data_set
    from tag2mask.data.check_report import next_command, render, to_json, write_faults

    result = check_data_set(settings)
    if faults_file:
        write_faults(faults_file, result.faults)
    print(json.dumps(to_json(result), indent=1) if as_json else render(result))
    failed = bool(result.errors or (strict and result.warnings))
    if not failed and not as_json:
        print(f"recipes  {', '.join(shipped_recipes())}")
        print(f"next     {next_command(_FIRST_RECIPE, settings, result.data_set)}")
    return int(failed)


def env() -> None:
    """Show versions, cores, memory and disk."""
    from tag2mask.environment import facts

    told = facts()
    width = max(len(name) for name, _ in told) + 2
    for name, value in told:
        print(f"{name:{width}}{value}")


def _work(job: Job, kinds: Sequence[Kind]) -> None:
    """Check the data and do the stages of these kinds; the first and the last line name the run folder."""
    refuse_foreign(job.run)
    refuse_unwritable(job.run)
    refuse_in_use(job.run)
    refuse_contradictions(job.recipe, job.run)
    # Only now: these bring torch, which takes seconds to import.
    from tag2mask.engine import launched
    from tag2mask.pipeline import Pipeline
    from tag2mask.runs.checked_data import checked_data
    from tag2mask.runs.stages import photos_of

    recipe = job.recipe
    with checked_data(recipe.data, job.run) as (data_set, warnings):
        photos = photos_of(data_set, recipe.data)
        with launched(recipe.engine) as fabric:
            pipeline = Pipeline(fabric, recipe, photos, run=job.run, warnings=warnings)
            _logger.info("run folder: %s", job.run)
            pipeline.do(kinds)
    if is_first_process():
        if "scores" in kinds:
            _tell_scores(job, measurable=any(record.label_map for record in photos.seed))
        print(f"results: {job.run}")


def _tell_scores(job: Job, *, measurable: bool) -> None:
    from tag2mask.report.tables import read_scores, scores_table
    from tag2mask.report.verdict import verdict
    from tag2mask.results import REPORT_FILE, SCORES_FILE

    if not measurable:
        split = job.recipe.data.seed_split
        print(f"no photo of {split} has a mask: seeds, CRF, refined maps and pseudo-labels cannot be measured")
    rows = read_scores(job.run / SCORES_FILE)
    if rows:
        _console().print(scores_table(rows))
        recipe = job.recipe
        for sentence in verdict(rows, recipe.refinement.method, plain=PLAIN_TRAININGS[recipe.acr.classifier]):
            print(sentence)
    if (job.run / REPORT_FILE).exists():
        print(f"report: {job.run / REPORT_FILE}")


def _console() -> Console:
    """A terminal is as wide as it is, a file has lines of one length."""
    return Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
