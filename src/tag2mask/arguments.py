"""How every command is typed: its arguments, what is done with them, whether settings may follow."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from tag2mask import commands
from tag2mask.commands import ExportFormat, Job
from tag2mask.config import DataSettings, Device, EngineSettings, Layout, Precision, TagSource
from tag2mask.paper_tables import shipped_tables
from tag2mask.recipes import load_recipe, recipe_as_yaml
from tag2mask.recipes.paths import from_home
from tag2mask.recipes.recipe_files import shipped_recipes
from tag2mask.runs.folder import RECIPE_FILE, expect_run, is_run

Do = Callable[[argparse.Namespace, Sequence[str]], int | None]
"""Does a command with what was typed and with the settings; gives its exit status, None for 0."""


@dataclass(frozen=True)
class Command:
    """A command as it is typed; its help is that of the function of its name in `commands`."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Adds to its parser what it takes."""
    do: Do
    """What it does."""
    takes_settings: bool = True
    """Whether it works on a recipe, and so takes its settings."""
    resumes: bool = True
    """Whether the same command goes on where it was interrupted."""


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    _add_name_of_recipe(parser, "a path, or the folder of a run")
    _add_job(parser)


def _add_job(parser: argparse.ArgumentParser) -> None:
    """What a command takes that works on a recipe in a run folder, beside the recipe's name."""
    parser.add_argument(
        "--print-config", action="store_true", help="print the recipe with every setting as YAML, and do nothing"
    )
    _add_run(parser, "runs/RECIPE")


def _add_name_of_recipe(parser: argparse.ArgumentParser, others: str) -> None:
    listed = ", ".join(shipped_recipes())
    parser.add_argument("recipe", type=from_home, metavar="RECIPE", help=f"{listed}, {others}")


def _add_run(parser: argparse.ArgumentParser, usual: str) -> None:
    parser.add_argument("--run", type=_path, metavar="DIR", help=f"folder of the results ({usual})")


def _demo_job(typed: argparse.Namespace, settings: Sequence[str]) -> Job:
    return Job(load_recipe("demo", settings), typed.run or Path("runs") / "demo")


def _job(typed: argparse.Namespace, settings: Sequence[str]) -> Job:
    """The recipe that is named; a run folder, or the recipe in it, names both."""
    named = Path(typed.recipe)
    folder = named.parent if named.name == RECIPE_FILE else named
    if is_run(folder):
        return replace(_job_of_run(folder, settings), run=typed.run or folder)
    recipe = load_recipe(typed.recipe, settings)
    if recipe.data.root is None and typed.run and is_run(typed.run):
        raise ValueError(
            f"data.root is not set: pass --data.root PHOTOS, or continue this run with its own settings: tag2mask "
            f"{typed.command} {typed.run}"
        )
    return Job(recipe, typed.run or Path("runs") / named.stem)


def _job_of_run(folder: Path, settings: Sequence[str]) -> Job:
    """The recipe in a run folder, with which it goes on; its photos may have moved."""
    expect_run(folder)
    recipe = load_recipe(str(folder / RECIPE_FILE), settings)
    root = recipe.data.root
    if root and not root.is_dir():
        raise ValueError(f"{root}: no such folder. If the photos of {folder} have moved, pass --data.root NEW_FOLDER")
    return Job(recipe, folder)


def _on_job(function: Callable[[Job], None], job_of: Callable[[argparse.Namespace, Sequence[str]], Job] = _job) -> Do:
    """A command that works on a recipe in a run folder, or only prints the recipe."""

    def do(typed: argparse.Namespace, settings: Sequence[str]) -> None:
        job = job_of(typed, settings)
        if typed.print_config:
            print(recipe_as_yaml(job.recipe), end="")
        else:
            function(job)

    return do


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=from_home, metavar="TABLE", help=f"{', '.join(shipped_tables())}, or a path")
    parser.add_argument(
        "--seeds", type=_at_least_one, default=1, metavar="N",
        help="runs per row, with random seeds from engine.seed upwards (1)",
    )  # fmt: skip
    _add_name_of_recipe(parser, "or a path")
    _add_run(parser, "runs/RECIPE-tables; tables in one folder share the stages that they have in common")


