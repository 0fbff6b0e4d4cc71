"""What makes a folder a run folder, and the refusal of folders that are none or that cannot be worked in."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tag2mask.data.result_folders import MANIFEST_FILE
from tag2mask.recipes import photos_of_recipe
from tag2mask.runs.foreign import FOREIGN_FILES
from tag2mask.runs.manifest import read_manifest
from tag2mask.runs.stages import TRAININGS, Stage

_logger = logging.getLogger(__name__)

RECIPE_FILE = "config.yaml"
"""All settings of a run."""
LOCK_FILE = ".lock"
"""Holds the number of the process that works in the run folder, or was the last one to do so."""


def is_run(folder: Path) -> bool:
    """Whether a run has worked in a folder: there is its recipe, and either its lock or a stage that it has begun.

    A recipe alone may be somebody's own, and a copy of a run may lack hidden files.
    """
    if not (folder / RECIPE_FILE).is_file():
        return False
    return (folder / LOCK_FILE).is_file() or any(folder.glob(f"[1-6]-*/*/{MANIFEST_FILE}"))


def expect_run(folder: Path) -> None:
    """Refuse a folder that is not a run folder.

    Raises:
        ValueError: no run has worked in it.
    """
    if not is_run(folder):
        raise ValueError(f"{folder}: found no {RECIPE_FILE} with stages beside it, expected the folder of a run")


def refuse_foreign(folder: Path) -> None:
    """Refuse, for a run, a folder with files of another origin, except those that a run takes instead of stages.

    Raises:
        ValueError: there are files of another origin.
    """
    taken = [Path(file).parts[0] for file in FOREIGN_FILES.values()]
    if _has_files(folder, but=taken) and not is_run(folder):
        raise ValueError(
            f"{folder}: not empty and not a run of tag2mask (no {RECIPE_FILE} with stages beside it): choose another "
            "--run"
        )


def refuse_other_photos(folder: Path, stages: Sequence[Stage], root: Path | None) -> None:
    """Refuse other photos than those that a run has learned from, so that its trainings are not replaced.

    Args:
        folder: run folder.
        stages: the stages that are asked for.
        root: folder of the photos; the same photos may have moved there.

    Raises:
        ValueError: trainings were begun with photos of another folder, which differ.
    """
    before = photos_of_recipe(folder / RECIPE_FILE) if (folder / RECIPE_FILE).is_file() else None
    if before is None or root is None or before.resolve() == root.resolve():
        return
    others: dict[str, str] = {}
    for stage in stages:
        found = read_manifest(folder / stage.folder)
        if stage.kind in TRAININGS and found:
            for name in ("photos", "classes"):
                if found.inputs.get(name) != stage.manifest.inputs.get(name):
                    others[stage.folder] = name
    if others:
        raise ValueError(
            f"{folder}: was made of the photos in {before}, found other {next(iter(others.values()))} in {root}: "
            f"choose another --run, or delete in this one {', '.join(others)} to have them trained anew"
        )


def refuse_unwritable(folder: Path) -> None:
    """Refuse a run folder that cannot be written to or made, before anything is read for it.

    Raises:
        ValueError: the folder, or the nearest one above that there is, takes no files.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"{nearest}: found a file, expected a folder for the run")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"{nearest}: no right to write there: choose another --run")


def refuse_in_use(folder: Path) -> None:
    """Refuse a run folder that another process works in, before anything is read for it.

    The lock is not kept, and can be shared: the processes of one run may all ask.

    Raises:
        ValueError: another process works in the folder.
    """
    path = folder / LOCK_FILE
    if not path.exists():
        return
    with path.open() as file:
        try:
            _lock_shared(file.fileno())
        except (BlockingIOError, PermissionError) as error:
            raise _in_use(folder, file) from error
        except OSError:
            # A disk without locks, which `alone_in` tells.
            return


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from working in a run folder until the block ends, or this process, however it ends.

    The system locks the open file: that the file is there, as it is after a kill, keeps nobody out.

    Raises:
        ValueError: another process works in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Not emptied by opening it: the number may be that of another process.
    with (folder / LOCK_FILE).open("a+") as file:
        try:
            _lock(file.fileno())
        except (BlockingIOError, PermissionError) as error:
            raise _in_use(folder, file) from error
        except OSError as error:
            # Some network disks have no locks.
            _logger.info("%s cannot be locked (%s): start no second run in it", folder, error.strerror)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def refuse_foreign_tables(folder: Path) -> None:
    """Refuse, for tables, a folder with files of another origin.

    Raises:
        ValueError: there are files of another origin.
    """
    if _has_files(folder) and not any(folder.glob("seed-*")):
        raise ValueError(f"{folder}: not empty and not a folder of tables (seed-* is missing): choose another --run")


def _has_files(folder: Path, *, but: Sequence[str] = ()) -> bool:
    """Whether anything else is in a folder; hidden files do not count: a run killed before it began leaves some."""
    return any(path.name not in but for path in folder.glob("[!.]*"))


def _in_use(folder: Path, lock_file: TextIO) -> ValueError:
    lock_file.seek(0)
    return ValueError(f"{folder} is in use by process {lock_file.read()}")


def _lock(file: int) -> None:
    """Lock an open file for this process, or raise at once."""
    if sys.platform == "win32":
        import msvcrt

        # Far behind the number of the process, which others have to read.
        os.lseek(file, 2**20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        # Not flock: the forked processes of a loader would inherit the lock and outlive a kill with it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_shared(file: int) -> None:
    """Lock an open file in shared mode, or raise at once if a process has locked it for itself."""
    if sys.platform == "win32":
        # It knows no other kind.
        _lock(file)
    else:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
