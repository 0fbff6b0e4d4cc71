"""Short digests of what files hold; a file that is known in its present size and time is not opened for one."""

import hashlib
from pathlib import Path

FileState = tuple[str, int, int]
"""Absolute path of a file, its size in bytes and its time of writing in nanoseconds."""

ALGORITHM = "sha256"
_LENGTH = 16
_known: dict[FileState, str] = {}


def digest_content(content: bytes) -> str:
    """Of bytes, as `digest_file` gives it of a file that holds them."""
    return hashlib.new(ALGORITHM, content).hexdigest()[:_LENGTH]


def digest_file(path: Path) -> str:
    """Of a file's content, so that a copied data set is the same; a process reads each file once at most."""
    state = state_of_file(path)
    if state not in _known:
        with path.open("rb") as file:
            _known[state] = hashlib.file_digest(file, ALGORITHM).hexdigest()[:_LENGTH]
    return _known[state]


def remember_digest(state: FileState, digest: str) -> None:
    """Take the digest of a file in some state as known: who has read the file, or kept what it holds, tells it."""
    _known[state] = digest


def state_of_file(path: Path) -> FileState:
    """What tells, without opening a file, that it was changed."""
    stat = path.stat()
    return str(path.absolute()), stat.st_size, stat.st_mtime_ns