def _table(typed: argparse.Namespace, settings: Sequence[str]) -> None:
    run = typed.run or Path("runs") / f"{Path(typed.recipe).stem}-tables"
    commands.table(typed.table, typed.recipe, settings, num_seeds=typed.seeds, run=run)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=_path, metavar="DATA", help="folder of the data set")
    parser.add_argument(
        "--layout", choices=get_args(Layout), default="auto", help="how the folder is laid out (auto: as it looks)"
    )
    parser.add_argument("--tag-source", choices=get_args(TagSource), default="auto", help="VOC layout: where tags are")
    parser.add_argument(
        "--train-split", type=from_home, help="list name or path of the photos to train on (train, of COCO trainYEAR)"
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", type=_path, metavar="FILE", help="write every fault to a CSV file")


def _check(typed: argparse.Namespace, _: Sequence[str]) -> int:
    from tag2mask.data.read import usual_train_split

    train_split = typed.train_split or usual_train_split(typed.data)
    settings = DataSettings(
        root=typed.data, layout=typed.layout, tag_source=typed.tag_source, train_split=train_split,
        seed_split=train_split,
    )  # fmt: skip
    return commands.check(settings, strict=typed.strict, as_json=typed.json, faults_file=typed.write)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=_path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--photos", type=_at_least_one, default=96, metavar="N", help="photos that the page shows at most (96)"
    )


def _report(typed: argparse.Namespace, settings: Sequence[str]) -> None:
    commands.report(_job_of_run(typed.folder, settings), typed.photos)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photos", type=_path, nargs="+", metavar="PHOTOS",
        help="photos, and folders with their subfolders; a mask has its photo's name, or its path below the folder",
    )  # fmt: skip
    parser.add_argument("--model", type=_path, required=True, metavar="DIR", help="a run, or a model folder of it")
    parser.add_argument(
        "--out", type=_path, required=True, metavar="DIR",
        help="new folder for masks, overlays and areas.csv, or that of an earlier call with the same model and "
        "precision; it may lie below PHOTOS, whose subfolders of predictions are left out",
    )  # fmt: skip
    parser.add_argument("--device", choices=get_args(Device), default="auto", help="what the network works on (auto)")
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="32-true", help="arithmetic of the network (32-true)"
    )


def _predict(typed: argparse.Namespace, _: Sequence[str]) -> int:
    engine = EngineSettings(accelerator=typed.device, inference_precision=typed.precision)
    return commands.predict(typed.photos, typed.model, typed.out, engine)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_path, metavar="MODEL", help="a run, or a model folder of it")
    parser.add_argument(
        "--to", choices=get_args(ExportFormat), required=True,
        help="onnx: the network in one file; voc-server: predictions, packed for the VOC test server",
    )  # fmt: skip
    parser.add_argument("--out", type=_path, required=True, metavar="FILE", help="the .onnx, .tar or .tar.gz to write")
    parser.add_argument("--masks", type=_path, metavar="DIR", help="voc-server: folder of predictions")
    parser.add_argument("--names", type=_path, metavar="FILE", help="voc-server: list of the test photos")


def _export(typed: argparse.Namespace, _: Sequence[str]) -> None:
    commands.export(typed.model, typed.out, typed.to, masks=typed.masks, names=typed.names)


def _env(*_: object) -> None:
    commands.env()


def _path(text: str) -> Path:
    return Path(from_home(text))


def _at_least_one(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number, 1 or more")
    return number


COMMANDS = {
    "demo": Command(_add_job, _on_job(commands.demo, _demo_job)),
    "run": Command(_add_recipe, _on_job(commands.run)),
    "train": Command(_add_recipe, _on_job(commands.train)),
    "cams": Command(_add_recipe, _on_job(commands.cams)),
    "refine": Command(_add_recipe, _on_job(commands.refine)),
    "label": Command(_add_recipe, _on_job(commands.label)),
    "segment": Command(_add_recipe, _on_job(commands.segment)),
    "evaluate": Command(_add_recipe, _on_job(commands.evaluate)),
    "status": Command(_add_recipe, _on_job(commands.status), resumes=False),
    "table": Command(_add_table, _table),
    "check": Command(_add_check, _check, takes_settings=False, resumes=False),
    "report": Command(_add_report, _report, resumes=False),
    "predict": Command(_add_predict, _predict, takes_settings=False),
    "export": Command(_add_export, _export, takes_settings=False, resumes=False),
    "env": Command(lambda _: None, _env, takes_settings=False, resumes=False),
}
"""All commands, in the order in which they are listed."""
