"""Runs a paper's table: every row over several seeds, what rows have in common done once, ours beside the paper's."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tag2mask.config import Recipe
from tag2mask.data.records import DataSet
from tag2mask.engine import launch
from tag2mask.networks.reconstructor import check_side
from tag2mask.paper_tables import Table, TableRow
from tag2mask.pipeline import Pipeline
from tag2mask.plan import plan
from tag2mask.recipes import save_recipe
from tag2mask.report.collect import RECIPE_FILE
from tag2mask.report.comparison import ComparedRow, Comparison, write_comparison
from tag2mask.report.comparison_figure import draw_comparison
from tag2mask.report.tables import ScoreRow, read_scores
from tag2mask.report.verdict import leading_row
from tag2mask.stages import Photos, Stage, photos_of, state_of

_logger = logging.getLogger(__name__)


class PlannedRow(NamedTuple):
    """A row that can be run."""

    row: TableRow
    recipe: Recipe
    """Settings, of the first seed."""
    photos: Photos


class TableRun:
    """A table in a folder: run folders `seed-SEED/TABLE/ROW`, and the table itself as TABLE.json, .md and .png.

    Args:
        table: which rows.
        recipes: of the rows, with the first seed.
        name: of the recipe that the table is run with, as it is printed.
        data_set: photos of all rows.
        run: folder; several tables can be in it and share what they have in common.

    Raises:
        ValueError: the settings of a row contradict each other, or nothing can be measured.
    """

    def __init__(self, table: Table, recipes: Sequence[Recipe], *, name: str, data_set: DataSet, run: Path) -> None:
        self._table = table
        self._name = name
        self._run = run
        self._rows = [
            PlannedRow(row, recipe, photos_of(data_set, recipe.data))
            for row, recipe in zip(table.rows, recipes, strict=True)
        ]
        for planned in self._rows:
            self._check(planned)

    def do(self, num_seeds: int, *, warnings: Sequence[str] = ()) -> Comparison | None:
        """Run what is not done yet, seed by seed, and keep the table up to date; it is given to the first process only.

        Args:
            num_seeds: the recipes' seed and those that follow it.
            warnings: lines of the check of the data, for the reports.
        """
        # All rows have the same: the processes start once.
        engine = self._rows[0].recipe.engine
        fabric = launch(engine)
        seeds = tuple(range(engine.seed, engine.seed + num_seeds))
        scores: dict[str, dict[int, ScoreRow]] = {row.name: {} for row in self._table.rows}
        total = num_seeds * len(self._rows)
        for number, (seed, planned) in enumerate(product(seeds, self._rows), start=1):
            row, run = planned.row, self._folder(seed, planned.row)
            recipe = replace(planned.recipe, engine=replace(engine, seed=seed))
            siblings = self._siblings(seed, run)
            pipeline = Pipeline(fabric, recipe, planned.photos, run=run, siblings=siblings, warnings=warnings)
            goal = self._goal(row, pipeline.stages)
            title = f"{self._table.name} {number}/{total}, {row.name}, seed {seed}"
            done = state_of(goal, run).state == "up to date" and (run / _LAST).exists()
            # All processes have read this before the first one changes it.
            fabric.barrier()
            _logger.info("%s: %s%s", title, run, " is done" if done else "")
            if not done:
                if fabric.is_global_zero:
                    # A stop before the results are written anew must not leave those of other settings for done.
                    (run / _LAST).unlink(missing_ok=True)
                save_recipe(run / RECIPE_FILE, recipe)
                pipeline.reach(goal)
            if fabric.is_global_zero:
                found = leading_row(read_scores(run / "scores.json"), row.method, row.level)
                assert found is not None
                scores[row.name][seed] = found
                if not done or number == total:
                    self._write(self._comparison(seeds, scores))
        return self._comparison(seeds, scores) if fabric.is_global_zero else None

    def _check(self, planned: PlannedRow) -> None:
        row, recipe = planned.row, planned.recipe
        check_side(recipe.acr.reconstructor, recipe.data.crop)
        try:
            stages = plan(recipe, planned.photos, self._folder(recipe.engine.seed, row))
        except ValueError as error:
            raise ValueError(f"{self._table.name}, row {row.name}: {error}") from error
        self._goal(row, stages)

    def _goal(self, row: TableRow, stages: Sequence[Stage]) -> Stage:
        """The measurement that the row shows."""
        for stage in stages:
            if stage.kind == "scores" and (stage.method, stage.level) == (row.method, row.level):
                return stage
        raise ValueError(
            f"{self._table.name}, row {row.name}: nothing gives the level {row.level} of {row.method}; "
            f"expected {_NEEDED[row.level]}"
        )

    def _folder(self, seed: int, row: TableRow) -> Path:
        return self._run / f"seed-{seed}" / self._table.name / row.folder

    def _siblings(self, seed: int, run: Path) -> list[Path]:
        """Run folders of the same seed, those of other tables too."""
        found = sorted(path.parent for path in (self._run / f"seed-{seed}").glob(f"*/*/{RECIPE_FILE}"))
        return [folder for folder in found if folder != run]

    def _comparison(self, seeds: tuple[int, ...], scores: dict[str, dict[int, ScoreRow]]) -> Comparison:
        table = self._table
        rows = [ComparedRow(row.name, row.method, row.level, row.paper, scores[row.name]) for row in table.rows]
        return Comparison(table.name, table.title, table.source, self._name, seeds, tuple(rows))

    def _write(self, comparison: Comparison) -> None:
        write_comparison(self._run, comparison)
        draw_comparison(self._run / f"{comparison.name}.png", comparison)


_LAST = "report.html"
"""The file of a run that is written after all others."""
_NEEDED = {
    "seed": "photos with masks in data.seed_split",
    "crf": "crf.enabled, and photos with masks in data.seed_split",
    "refined": "a refinement.method, and photos with masks in data.seed_split",
    "pseudo-label": "photos with masks in both data.seed_split and data.label_split",
    "segmenter": "photos with masks in data.val_split",
}
