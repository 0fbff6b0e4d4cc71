"""What makes a folder that of a run, and the refusal of folders that are none."""

from pathlib import Path

RECIPE_FILE = "config.yaml"
"""All settings of a run: the folder that has this file is a run's."""
FACTS_FILE = "checked_files.json"
"""What the check of the data found in each file, so that the next one opens only what has changed."""


def expect_run(folder: Path) -> None:
    """Refuse a folder that is not that of a run.

    Raises:
        ValueError: it has no recipe.
    """
    if not (folder / RECIPE_FILE).is_file():
        raise ValueError(f"{folder}: found no {RECIPE_FILE}, expected the folder of a run")


def refuse_foreign(folder: Path) -> None:
    """Let a run begin or go on only where there is no folder yet, an empty one or one of ours.

    Raises:
        ValueError: there are files of another origin.
    """
    if folder.exists() and not (folder / RECIPE_FILE).exists() and any(folder.iterdir()):
        raise ValueError(
            f"{folder}: not empty and not a run of tag2mask ({RECIPE_FILE} is missing): choose another --run"
        )


def refuse_foreign_tables(folder: Path) -> None:
    """Let tables be begun or gone on with only where there is no folder yet, an empty one or one of ours.

    Raises:
        ValueError: there are files of another origin.
    """
    if folder.exists() and any(folder.iterdir()) and not any(folder.glob("seed-*")):
        raise ValueError(f"{folder}: not empty and not a folder of tables (seed-* is missing): choose another --run")
