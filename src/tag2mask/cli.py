"""Commands: one typed function each; `tag2mask COMMAND --help` tells their arguments."""

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

from tag2mask import __version__
from tag2mask.config import DataSettings, Layout, Recipe, TagSource
from tag2mask.manifest import Manifest, read_manifest, why_redo, write_manifest
from tag2mask.recipes import RecipeError, load_recipe, meant, save_recipe, settings_help, shipped_recipes
from tag2mask.stages import CLASSIFIERS, REFINEMENTS, Kind

_logger = logging.getLogger(__name__)
ExportFormat = Literal["onnx", "voc-server"]
_RECIPE_FILE = "config.yaml"
_REPORT_FILE = "report.html"
_LOG_WIDTH = 120


@dataclass(frozen=True)
class Job:
    """A recipe and the folder it works in."""

    recipe: Recipe
    """Settings, flags laid on top."""
    run: Path
    """The run folder."""


def run(job: Job) -> None:
    """Do every stage that is not up to date, from tags to predictions, measure them and write the report."""
    _work(job, get_args(Kind))


def train(job: Job) -> None:
    """Train the classifiers of a recipe, and the reconstructor where it learns alone first."""
    _work(job, CLASSIFIERS)


def cams(job: Job) -> None:
    """Write the class activation maps."""
    _work(job, ("cams",))


def refine(job: Job) -> None:
    """Sharpen the seeds by the CRF, train the network of relations and let the maps walk."""
    _work(job, REFINEMENTS)


def label(job: Job) -> None:
    """Write the pseudo-labels."""
    _work(job, ("labels",))


def segment(job: Job) -> None:
    """Train the segmenters and write their predictions of the split to measure."""
    _work(job, ("segmenter", "predictions"))


def evaluate(job: Job) -> None:
    """Measure all that is there against the masks, and write the report."""
    _work(job, ("scores",))


def report(run: Path, num_photos: int) -> None:
    """Write the report of a run: one HTML page that needs no other file."""
    from tag2mask.data.check import check_data_set
    from tag2mask.results import write_run_report
    from tag2mask.stages import photos_of

    if not (run / _RECIPE_FILE).is_file():
        raise ValueError(f"{run}: found no {_RECIPE_FILE}, expected the folder of a run")
    data = load_recipe(str(run / _RECIPE_FILE)).data
    result = check_data_set(data, splits=[])
    result.raise_errors()
    warnings = [warning.line for warning in result.warnings]
    write_run_report(photos_of(result.data_set, data), run, warnings=warnings, num_photos=num_photos)
    print(f"report: {run / _REPORT_FILE}")


def predict(photos: Path, model: Path, folder: Path) -> int:
    """Label photos with a trained segmenter: palette PNGs, overlays and areas.

    Returns:
        0 if every photo could be read, else 1.
    """
    from tag2mask.config import EngineSettings
    from tag2mask.engine import launch
    from tag2mask.prediction import WEIGHTS, Segmenter, photos_below, predict_folder

    model = _model_folder(model)
    segmenter = Segmenter.load(model)
    found = photos_below(photos, without=folder)
    _refuse_other_model(folder, model / WEIGHTS)
    result = predict_folder(launch(EngineSettings()), segmenter, found, folder=folder)
    print(f"labelled {result.num_photos - len(result.failed):,} of {result.num_photos:,} photos: {folder}")
    return int(bool(result.failed))


def export(model: Path, out: Path, to: ExportFormat, *, masks: Path | None, names: Path | None) -> None:
    """Write a trained segmenter as ONNX, or its predictions as a package for the VOC test server."""
    from tag2mask.prediction import Segmenter

    segmenter = Segmenter.load(_model_folder(model))
    match to:
        case "onnx":
            from tag2mask.export.onnx import export_onnx

            export_onnx(segmenter, out)
        case "voc-server":
            from tag2mask.export.voc_server import write_voc_package

            if masks is None or names is None:
                raise RecipeError("command line: --to voc-server needs --masks DIR and --names FILE")
            photos = names.read_text(encoding="utf-8").split()
            write_voc_package(masks, out, names=photos, class_names=segmenter.class_names)
    print(f"exported: {out}")


def demo(job: Job) -> None:
    """Draw a small data set, then train, compare and measure baseline and ACR on it."""
    from tag2mask.data.scenes import draw_scenes

    root = job.run / "data"
    _refuse_foreign_folder(job.run)
    save_recipe(job.run / _RECIPE_FILE, job.recipe)
    draw_scenes(root, seed=job.recipe.engine.seed)
    run(replace(job, recipe=replace(job.recipe, data=replace(job.recipe.data, root=root))))
    splits = "--data.train_split train --data.seed_split train --data.val_split null"
    print(f"next: tag2mask check PHOTOS, then tag2mask run animals_lite0 --data.root PHOTOS {splits} --run runs/mine")


