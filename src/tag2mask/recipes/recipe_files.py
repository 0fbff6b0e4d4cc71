"""Files of recipes: the shipped ones by name, those that a recipe extends, and what is written in them."""

from collections.abc import Hashable
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tag2mask.recipes.paths import from_home
from tag2mask.recipes.words import meant, one_line
from tag2mask.usage import UsageError


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name."""
    folder = Path(str(files("tag2mask.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_chain(name_or_path: str) -> dict[Path, dict[str, Any]]:
    """The recipe and those it extends, the most general first: each file's path and what is written in it.

    Raises:
        UsageError: no such recipe, one that is not YAML, or one that extends itself.
    """
    path = _find(name_or_path, Path())
    chain = {path: read_yaml(path)}
    while extended := chain[path].get("extends"):
        path = _find(str(extended), path.parent)
        if path in chain:
            raise UsageError(f"{next(iter(chain))}: extends itself")
        chain[path] = read_yaml(path)
    return dict(reversed(chain.items()))


def read_yaml(path: Path) -> dict[str, Any]:
    """What is written in a file of settings; nothing for one of comments alone.

    Raises:
        UsageError: it is not YAML, or no sections of settings.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {one_line(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: found {type(content).__name__}, expected sections such as data and classifier")
    return content


def _find(name_or_path: str, beside: Path) -> Path:
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = beside / from_home(name_or_path)
    if path.is_file():
        return path
    listed = ", ".join(shipped)
    if path.is_dir():
        raise UsageError(
            f"no recipe {name_or_path}: found a folder, expected a file, such as the config.yaml of a run, or one of "
            f"{listed}; --data.root {name_or_path} names photos"
        )
    raise UsageError(f"no recipe {name_or_path}: neither a file nor one of {listed}{meant(name_or_path, shipped)}")


class _Loader(yaml.SafeLoader):
    """Reads YAML, but no mapping that has a key twice, of which the last one would win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                line = key.start_mark.line + 1
                raise UsageError(f"{key.start_mark.name} line {line}: found {key.value} again, expected it once")
        return super().construct_mapping(node, deep)
