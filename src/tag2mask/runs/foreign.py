"""Files that somebody else put into a run folder instead of a stage's own, and those among them that nobody reads."""

from collections.abc import Sequence
from pathlib import Path

from tag2mask.config import TWIN, Recipe
from tag2mask.data.digests import digest_file
from tag2mask.data.records import Record
from tag2mask.data.result_folders import MANIFEST_FILE
from tag2mask.runs.manifest import Manifest, digest
from tag2mask.runs.stages import FOLDERS, Kind, Stage, refined_methods

FOREIGN_FILES: dict[Kind, str] = {
    "cams": "2-cams/METHOD/PHOTO.npz",
    "labels": "4-pseudo-labels/METHOD/PHOTO.png",
    "predictions": "6-predictions/METHOD/masks/PHOTO.png",
}
"""Where in a run folder somebody else's file of a photo lies, which a stage of this kind then does not make."""


def is_foreign(kind: Kind, method: str, run: Path) -> bool:
    """Whether the folder of this kind and method has files without a manifest, which this package did not make."""
    folder, file = run / FOLDERS[kind].format(method=method), run / _file_of(kind, method)
    return not (folder / MANIFEST_FILE).exists() and any(file.parent.rglob(f"*{file.suffix}"))


def foreign_stage(kind: Kind, method: str, run: Path, records: Sequence[Record]) -> Stage:
    """A stage whose files somebody else made."""
    name = FOLDERS[kind].format(method=method)
    files = sorted(path for path in (run / name).rglob("*") if path.is_file())
    manifest = Manifest({}, {"files": digest([(path.name, digest_file(path)) for path in files])})
    return Stage(kind, method, name, records, manifest, (), foreign=True)


def unread_files(recipe: Recipe, run: Path) -> list[str]:
    """Messages, one per kind, on where files of another origin lie that no stage reads, and where they would be."""
    refined = refined_methods(recipe)
    of_predictions = f"as refined_methods says, {TWIN} for a segmenter on the true masks"
    lines = [
        _unread("cams", recipe.methods, "as methods says", run),
        _unread("labels", refined, "as refined_methods says", run),
        _unread("predictions", (*refined, TWIN), of_predictions, run),
    ]
    return [line for line in lines if line]


def _unread(kind: Kind, names: Sequence[str], why: str, run: Path) -> str:
    """The message for one kind; empty if all its files are read."""
    parent, suffix = Path(FOREIGN_FILES[kind]).parts[0], Path(FOREIGN_FILES[kind]).suffix
    unread = [
        path.name
        for path in sorted((run / parent).glob("[!.]*"))
        if (path.suffix == suffix or (not (path / MANIFEST_FILE).exists() and any(path.rglob(f"*{suffix}"))))
        and not (path.name in names and is_foreign(kind, path.name, run))
    ]
    if not unread:
        return ""
    expected = " or ".join(_file_of(kind, name) for name in names) or "none"
    more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
    return f"{parent}/{unread[0]}{more}: not read, expected {expected}, {why}"


def _file_of(kind: Kind, method: str) -> str:
    return FOREIGN_FILES[kind].replace("METHOD", method)
