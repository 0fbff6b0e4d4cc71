"""Nested settings by the dotted names that they have on a command line."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def flatten(settings: Any, prefix: str) -> dict[str, Any]:
    """Fields of nested dataclasses by their dotted names, as they are typed on a command line."""
    assert is_dataclass(settings)
    assert not isinstance(settings, type)
    return leaves(asdict(settings), f"{prefix}.")


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested mappings by their dotted names, as YAML can hold them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= leaves(value, f"{prefix}{name}.")
        else:
            as_text = str(value) if isinstance(value, Path) else value
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else as_text
    return flat
