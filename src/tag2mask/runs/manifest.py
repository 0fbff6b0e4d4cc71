"""What a stage folder was made from, so that a later run knows whether to keep, finish or redo it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tag2mask import __version__
from tag2mask.data.digests import digest_content, digest_file
from tag2mask.data.records import Record
from tag2mask.data.result_folders import MANIFEST_FILE
from tag2mask.files import replacing

_SUFFIXES = (".npz", ".png")
"""Suffixes of the files of stages that work photo by photo: maps, label maps."""
_NUM_NAMED = 3
_IN_WORDS = {"photos": "photos or tags"}
"""Inputs whose names do not say all that they are made of."""


@dataclass(frozen=True)
class Manifest:
    """The facts that decide what a stage folder holds."""

    settings: Mapping[str, Any]
    """Settings that matter to the stage, by their dotted names."""
    inputs: Mapping[str, str]
    """Digest of each thing that the stage read, by name."""
    photos: Mapping[str, str] = field(default_factory=dict)
    """Digest of each photo and its tags, by name, where a stage works photo by photo; not among `inputs` then."""
    finished: bool = False
    """Whether the stage came to its end."""
    seconds: float = 0.0
    """Time the stage took; while it is not finished, that of the sessions before the last one."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many of each thing it made, by name."""
    version: str = __version__
    """Version of this package."""

    @property
    def digest(self) -> str:
        """Digest of settings and inputs: equal digests mean equal results, photo by photo if `photos` is set."""
        return digest([self.settings, self.inputs])


def digest(value: Any) -> str:
    """Short SHA-256 of anything that JSON can hold."""
    return digest_content(json.dumps(value, sort_keys=True, default=str).encode())


def digest_records(records: Sequence[Record]) -> str:
    """Digest of names, tags and content of all photos, not of label maps."""
    return digest([(record.name, record.tags, digest_file(record.image)) for record in records])


def digest_photos(records: Sequence[Record]) -> dict[str, str]:
    """Digest of tags and content of each photo, by name."""
    return {record.name: digest([record.tags, digest_file(record.image)]) for record in records}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage folder, None where there is none."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        return Manifest(**json.loads(path.read_text()))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path}: not a manifest of this package ({error}); delete the folder to redo it") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a stage folder, replacing an older one."""
    with replacing(folder / MANIFEST_FILE) as path:
        path.write_text(json.dumps(asdict(manifest), indent=1, default=str) + "\n")


def seconds_so_far(folder: Path) -> float:
    """Seconds that a stopped stage has taken in all its sessions; 0 for one that was not begun.

    A session begins by writing the manifest, and lasts until its newest file: nothing else is left of a killed one.
    What it did after that file is not counted, as it was lost.
    """
    found = read_manifest(folder)
    if found is None:
        return 0.0
    begun = (folder / MANIFEST_FILE).stat().st_mtime
    last = max(path.stat().st_mtime for path in folder.rglob("[!.]*") if path.is_file())
    return found.seconds + last - begun


def why_redo(wanted: Manifest, found: Manifest | None) -> str | None:
    """Message saying why the found stage has to be redone; None if it can be kept or finished."""
    if found is None:
        return "not made yet"
    changed = [
        f"{name} changed from {old} to {new}"
        for name in sorted(wanted.settings.keys() | found.settings.keys())
        if (old := found.settings.get(name)) != (new := wanted.settings.get(name))
    ]
    if changed:
        more = f" and {len(changed) - _NUM_NAMED} more settings" if len(changed) > _NUM_NAMED else ""
        return ", ".join(changed[:_NUM_NAMED]) + more
    for name in sorted(wanted.inputs.keys() | found.inputs.keys()):
        if found.inputs.get(name) != wanted.inputs.get(name):
            return f"{_IN_WORDS.get(name, name)} changed"
    return None


def keep_photos(folder: Path, photos: Mapping[str, str]) -> None:
    """Delete files of a stage folder whose photos are not among `photos`, or have another digest there."""
    found = read_manifest(folder)
    if found is None or found.photos.items() <= photos.items():
        return
    kept = {name: content for name, content in found.photos.items() if photos.get(name) == content}
    # A stop in the midst must not leave it for whole.
    write_manifest(folder, replace(found, finished=False))
    for name in found.photos.keys() - kept.keys():
        for suffix in _SUFFIXES:
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    write_manifest(folder, replace(found, photos=kept, counts={**found.counts, "photos": len(kept)}))


def clear(folder: Path) -> None:
    """Delete a stage folder that this package made; one without manifest is left alone, it may be somebody's.

    It loses its name at once, so that a kill in the midst leaves no half of it in its place.
    """
    doomed = folder.with_name(f".{folder.name}.cleared")
    shutil.rmtree(doomed, ignore_errors=True)
    if (folder / MANIFEST_FILE).exists():
        folder.rename(doomed)
        shutil.rmtree(doomed)
