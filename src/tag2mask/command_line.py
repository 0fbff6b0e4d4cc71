"""The command line: which arguments each command takes, and which of what was typed are settings."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args

from tag2mask import __version__
from tag2mask.config import Device, Layout, Precision, Recipe, TagSource
from tag2mask.paper_tables import shipped_tables
from tag2mask.recipes import meant, setting_names, settings_help, shipped_recipes
from tag2mask.recipes.paths import from_home
from tag2mask.usage import UsageError

ExportFormat = Literal["onnx", "voc-server"]
WITHOUT_SETTINGS = ("check", "predict", "export", "env")
"""Commands that take no recipe, and so none of its settings."""


def build_parser(texts: Mapping[str, str]) -> argparse.ArgumentParser:
    """Parser of all commands.

    Args:
        texts: command to what it does, of which the first line is shown, in the order in which they are listed.
    """
    parser = argparse.ArgumentParser(
        prog="tag2mask", allow_abbrev=False,
        description="From photos with tags to class activation maps, from these to masks and a segmenter.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"tag2mask {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser)
    for name, text in texts.items():
        summary = text.splitlines()[0]
        command = commands.add_parser(
            name, help=summary, description=summary, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        match name:
            case "check":
                _add_check(command)
            case "report":
                _add_report(command)
                command.takes_settings = True
            case "predict":
                _add_predict(command)
            case "export":
                _add_export(command)
            case "env":
                pass
            case _:
                _add_recipe(command, name)
                command.takes_settings = True
    return parser


def split_settings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command with its own arguments, and the settings, wherever they stand."""
    sections = {field.name for field in fields(Recipe)}
    own: list[str] = []
    settings: list[str] = []
    # Every setting takes a value, which follows; the next flag is none.
    expects_value = False
    for argument in arguments:
        name, equals, _ = argument.removeprefix("--").partition("=")
        is_flag = argument.startswith("--")
        is_setting = is_flag and ("." in name or name in sections)
        if is_setting or (expects_value and not is_flag):
            settings.append(argument)
        else:
            own.append(argument)
        expects_value = is_setting and not equals
    return own, settings


def refuse_file(folder: Path | None) -> None:
    """Refuse a file where `--run` names the folder of the results."""
    if folder is not None and folder.is_file():
        raise UsageError(f"command line: --run is the file {folder}, expected a folder")


def refuse_unknown(arguments: Sequence[str], typed: argparse.Namespace) -> None:
    """Refuse what the command does not know, with the flags that were probably meant."""
    if not arguments:
        return
    own = vars(typed).keys() - {"command", "recipe"}
    hint = meant(arguments[0], [f"--{known.replace('_', '-')}" for known in sorted(own)])
    if not hint and typed.command not in WITHOUT_SETTINGS:
        name = arguments[0].removeprefix("--").partition("=")[0]
        settings = [f"--{setting}" for setting in setting_names() if setting.endswith(f".{name}")]
        hint = f"; did you mean {' or '.join(settings)}?" if settings else ""
    raise UsageError(f"command line: {typed.command} does not know {' '.join(arguments)}{hint}")


class _CommandParser(argparse.ArgumentParser):
    """Of one command; the settings are only collected where its help is asked for, as that takes a while."""

    takes_settings = False

    def format_help(self) -> str:
        if self.takes_settings:
            self.epilog = f"settings, each laid on top of the recipe:{settings_help()}"
        return super().format_help()


def _add_recipe(command: argparse.ArgumentParser, name: str) -> None:
    """Arguments of a command that works on a recipe in a folder; the demo has its own recipe."""
    usual, named = "runs/RECIPE", "a path, or the folder of a run"
    if name == "table":
        command.add_argument("table", type=from_home, metavar="TABLE", help=f"{', '.join(shipped_tables())}, or a path")
        command.add_argument(
            "--seeds", type=_at_least_one, default=1, metavar="N", help="runs a row, from engine.seed upwards (1)"
        )
        usual, named = "runs/RECIPE-tables; tables in one folder share what they have in common", "or a path"
    if name != "demo":
        listed = ", ".join(shipped_recipes())
        command.add_argument("recipe", type=from_home, metavar="RECIPE", help=f"{listed}, {named}")
    if name != "table":
        command.add_argument(
            "--print-config", action="store_true", help="print the recipe with every setting as YAML, and do nothing"
        )
    command.add_argument("--run", type=_path, metavar="DIR", help=f"folder of the results ({usual})")


def _add_check(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", type=_path, metavar="DATA", help="folder of the data set")
    command.add_argument(
        "--layout", choices=get_args(Layout), default="auto", help="how the folder is laid out (auto: as it looks)"
    )
    command.add_argument("--tag-source", choices=get_args(TagSource), default="auto", help="VOC layout: where tags are")
    command.add_argument(
        "--train-split", type=from_home, help="list name or path of the photos to train on (train, of COCO trainYEAR)"
    )
    command.add_argument("--strict", action="store_true", help="warnings fail too")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--write", type=_path, metavar="FILE", help="write every fault to a CSV file")


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=_path, metavar="RUN", help="folder of a run")
    command.add_argument(
        "--photos", type=_at_least_one, default=96, metavar="N", help="photos that the page shows at most (96)"
    )


def _add_predict(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "photos", type=_path, nargs="+", metavar="PHOTOS",
        help="photos, and folders with their subfolders; a mask has its photo's name, or its path below the folder",
    )  # fmt: skip
    command.add_argument("--model", type=_path, required=True, metavar="DIR", help="a run, or a model folder of it")
    command.add_argument(
        "--out", type=_path, required=True, metavar="DIR",
        help="new folder for masks, overlays and areas.csv, or that of an earlier call with the same model and "
        "precision; it may lie below PHOTOS, whose subfolders of predictions are left out",
    )  # fmt: skip
    command.add_argument("--device", choices=get_args(Device), default="auto", help="what the network works on (auto)")
    command.add_argument(
        "--precision", choices=get_args(Precision), default="32-true", help="arithmetic of the network (32-true)"
    )


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=_path, metavar="MODEL", help="a run, or a model folder of it")
    command.add_argument(
        "--to", choices=get_args(ExportFormat), required=True,
        help="onnx: the network in one file; voc-server: predictions, packed for the VOC test server",
    )  # fmt: skip
    command.add_argument("--out", type=_path, required=True, metavar="FILE", help="the .onnx, .tar or .tar.gz to write")
    command.add_argument("--masks", type=_path, metavar="DIR", help="voc-server: folder of predictions")
    command.add_argument("--names", type=_path, metavar="FILE", help="voc-server: list of the test photos")


def _path(text: str) -> Path:
    return Path(from_home(text))


def _at_least_one(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number, 1 or more")
    return number
