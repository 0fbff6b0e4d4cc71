"""Recipes: the reading of settings from YAML files with flags on top, and the writing of them."""

import re
from argparse import SUPPRESS
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args

import yaml
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentError,
    ArgumentParser,
    Namespace,
    set_parsing_settings,
)

from tag2mask.config import Recipe
from tag2mask.files import replacing
from tag2mask.recipes.paths import from_home, with_absolute_paths
from tag2mask.recipes.recipe_files import read_yaml, recipe_chain
from tag2mask.recipes.values import check_values
from tag2mask.recipes.words import expected, meant, one_line, shown, takes_list, type_of, value_at
from tag2mask.usage import UsageError

# The settings' docstrings are the help of their flags.
set_parsing_settings(docstring_parse_attribute_docstrings=True)

# The parser knows them, but on the command line they say nothing: files, and whole sections of settings.
_FLAGLESS = {"recipe", "print_config", "extends", *(field.name for field in fields(Recipe) if is_dataclass(field.type))}


def load_recipe(name_or_path: Path | str, flags: Sequence[str] = ()) -> Recipe:
    """Read a recipe with all that it extends, and lay flags such as `--acr.epochs 10` on top.

    Raises:
        UsageError: no such recipe, an unknown setting or a value out of its range; one line says which.
        ValueError: values that nothing can be made with.
    """
    parser = recipe_parser()
    # A file of comments alone says nothing.
    given = [(str(path), content) for path, content in recipe_chain(str(name_or_path)).items() if content]
    arguments = [part for path, _ in given for part in ("--recipe", path)]
    for name, text in _read_flags(flags):
        arguments.append(f"--{name}={text}")
        given.append(("command line", {name: _value(text)}))
    for where, content in given:
        _check_names(content, where)
    try:
        parsed = parser.parse_args(arguments)
    except ArgumentError as error:
        raise UsageError(_in_words(parser, error, given)) from error
    return _checked(parsed)


def recipe_of(content: Mapping[str, Any], where: str) -> Recipe:
    """The recipe of some settings, section by section, that stand in another file than a recipe's.

    Raises:
        UsageError: an unknown setting or a value out of its range; one line says which, and where it stands.
        ValueError: values that nothing can be made with, likewise.
    """
    parser = recipe_parser()
    _check_names(content, where)
    try:
        parsed = parser.parse_object(dict(content))
    except ArgumentError as error:
        raise UsageError(_in_words(parser, error, [(where, content)])) from error
    try:
        return _checked(parsed)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def save_recipe(path: Path, recipe: Recipe) -> None:
    """Write every setting of a recipe as YAML that `load_recipe` reads back to the same recipe.

    Paths are written as absolute ones, so that their files are found from any other folder.
    """
    with replacing(path) as temporary:
        temporary.write_text(recipe_as_yaml(with_absolute_paths(recipe)))


def recipe_as_yaml(recipe: Recipe) -> str:
    """Every setting of a recipe, whatever it extends, as the content of a recipe's file."""
    return yaml.safe_dump(asdict(replace(recipe, extends=None), dict_factory=_with_paths_as_text), sort_keys=False)


def photos_of_recipe(path: Path) -> Path | None:
    """The photo folder that a recipe file names; everything else in the file is ignored."""
    root = value_at(read_yaml(path), "data.root")
    return Path(root) if root else None


def settings_help() -> str:
    """Every setting with its flag, meaning and default."""
    usage_and_settings = recipe_parser().format_help()
    return usage_and_settings[usage_and_settings.index("\n\n") :]


def flag_settings(flags: Sequence[str]) -> dict[str, Any]:
    """What the flags of a command line set, by dotted name; a whole section as a mapping.

    Raises:
        UsageError: a flag that is no setting, or has no value.
    """
    return {name: _value(text) for name, text in _read_flags(flags)}


def setting_names() -> list[str]:
    """Every setting and section, by its dotted name."""
    names = [option.removeprefix("--") for action in recipe_parser()._actions for option in action.option_strings]
    return [name for name in names if name not in ("recipe", "print_config")]


