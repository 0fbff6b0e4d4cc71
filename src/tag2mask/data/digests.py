"""Short digests of what files hold; a file whose size and time have not changed is not opened again."""

import hashlib
from pathlib import Path

FileState = tuple[str, int, int]
"""Absolute path of a file, its size in bytes and its time of writing in nanoseconds."""

ALGORITHM = "sha256"
_LENGTH = 16
_known: dict[FileState, str] = {}


def digest_content(content: bytes) -> str:
    """Digest of these bytes: the same as `digest_file` gives for a file that holds them."""
    return hashlib.new(ALGORITHM, content).hexdigest()[:_LENGTH]


def digest_file(path: Path) -> str:
    """Digest of a file's content, equal for copies of it; a process reads each file at most once."""
    state = state_of_file(path)
    if state not in _known:
        with path.open("rb") as file:
            _known[state] = hashlib.file_digest(file, ALGORITHM).hexdigest()[:_LENGTH]
    return _known[state]


def remember_digest(state: FileState, digest: str) -> None:
    """Keep a digest that the caller knows already, so that `digest_file` does not read the file in this state."""
    _known[state] = digest


def state_of_file(path: Path) -> FileState:
    """Path, size and time of writing of a file: they show that it was changed without opening it."""
    stat = path.stat()
    return str(path.absolute()), stat.st_size, stat.st_mtime_ns
