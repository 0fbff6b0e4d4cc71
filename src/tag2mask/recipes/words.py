"""What a setting is and what it may be, in words for who typed it."""

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from tag2mask.config import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Recipe
from tag2mask.data.faults import nearest

_WORDS: dict[Any, str] = {
    PositiveInt: "a whole number above 0",
    NonNegativeInt: "a whole number from 0",
    PositiveFloat: "a number above 0",
    NonNegativeFloat: "a number from 0",
    ClosedUnitInterval: "a number from 0 to 1",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    NoneType: "null",
}


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one that it was probably meant to be, if any is near."""
    near = nearest(word, known, cutoff=0.5)
    return f"; did you mean {near}?" if near else ""


def one_line(error: Exception) -> str:
    """An error's message, which may have several lines, in one."""
    return " ".join(str(error).split())


def value_at(content: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name, or none."""
    for key, value in content.items():
        if key == name:
            return value
        if isinstance(value, dict) and name.startswith(f"{key}."):
            return value_at(value, name.removeprefix(f"{key}."))
    return None


def shown(value: Any) -> str:
    """A value as it stands in YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def expected(name: str) -> str:
    """The values that a setting takes, in words."""
    kind = type_of(name)
    return f"settings such as {name}.{next(iter(get_type_hints(kind)))}" if is_dataclass(kind) else _values(kind)


def type_of(name: str) -> Any:
    """The type of the setting or section of a dotted name."""
    kind: Any = Recipe
    for part in name.split("."):
        kind = get_type_hints(kind)[part]
    return kind


def takes_list(name: str) -> bool:
    """Whether the values of a setting or section are lists."""
    kind = type_of(name)
    return any(get_origin(part) is tuple for part in (kind, *get_args(kind)))


def _values(kind: Any) -> str:
    parts = get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if get_origin(kind) is Literal:
        return str(parts[0]) if len(parts) == 1 else f"one of {', '.join(str(part) for part in parts)}"
    if get_origin(kind) is tuple:
        length = "list" if Ellipsis in parts else f"list of {len(parts)}"
        return f"a {length} in brackets, each {_values(parts[0])}"
    return " or ".join(_values(part) for part in parts)