@cache
def recipe_parser() -> ArgumentParser:
    """Parser of the flags, one for every setting."""
    parser = ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", action=ActionConfigFile)
    parser.add_class_arguments(Recipe)
    for action in parser._actions:
        if action.dest in _FLAGLESS:
            action.help = SUPPRESS
    return parser


def _checked(parsed: Namespace) -> Recipe:
    """The recipe of what the parser read.

    Raises:
        ValueError: values that nothing can be made with.
    """
    parsed.pop("recipe")
    recipe: Recipe = _plain_values(Recipe(**vars(recipe_parser().instantiate(parsed))))
    check_values(recipe)
    return recipe


def _check_names(content: Mapping[str, Any], where: str, prefix: str = "") -> None:
    """Refuse a misspelt setting, with the one that was probably meant, and a section that has no settings."""
    known = setting_names()
    for key, value in content.items():
        name = f"{prefix}{key}"
        if name not in known:
            _refuse(name, known, where)
        first = next((other for other in known if other.startswith(f"{name}.")), None)
        if isinstance(value, dict):
            _check_names(value, where, f"{name}.")
        elif value is None and NoneType not in get_args(type_of(name)) and not first:
            raise UsageError(f"{where}: {name} is null, expected {expected(name)}")
        elif first:
            raise UsageError(f"{where}: {name} is {shown(value)}, expected settings such as {first}")


def _read_flags(flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each setting on the command line with the text of its value.

    There a list's brackets may be left out, and `~` alone is the user's folder, as it is where a shell sees it.
    """
    known = setting_names()
    # From Python they may be numbers and paths.
    words = iter(map(str, flags))
    for word in words:
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise UsageError(f"command line: found {word}, expected a setting such as --acr.epochs")
        if name not in known:
            _refuse(name, known, "command line")
        if name == "extends":
            raise UsageError(
                "command line: extends stands in a recipe's file; name that recipe in the place of this one"
            )
        if not equals:
            text = next(words, "--")
        if not text.strip() or (not equals and text.startswith("--")):
            raise UsageError(f"command line: --{name} has no value, expected {expected(name)}")
        text = from_home(text)
        is_bare = takes_list(name) and not isinstance(_value(text), list | None) and not {"[", "]"} & set(text)
        yield name, f"[{text}]" if is_bare else text


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _refuse(name: str, known: Sequence[str], where: str) -> NoReturn:
    raise UsageError(f"{where}: no setting is called {name}{meant(name, known)}")


def _in_words(parser: ArgumentParser, error: ArgumentError, given: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """What was found and expected, where a setting is to blame.

    Args:
        parser: of the settings.
        error: raised by the parser; it speaks of types.
        given: where settings come from, and these.
    """
    for where, content in given:
        try:
            parser.parse_object(dict(content))
        except ArgumentError as refused:
            for name in _blamed(refused):
                return f"{where}: {name} is {shown(value_at(content, name))}, expected {expected(name)}"
    # The parser takes 2.0 for a whole number, but not the text of it, which a flag has.
    for name in _blamed(error):
        for where, content in reversed(given):
            if (value := value_at(content, name)) is not None:
                return f"{where}: {name} is {shown(value)}, expected {expected(name)}"
    return f"command line: {one_line(error)}"


def _blamed(error: ArgumentError) -> list[str]:
    """The setting that an error of the parser names, if any: one within a section names this first."""
    return re.findall(r'Parser key "([\w.]+)"', str(error))[-1:]


def _plain_values(value: Any) -> Any:
    """Settings whose numbers are int and float again, not the restricted types that checked them; paths without `~`.

    What is built from them can then be saved and loaded where only well-known types are allowed.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _plain_values(part) for name, part in vars(value).items()})
    match value:
        case tuple():
            return tuple(_plain_values(part) for part in value)
        case Path():
            return Path(from_home(str(value)))
        case str():
            return from_home(value)
        case int() if not isinstance(value, bool):
            return int(value)
        case float():
            return float(value)
    return value


def _with_paths_as_text(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in items}
