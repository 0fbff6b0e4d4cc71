"""How folders of results are known, which may lie among photos and hold none of a data set."""

from pathlib import Path

FACTS_FILE = ".checked_files.json"
"""In the folder of a run or of tables: what the check of the data found in each file, so that the next one opens only
what has changed."""
CONTENTS_FILE = "photos.json"
"""In a folder of predictions: digest of the photo that each mask was made of, by name."""
OVERLAYS = "overlays"
"""Subfolder of predictions: photos with their masks laid over them."""


def holds_results(folder: Path) -> bool:
    """Whether a folder is that of a run, of tables or of predictions."""
    return (folder / FACTS_FILE).is_file() or ((folder / CONTENTS_FILE).is_file() and (folder / OVERLAYS).is_dir())
