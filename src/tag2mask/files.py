"""Writing files so that a killed run leaves no half file."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SUFFIX = ".tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give an empty temporary file beside `path`, which replaces `path` when the block ends without an error.

    Raises:
        OSError: the system refuses it, naming `path`: the name of the temporary file would tell nobody anything.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the name itself, which may have all the bytes that the system takes.
    name = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    temporary = path.with_name(f".{name}.{os.getpid()}{_SUFFIX}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        # Some writers, that of safetensors among them, put a file of their own there, for its owner alone.
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        # A write that fails, as on a full disk, names no file at all.
        if error.errno and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed run left in a folder nobody writes to now, and below it."""
    for path in folder.rglob(f".*{_SUFFIX}"):
        path.unlink()


def remove_leftovers_at_top(folder: Path) -> None:
    """Delete the temporary files in a folder itself, not in its subfolders."""
    for path in folder.glob(f".*{_SUFFIX}"):
        path.unlink()
