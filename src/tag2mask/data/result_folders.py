"""How folders of results are known, which may lie among photos and hold none of a data set."""

from pathlib import Path

FACTS_FILE = ".checked_files.json"
"""In the folder of a run or of tables: what the check of the data found in each file, so that the next one opens only
what has changed."""
CONTENTS_FILE = "photos.json"
"""In a folder of predictions: digest of the photo that each mask was made of, by name."""
MANIFEST_FILE = "manifest.json"
"""In the folder of a stage and of predictions: how they were made."""


def holds_results(folder: Path) -> bool:
    """Whether a folder is that of a run, of tables or of predictions."""
    of_predictions = (folder / CONTENTS_FILE).is_file() and (folder / MANIFEST_FILE).is_file()
    return of_predictions or (folder / FACTS_FILE).is_file()
