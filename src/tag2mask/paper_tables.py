"""Tables of a paper: the recipe of each row, and the paper's figures to set ours beside."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml

from tag2mask.config import TWIN, Level, Method, Recipe, Subject, Supervision
from tag2mask.dotted_names import leaves
from tag2mask.recipes import flag_settings, load_recipe
from tag2mask.recipes.words import meant, one_line
from tag2mask.usage import UsageError

_WITHOUT_EFFECT = ("extends", "methods", "refined_methods", "segmenter.supervision")
"""Settings that neither a row nor a flag has: a row says by method and level what is done, on the table's recipe."""


@dataclass(frozen=True)
class PaperScores:
    """What a paper has in one row of a table, in [0, 1]."""

    miou: float
    """Mean intersection over union."""
    precision: float | None = None
    """None where the paper does not give it."""
    recall: float | None = None
    """None where the paper does not give it."""


@dataclass(frozen=True)
class TableRow:
    """One row: what is trained, and which score of it is shown."""

    name: str
    """As it is printed."""
    method: Subject
    """Whose score it is: a method, or `masks` for the segmenter that is trained on the true masks."""
    level: Level
    """What is measured: maps on `data.seed_split`, a segmenter on `data.val_split`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Sections of settings that differ from the recipe that the table is run with."""
    paper: PaperScores | None = None
    """What the paper has in this row."""

    @property
    def folder(self) -> str:
        """Name of the folder of its runs."""
        return re.sub(r"\W+", "-", self.name.lower()).strip("-_")


@dataclass(frozen=True)
class Table:
    """A table of a paper."""

    name: str
    """Name of the file, without suffix."""
    title: str
    """What is compared."""
    source: str
    """Where the paper's figures stand, and what they were measured on."""
    rows: tuple[TableRow, ...]
    """In their order."""


def shipped_tables() -> dict[str, Path]:
    """Tables that come with the package, by name."""
    folder = Path(str(files("tag2mask"))) / "recipes" / "tables"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_table(name_or_path: str) -> Table:
    """Read a table.

    Raises:
        UsageError: no such table, or one that cannot be understood; one line says what is wrong.
    """
    shipped = shipped_tables()
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        listed = ", ".join(shipped)
        raise UsageError(f"no table {name_or_path}: neither a file nor one of {listed}{meant(name_or_path, shipped)}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {one_line(error)}") from error
    values = _checked(content, Table, str(path), given=("name",))
    if not isinstance(values["rows"], list) or not values["rows"]:
        raise UsageError(f"{path}: rows is {values['rows']!r}, expected a list of rows")
    rows = tuple(_row(row, f"{path}, row {number}") for number, row in enumerate(values["rows"], start=1))
    folders = [row.folder for row in rows]
    for row in rows:
        if not row.folder or folders.count(row.folder) > 1:
            raise UsageError(f"{path}: row {row.name!r}: expected a name of its own, with letters or digits")
    return Table(path.stem, str(values["title"]), str(values["source"]), rows)


def row_recipes(table: Table, recipe: str, flags: Sequence[str] = ()) -> list[Recipe]:
    """The recipe of each row: the row's settings on top of the flags, these on top of the named recipe.

    Which methods are trained and how far they go follows from the row. Where its method is `pretrained` and the recipe
    lets no reconstructor learn alone, it learns as long as the classifier does: the paper gives no number.

    Raises:
        UsageError: a setting of the recipe, the flags or a row that cannot be understood, or a flag that every row
            decides itself.
        ValueError: a row changes what all rows share.
    """
    base = load_recipe(recipe, flags)
    for name in leaves(flag_settings(flags)):
        if name in _WITHOUT_EFFECT:
            raise UsageError(
                f"command line: found --{name}, which does nothing in a table; expected method and level in its rows"
            )
    recipes = []
    for row in table.rows:
        where = f"{table.name}, row {row.name}"
        try:
            changed = load_recipe(recipe, [*flags, *_as_flags(row.settings)]) if row.settings else base
        except UsageError as error:
            # Without the row's settings it was understood.
            raise UsageError(f"{where}: {str(error).removeprefix('command line: ')}") from error
        _check_shared(changed, base, where)
        recipes.append(_with_stages_of(row, changed))
    return recipes