def status(job: Job) -> None:
    """Tell which stages of a run are up to date, and why others are not."""
    from tag2mask.data.read import read_data_set
    from tag2mask.plan import plan
    from tag2mask.stages import photos_of, state_of

    photos = photos_of(read_data_set(job.recipe.data), job.recipe.data)
    for stage in plan(job.recipe, photos, job.run):
        state = state_of(stage, job.run)
        print(f"{stage.folder:32}{state.state:12}{state.reason}")


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
    if typed.command in ("check", "env", "report", "predict", "export"):
        _refuse_unknown(flags, typed)
    match typed.command:
        case "check":
            settings = DataSettings(
                root=typed.data, layout=typed.layout, tag_source=typed.tag_source, train_split=typed.train_split,
                seed_split=typed.train_split,
            )  # fmt: skip
            return check(settings, strict=typed.strict, as_json=typed.json, faults_file=typed.write)
        case "env":
            env()
            return 0
        case "report":
            report(typed.run, typed.photos)
            return 0
        case "export":
            export(typed.model, typed.out, typed.to, masks=typed.masks, names=typed.names)
            return 0
        case "predict":
            return predict(typed.photos, typed.model, typed.out)
    name = "demo" if typed.command == "demo" else typed.recipe
    job = Job(load_recipe(name, flags), typed.run or Path("runs") / Path(name).stem)
    match typed.command:
        case "run":
            run(job)
        case "train":
            train(job)
        case "cams":
            cams(job)
        case "refine":
            refine(job)
        case "label":
            label(job)
        case "segment":
            segment(job)
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
    warnings = [warning.line for warning in result.warnings]
    for warning in warnings:
        _logger.info("warning: %s", warning)
    photos = photos_of(result.data_set, recipe.data)
    save_recipe(job.run / _RECIPE_FILE, recipe)
    _logger.info("run folder: %s", job.run)
    Pipeline(launch(recipe.engine), recipe, photos, run=job.run, warnings=warnings).do(kinds)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        if "scores" in kinds and not any(record.label_map for record in photos.seed):
            print("no masks: nothing can be measured")
        _tell_results(job)


def _tell_results(job: Job) -> None:
    from rich.console import Console

    from tag2mask.report.tables import read_scores, scores_table
    from tag2mask.report.verdict import verdict

    rows = read_scores(job.run / "scores.json")
    if rows:
        Console(width=None if sys.stdout.isatty() else _LOG_WIDTH).print(scores_table(rows))
        for sentence in verdict(rows, job.recipe.refinement.method):
            print(sentence)
    if (job.run / _REPORT_FILE).exists():
        print(f"report: {job.run / _REPORT_FILE}")
    print(f"results: {job.run}")


def _model_folder(path: Path) -> Path:
    """The model folder itself, or the only one of a run folder."""
    found = sorted(config.parent for config in path.glob("5-segmenter/*/config.json"))
    if not found:
        return path
    if len(found) > 1:
        names = " or ".join(str(folder) for folder in found)
        raise ValueError(f"{path}: found {len(found)} segmenters, expected one: choose with --model {names}")
    return found[0]


def _refuse_foreign_folder(run: Path) -> None:
    """A run folder is new, empty or one of ours."""
    if run.exists() and not (run / _RECIPE_FILE).exists() and any(run.iterdir()):
        raise ValueError(
            f"{run}: not empty and not a run of tag2mask ({_RECIPE_FILE} is missing): choose another --run"
        )


def _refuse_other_model(folder: Path, weights: Path) -> None:
    """Predictions of one model go on where they were stopped; those of another are not mixed with them."""
    manifest = Manifest({}, {"model": hashlib.sha256(weights.read_bytes()).hexdigest()[:16]})
    found = read_manifest(folder)
    if why_redo(manifest, found) and folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"{folder}: found files that this model did not make, expected a new folder: choose another --out"
        )
    write_manifest(folder, manifest)


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
    for function in (demo, run, train, cams, refine, label, segment, evaluate, status):
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
    command = _add(commands, "report", report.__doc__)
    command.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    command.add_argument(
        "--photos", type=_at_least_one, default=96, metavar="N", help="photos that the page shows at most (96)"
    )
    command = _add(commands, "predict", predict.__doc__)
    command.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of photos, with its subfolders")
    command.add_argument("--model", type=Path, required=True, metavar="DIR", help="a run, or a model folder of it")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for masks, overlays and areas.csv")
    command = _add(commands, "export", export.__doc__)
    command.add_argument("model", type=Path, metavar="MODEL", help="a run, or a model folder of it")
    command.add_argument("--to", choices=get_args(ExportFormat), required=True)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .onnx, .tar or .tar.gz to write")
    command.add_argument("--masks", type=Path, metavar="DIR", help="voc-server: folder of predictions")
    command.add_argument("--names", type=Path, metavar="FILE", help="voc-server: list of the test photos")
    _add(commands, "env", env.__doc__)
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected 1 or more")
    return number


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
