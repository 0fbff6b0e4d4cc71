"""Recipes: YAML files of settings, shipped ones by name, and the reading of them with flags on top."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, set_parsing_settings  # type: ignore[attr-defined]

from tag2mask.config import Recipe
from tag2mask.data.faults import nearest
from tag2mask.files import replacing

# The settings' docstrings are the help of their flags.
set_parsing_settings(docstring_parse_attribute_docstrings=True)


class RecipeError(ValueError):
    """A recipe or flag that cannot be understood."""


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name."""
    folder = Path(str(files(__name__)))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_recipe(name_or_path: str, flags: Sequence[str] = ()) -> Recipe:
    """Read a recipe with all that it extends, and lay flags such as `--acr.epochs 10` on top.

    Raises:
        RecipeError: no such recipe, an unknown setting or a value out of its range; one line says which.
    """
    parser = recipe_parser()
    # A file of comments alone says nothing.
    chain = [path for path in _chain(_find(name_or_path, Path())) if _read_yaml(path)]
    arguments = [part for path in chain for part in ("--recipe", str(path))]
    for path in chain:
        _check_names(parser, _read_yaml(path), str(path))
    _check_flags(parser, flags)
    try:
        parsed = parser.parse_args([*arguments, *flags])
    except ArgumentError as error:
        raise RecipeError(_one_line(error)) from error
    parsed.pop("recipe")
    recipe: Recipe = _plain_numbers(Recipe(**vars(parser.instantiate(parsed))))
    return recipe


def save_recipe(path: Path, recipe: Recipe) -> None:
    """Write every setting of a recipe as YAML that `load_recipe` reads back to the same recipe."""
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(_as_yaml(asdict(recipe) | {"extends": None}), sort_keys=False))


def settings_help() -> str:
    """Every setting with its flag, meaning and default."""
    return recipe_parser().format_help().partition("options:")[2]


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one that it was probably meant to be, if any is near."""
    near = nearest(word, known, cutoff=0.5)
    return f"; did you mean {near}?" if near else ""


def recipe_parser() -> ArgumentParser:
    """Parser of the flags, one for every setting."""
    parser = ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", action=ActionConfigFile)
    parser.add_class_arguments(Recipe)
    return parser


def _find(name_or_path: str, beside: Path) -> Path:
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = beside / name_or_path
    if path.is_file():
        return path
    listed = ", ".join(shipped)
    raise RecipeError(f"no recipe {name_or_path}: neither a file nor one of {listed}{meant(name_or_path, shipped)}")


def _chain(path: Path) -> list[Path]:
    """The recipe and those it extends, the most general first."""
    chain = [path]
    while extended := _read_yaml(chain[0]).get("extends"):
        base = _find(str(extended), chain[0].parent)
        if base in chain:
            raise RecipeError(f"{path}: extends itself")
        chain.insert(0, base)
    return chain


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {_one_line(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: found {type(content).__name__}, expected sections such as data and classifier")
    return content


def _check_names(parser: ArgumentParser, content: dict[str, Any], where: str, prefix: str = "") -> None:
    """Refuse a misspelt setting by name, with the one that was probably meant."""
    known = _known_names(parser)
    for key, value in content.items():
        name = f"{prefix}{key}"
        if name not in known:
            _refuse(name, known, where)
        if isinstance(value, dict):
            _check_names(parser, value, where, f"{name}.")


def _check_flags(parser: ArgumentParser, flags: Sequence[str]) -> None:
    known = _known_names(parser)
    for flag in flags:
        name = flag.removeprefix("--").split("=")[0]
        if flag.startswith("--") and name not in known:
            _refuse(name, known, "command line")


def _refuse(name: str, known: Sequence[str], where: str) -> NoReturn:
    raise RecipeError(f"{where}: no setting is called {name}{meant(name, known)}")


def _known_names(parser: ArgumentParser) -> list[str]:
    names = [option.removeprefix("--") for action in parser._actions for option in action.option_strings]
    return [name for name in names if name != "recipe"]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).replace("Parser key", "setting").split())


def _plain_numbers(value: Any) -> Any:
    """Settings whose numbers are int and float again, not the restricted types that checked them.

    What is built from them can then be saved and loaded where only well-known types are allowed.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _plain_numbers(part) for name, part in vars(value).items()})
    match value:
        case tuple():
            return tuple(_plain_numbers(part) for part in value)
        case int() if not isinstance(value, bool):
            return int(value)
        case float():
            return float(value)
    return value


def _as_yaml(value: Any) -> Any:
    """Tuples as lists and paths as text."""
    match value:
        case dict():
            return {key: _as_yaml(part) for key, part in value.items()}
        case tuple():
            return [_as_yaml(part) for part in value]
        case Path():
            return str(value)
    return value
