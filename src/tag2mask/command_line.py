"""The command line: the parser of all commands, and which of what was typed are settings."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from tag2mask import __version__, commands
from tag2mask.arguments import COMMANDS
from tag2mask.config import Recipe
from tag2mask.recipes import setting_names, settings_help
from tag2mask.recipes.words import meant
from tag2mask.usage import UsageError


def build_parser() -> argparse.ArgumentParser:
    """Parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="tag2mask", allow_abbrev=False,
        description="From photos with tags to class activation maps, from these to masks and a segmenter.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"tag2mask {__version__}")
    listed = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser)
    for name, command in COMMANDS.items():
        summary = getattr(commands, name).__doc__.splitlines()[0]
        own = listed.add_parser(
            name, help=summary, description=summary, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        own.takes_settings = command.takes_settings
        own.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.add_arguments(own)
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
    if not hint and COMMANDS[typed.command].takes_settings:
        name = arguments[0].removeprefix("--").partition("=")[0]
        settings = [f"--{setting}" for setting in setting_names() if setting.endswith(f".{name}")]
        hint = f"; did you mean {' or '.join(settings)}?" if settings else ""
    raise UsageError(f"command line: {typed.command} does not know {' '.join(arguments)}{hint}")


class _CommandParser(argparse.ArgumentParser):
    """Parser of one command; the settings are only collected when its help is asked for, as that takes a while."""

    takes_settings = False

    def format_help(self) -> str:
        if self.takes_settings:
            self.epilog = f"settings, each laid on top of the recipe:{settings_help()}"
        return super().format_help()
