"""Files that mark folders of results, so that their images are not taken for photos of a data set."""

from pathlib import Path

FACTS_FILE = ".checked_files.json"
"""File in the folder of a run or of tables: what the check of the data found in each file, so that the next check
opens only files that have changed."""
CONTENTS_FILE = "photos.json"
"""File in a folder of predictions: digest of the photo that each mask was made from, by name."""
MANIFEST_FILE = "manifest.json"
"""File in the folder of a stage or of predictions: how these were made."""
MODEL_FILE = "config.json"
"""File in a model folder: how its segmenter predicts."""


def holds_results(folder: Path) -> bool:
    """Whether a folder is that of a run, of tables or of predictions."""
    of_predictions = (folder / CONTENTS_FILE).is_file() and (folder / MANIFEST_FILE).is_file()
    return of_predictions or (folder / FACTS_FILE).is_file()
