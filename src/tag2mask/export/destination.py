"""Where an export goes, looked at before the work begins."""

import tempfile
from pathlib import Path


def check_destination(path: Path, *endings: str) -> None:
    """Find out whether a file can be written before it is made; its folder is made now.

    Args:
        path: of the file.
        endings: those that its name may have.

    Raises:
        ValueError: its name has another ending, it is a folder, or its folder takes no files.
    """
    if not path.name.endswith(endings):
        raise ValueError(f"found the name {path}, expected one that ends in {' or '.join(endings)}")
    if path.is_dir():
        raise ValueError(f"{path}: found a folder, expected the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # By doing it: rights say nothing of a disk that takes no files.
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(f"{path.parent}: cannot write here: {error.strerror}") from error
