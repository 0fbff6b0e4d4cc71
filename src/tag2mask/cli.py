"""Commands: one typed function each; `tag2mask COMMAND --help` tells their arguments."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args

from tag2mask import __version__
from tag2mask.config import DataSettings, Layout, Recipe, TagSource
from tag2mask.recipes import RecipeError, load_recipe, meant, save_recipe, settings_help, shipped_recipes
from tag2mask.stages import TRAININGS, Kind

_logger = logging.getLogger(__name__)
_RECIPE_FILE = "config.yaml"
_LOG_WIDTH = 120


@dataclass(frozen=True)
class Job:
    """A recipe and the folder it works in."""

    recipe: Recipe
    """Settings, flags laid on top."""
    run: Path
    """The run folder."""


def run(job: Job) -> None:
    """Do every stage that is not up to date: train, write the CAMs, measure them."""
    _work(job, (*TRAININGS, "cams", "scores"))


def train(job: Job) -> None:
    """Train the classifiers of a recipe, and the reconstructor where it learns alone first."""
    _work(job, TRAININGS)


def cams(job: Job) -> None:
    """Write the class activation maps of the seed photos."""
    _work(job, ("cams",))


def evaluate(job: Job) -> None:
    """Measure the seeds against the masks at every threshold."""
    _work(job, ("scores",))


def demo(job: Job) -> None:
    """Draw a small data set, then train, compare and measure baseline and ACR on it."""
    from tag2mask.data.scenes import draw_scenes

    root = job.run / "data"
    _refuse_foreign_folder(job.run)
    save_recipe(job.run / _RECIPE_FILE, job.recipe)
    draw_scenes(root, seed=job.recipe.engine.seed)
    run(replace(job, recipe=replace(job.recipe, data=replace(job.recipe.data, root=root))))
    splits = "--data.train_split train --data.seed_split train"
    print(f"next: tag2mask check PHOTOS, then tag2mask run animals_lite0 --data.root PHOTOS {splits} --run runs/mine")


def status(job: Job) -> None:
    """Tell which stages of a run are up to date, and why others are not."""
    from tag2mask.data.read import read_data_set
    from tag2mask.stages import photos_of, plan, state_of

    photos = photos_of(read_data_set(job.recipe.data), job.recipe.data)
    for stage in plan(job.recipe, photos, job.run):
        state = state_of(stage, job.run)
        print(f"{stage.folder:28}{state.state:12}{state.reason}")


def check(settings: DataSettings, *, strict: bool, as_json: bool, faults_file: Path | None) -> int:
    """Tell what was understood of a data set and everything that is wrong with it.

    Returns:
        0 if it can be trained on, else 1; `strict` counts warnings as faults.
    """
    from tag2mask.data.check import check_data_set
    from tag2mask.data.check_report import render, to_json, write_faults

    result = check_data_set(settings)
    if faults_file:
        write_faults(faults_file, result.faults)
    print(json.dumps(to_json(result), indent=1) if as_json else render(result))
    failed = bool(result.errors or (strict and result.warnings))
    if not failed and not as_json:
        print(f"next     tag2mask run RECIPE --data.root {settings.root}   (recipes: {', '.join(shipped_recipes())})")
    return int(failed)


def env() -> None:
    """Tell versions, cores, memory and disk, without importing torch."""
    from tag2mask.environment import facts

    for name, value in facts():
        print(f"{name:28}{value}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a mistake of the user gives one line and exit status 1, or 2 for the command line itself."""
    parser = _parser()
    own, settings = _split(sys.argv[1:] if arguments is None else arguments)
    typed, unknown = parser.parse_known_args(own)
    # Processes beside the first one stay silent.
    level = logging.INFO if os.environ.get("LOCAL_RANK", "0") == "0" else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("tag2mask").setLevel(level)
    try:
        _refuse_unknown(unknown, typed)
        return _dispatch(typed, settings)
    except RecipeError as error:
        return _fail(error, 2, debug=typed.debug)
    except (ValueError, FloatingPointError, OSError) as error:
        return _fail(error, 1, debug=typed.debug)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _dispatch(typed: argparse.Namespace, flags: Sequence[str]) -> int:
    match typed.command:
        case "check":
            _refuse_unknown(flags, typed)
            settings = DataSettings(
                root=typed.data, layout=typed.layout, tag_source=typed.tag_source, train_split=typed.train_split,
                seed_split=typed.train_split,
            )  # fmt: skip
            return check(settings, strict=typed.strict, as_json=typed.json, faults_file=typed.write)
        case "env":
            _refuse_unknown(flags, typed)
            env()
            return 0
    name = "demo" if typed.command == "demo" else typed.recipe
    job = Job(load_recipe(name, flags), typed.run or Path("runs") / Path(name).stem)
    match typed.command:
        case "run":
            run(job)
        case "train":
            train(job)
        case "cams":
            cams(job)
        case "evaluate":
            evaluate(job)
        case "demo":
            demo(job)
        case "status":
            status(job)
    return 0