def _check_shared(changed: Recipe, base: Recipe, where: str) -> None:
    """Refuse a row that changes the processes or photos, which all rows share."""
    for name, found, expected in (
        ("engine", changed.engine, base.engine),
        ("data.root", changed.data.root, base.data.root),
        ("data.layout", changed.data.layout, base.data.layout),
        ("data.tag_source", changed.data.tag_source, base.data.tag_source),
    ):
        if found != expected:
            raise ValueError(f"{where}: changes {name}, which all rows share: give it as a flag of the command")


def _with_stages_of(row: TableRow, recipe: Recipe) -> Recipe:
    """The recipe with the stages that the row needs and no more: its methods, up to its level."""
    acr = recipe.acr
    if row.method == "pretrained" and not acr.reconstructor_epochs:
        acr = replace(acr, reconstructor_epochs=acr.epochs)
    methods = _methods(row.method)
    return replace(
        recipe,
        acr=acr,
        methods=methods,
        refined_methods=() if row.level == "seed" else methods[-1:],
        segmenter=replace(recipe.segmenter, supervision=_supervision(row)),
    )


def _methods(method: Subject) -> tuple[Method, ...]:
    match method:
        case "masks":
            return ()
        case "acr_vit":
            return ("acr", "acr_vit")
        case _:
            return (method,)


def _supervision(row: TableRow) -> tuple[Supervision, ...]:
    if row.level != "segmenter":
        return ()
    return ("masks",) if row.method == TWIN else ("pseudo_labels",)


def _as_flags(settings: Mapping[str, Any]) -> list[str]:
    # What YAML knows beyond JSON, such as dates, is refused as text where a setting takes none.
    return [
        f"--{name}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for name, value in leaves(settings).items()
    ]


def _row(content: Any, where: str) -> TableRow:
    values = _checked(content, TableRow, where)
    where = f"{where} ({values['name']})"
    for name, known in (("method", get_args(Subject)), ("level", get_args(Level))):
        if values[name] not in known:
            raise UsageError(f"{where}: {name} is {values[name]!r}, expected one of {', '.join(known)}")
    if values["method"] == TWIN and values["level"] != "segmenter":
        raise UsageError(f"{where}: method {TWIN} has no level but segmenter, found {values['level']}")
    if not isinstance(values.get("settings", {}), dict):
        raise UsageError(f"{where}: settings is {values['settings']!r}, expected sections such as acr")
    for name in leaves(values.get("settings", {})):
        if name in _WITHOUT_EFFECT:
            raise UsageError(f"{where}: found {name} in settings, where it does nothing; expected method and level")
    if values.get("paper") is not None:
        figures = _checked(values["paper"], PaperScores, f"{where}, paper")
        for name, value in figures.items():
            if value is not None and not (isinstance(value, float | int) and 0 <= value <= 1):
                raise UsageError(f"{where}, paper: {name} is {value!r}, expected 0 to 1")
        values["paper"] = PaperScores(**figures)
    return TableRow(**{**values, "name": str(values["name"])})


def _checked(content: Any, kind: type, where: str, given: Sequence[str] = ()) -> dict[str, Any]:
    """What a file holds for a dataclass; missing and unknown names are refused."""
    if not isinstance(content, dict):
        raise UsageError(f"{where}: found {type(content).__name__}, expected names with values")
    expected = [part for part in fields(kind) if part.name not in given]
    known = [part.name for part in expected]
    for name in content:
        if name not in known:
            raise UsageError(f"{where}: found {name}, expected {', '.join(known)}{meant(str(name), known)}")
    for part in expected:
        if part.name not in content and part.default is MISSING and part.default_factory is MISSING:
            raise UsageError(f"{where}: {part.name} is missing")
    return dict(content)
