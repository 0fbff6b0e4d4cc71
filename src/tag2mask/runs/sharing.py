"""Takes over finished stages from another run folder, or from those set aside in this one, instead of redoing them."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tag2mask.runs.manifest import clear, keep_photos, read_manifest
from tag2mask.runs.stages import TRAININGS, Stage

REPLACED = ".replaced"
"""Folder of a run for finished trainings whose settings have changed, each until the one in its place is finished."""


def set_aside(stage: Stage, run: Path) -> None:
    """Make room for a stage that is redone; a finished training is not deleted but moved to `REPLACED`."""
    folder, aside = run / stage.folder, run / REPLACED / stage.folder
    found = read_manifest(folder)
    if found and found.finished and stage.kind in TRAININGS:
        clear(aside)
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)
    else:
        clear(folder)


def forget_replaced(stage: Stage, run: Path) -> None:
    """Delete the set-aside training that this stage, now finished, has replaced."""
    aside = run / REPLACED / stage.folder
    if aside.parent.exists():
        # Also where a kill has left it half deleted.
        clear(aside)
        with suppress(OSError):
            # Up to the first folder that holds more.
            os.removedirs(aside.parent)


def find_finished(stage: Stage, runs: Sequence[Path]) -> Path | None:
    """The first of `runs` that holds the stage finished, made with equal settings from equal inputs.

    It may hold more photos than the stage is asked for.
    """
    wanted = stage.manifest
    for run in runs:
        found = read_manifest(run / stage.folder)
        if found and found.finished and found.digest == wanted.digest and wanted.photos.items() <= found.photos.items():
            return run
    return None


def take_over(stage: Stage, source: Path, run: Path) -> None:
    """Take over a stage that another run has finished, with the photos asked for, at no cost of disk space.

    Its files are hard links, or copies where the disk allows no links. A link is safe: what is written later replaces a
    file and never changes it. The folder has its name only when it is whole, so that a kill leaves no half of it.

    Examples that a training kept for the report (`epochs`, `restored`) come along as they are: which photos they show
    and how depends on `data.seed_split` and `cams`, which a training does not, so that a run with others may have them.
    """
    folder = run / stage.folder
    clear(folder)
    unfinished = folder.with_name(f".{folder.name}.taken")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source / stage.folder, unfinished, copy_function=_link)
    keep_photos(unfinished, stage.manifest.photos)
    unfinished.rename(folder)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