def _work(job: Job, kinds: Sequence[Kind]) -> None:
    """Check the data and do the stages of these kinds; the first and the last line name the run folder."""
    _refuse_foreign_folder(job.run)
    # Only now: these bring torch, which takes seconds to import.
    from tag2mask.data.check import check_data_set
    from tag2mask.engine import launch
    from tag2mask.networks.reconstructor import check_side
    from tag2mask.pipeline import Pipeline
    from tag2mask.stages import photos_of

    recipe = job.recipe
    check_side(recipe.acr.reconstructor, recipe.data.crop)
    result = check_data_set(recipe.data, splits=[])
    result.raise_errors()
    for warning in result.warnings:
        _logger.info("warning: %s", warning.line)
    photos = photos_of(result.data_set, recipe.data)
    save_recipe(job.run / _RECIPE_FILE, recipe)
    _logger.info("run folder: %s", job.run)
    pipeline = Pipeline(launch(recipe.engine), recipe, photos, job.run)
    pipeline.do(kinds)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        if "scores" in kinds and not photos.masked:
            print("no masks: the seeds cannot be measured")
        _tell_results(job)


def _tell_results(job: Job) -> None:
    from rich.console import Console

    from tag2mask.report.tables import read_scores, scores_table

    rows = read_scores(job.run / "scores.json")
    if rows:
        Console(width=None if sys.stdout.isatty() else _LOG_WIDTH).print(scores_table(rows))
        best = {row.method: row.miou for row in rows if row.threshold_source == "best on this split"}
        print(
            "seed mIoU at the best threshold: " + ", ".join(f"{name} {100 * miou:.1f}" for name, miou in best.items())
        )
    print(f"results: {job.run}")


def _refuse_foreign_folder(run: Path) -> None:
    """A run folder is new, empty or one of ours."""
    if run.exists() and not (run / _RECIPE_FILE).exists() and any(run.iterdir()):
        raise ValueError(
            f"{run}: not empty and not a run of tag2mask ({_RECIPE_FILE} is missing): choose another --run"
        )


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command with its own arguments, and the settings, wherever they stand."""
    sections = {field.name for field in fields(Recipe)}
    own: list[str] = []
    settings: list[str] = []
    place = iter(arguments)
    for argument in place:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and ("." in name or name in sections):
            settings.append(argument)
            # A value of its own follows, if there is one: every setting takes one.
            settings += [] if value else [part for part in [next(place, None)] if part is not None]
        else:
            own.append(argument)
    return own, settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tag2mask", allow_abbrev=False,
        description="From photos with tags to class activation maps, and from these to masks.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"tag2mask {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    settings = f"settings, each laid on top of the recipe:{settings_help()}"
    for function in (demo, run, train, cams, evaluate, status):
        command = _add(commands, function.__name__, function.__doc__)
        if function is not demo:
            command.add_argument("recipe", metavar="RECIPE", help=f"{', '.join(shipped_recipes())}, or a path")
        command.add_argument("--run", type=Path, metavar="DIR", help="folder of the results (runs/RECIPE)")
        command.epilog = settings
    command = _add(commands, "check", check.__doc__)
    command.add_argument("data", type=Path, metavar="DATA", help="folder of the data set")
    command.add_argument("--layout", choices=get_args(Layout), default="auto")
    command.add_argument("--tag-source", choices=get_args(TagSource), default="auto", help="VOC layout: where tags are")
    command.add_argument("--train-split", default="train", help="list name or path of the photos to train on")
    command.add_argument("--strict", action="store_true", help="warnings fail too")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--write", type=Path, metavar="FILE", help="write every fault to a CSV file")
    _add(commands, "env", env.__doc__)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str | None
) -> argparse.ArgumentParser:
    assert text is not None
    command = commands.add_parser(
        name, help=text.splitlines()[0], description=text.splitlines()[0], allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _refuse_unknown(arguments: Sequence[str], typed: argparse.Namespace) -> None:
    """Refuse what the command does not know, with the flag that was probably meant."""
    if not arguments:
        return
    known = [f"--{name.replace('_', '-')}" for name in vars(typed)]
    hint = meant(arguments[0], known)
    raise RecipeError(f"command line: {typed.command} does not know {' '.join(arguments)}{hint}")


def _fail(error: Exception, status: int, *, debug: bool) -> int:
    if debug:
        raise error
    if isinstance(error, FloatingPointError) and os.environ.get("LOCAL_RANK", "0") != "0":
        # All processes stop for the same reason: the first one tells it.
        return status
    print(f"tag2mask: {error}", file=sys.stderr)
    return status
