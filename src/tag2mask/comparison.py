"""Runs a paper's table: every row with several seeds, shared work done once, our scores beside the paper's."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tag2mask.config import Recipe
from tag2mask.data.records import DataSet
from tag2mask.engine import launched
from tag2mask.paper_tables import Table, TableRow
from tag2mask.pipeline import Pipeline
from tag2mask.report.comparison import ComparedRow, Comparison, write_comparison
from tag2mask.report.comparison_figure import draw_comparison
from tag2mask.report.tables import ScoreRow, read_scores
from tag2mask.report.verdict import leading_row
from tag2mask.results import REPORT_FILE, SCORES_FILE
from tag2mask.runs.folder import RECIPE_FILE
from tag2mask.runs.plan import plan
from tag2mask.runs.stages import Photos, Stage, photos_of, state_of
from tag2mask.workers import refused_together

_logger = logging.getLogger(__name__)


class PlannedRow(NamedTuple):
    """A row that can be run."""

    row: TableRow
    recipe: Recipe
    """Settings of the row, with the first seed."""
    photos: Photos


@dataclass(frozen=True)
class RowRun:
    """A row with a seed, in a run folder of its own."""

    row: TableRow
    """The row of the paper's table."""
    seed: int
    """Random seed of the run."""
    run: Path
    """The run folder."""
    pipeline: Pipeline
    """The pipeline that works in the run folder."""
    goal: Stage
    """The measurement that the row shows."""

    def is_done(self) -> bool:
        """Whether the folder holds all that the row needs, of these settings."""
        made = state_of(self.goal, self.run).state == "up to date" and (self.run / REPORT_FILE).exists()
        return made and self._score() is not None

    def do(self) -> None:
        """Do what is not up to date."""
        # A stop before the results are written anew must not leave those of other settings for done.
        (self.run / REPORT_FILE).unlink(missing_ok=True)
        self.pipeline.reach(self.goal)

    def score(self) -> ScoreRow:
        """What was measured."""
        found = self._score()
        assert found is not None
        return found

    def _score(self) -> ScoreRow | None:
        return leading_row(read_scores(self.run / SCORES_FILE), self.row.method, self.row.level)


class TableRun:
    """A table in a folder: run folders `seed-SEED/TABLE/ROW`, and the table itself as TABLE.json, .md and .png.

    Args:
        table: the paper's table.
        recipes: recipe of each row, with the first seed.
        name: name of the recipe that the table is run with, as it is printed.
        data_set: the photos, the same for all rows.
        run: folder for all run folders; several tables can be in it and share what they have in common.

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
        """Run what is not done yet, seed by seed, and keep the table up to date; only the first process is given it.

        Args:
            num_seeds: how many seeds, counted up from the recipes' own.
            warnings: lines of the check of the data, for the reports.

        Raises:
            ValueError: a row cannot be trained; nothing is done then.
        """
        # All rows have the same: the processes start once.
        engine = self._rows[0].recipe.engine
        with launched(engine) as fabric:
            pipeline_of = partial(Pipeline, fabric, warnings=warnings)
            asked = range(engine.seed, engine.seed + num_seeds)
            # All processes have read what is done before the first one changes it.
            with refused_together(fabric):
                runs = [run for seed in asked for run in self._runs(seed, pipeline_of)]
                further = self._further_runs(asked, pipeline_of)
                done = [run for run in (*runs, *further) if run.is_done()]
                self._check_trainings([run for run in runs if run not in done])
            seeds = tuple(sorted({*asked, *(run.seed for run in further)}))
            if fabric.is_global_zero:
                # Before the table: by the folders of its seeds a folder of tables is known.
                runs[0].run.mkdir(parents=True, exist_ok=True)
                self._write(self._comparison(seeds, done))
            for number, run in enumerate(runs, start=1):
                title = f"{self._table.name} {number}/{len(runs)}, {run.row.name}, seed {run.seed}"
                if run in done:
                    _logger.info("%s: %s is done", title, run.run)
                    continue
                _logger.info("%s: %s", title, run.run)
                run.do()
                done.append(run)
                if fabric.is_global_zero:
                    self._write(self._comparison(seeds, done))
            return self._comparison(seeds, done) if fabric.is_global_zero else None

    def _check(self, planned: PlannedRow) -> None:
        row, recipe = planned.row, planned.recipe
        try:
            _goal(row, plan(recipe, planned.photos, self._folder(recipe.engine.seed, row)))
        except ValueError as error:
            raise self._of_row(row, error) from error

    def _check_trainings(self, runs: Sequence[RowRun]) -> None:
        """Refuse rows that cannot be trained before hours are spent on the others."""
        # One run of each row will do, that of the last seed: it has the most to train.
        for run in {run.row.name: run for run in runs}.values():
            try:
                run.pipeline.check(run.goal)
            except ValueError as error:
                raise self._of_row(run.row, error) from error

    def _of_row(self, row: TableRow, error: ValueError) -> ValueError:
        return ValueError(f"{self._table.name}, row {row.name}: {error}")

    def _runs(self, seed: int, pipeline_of: Callable[..., Pipeline]) -> list[RowRun]:
        """Every row with a seed."""
        folders = [self._folder(seed, row) for row in self._table.rows]
        # Those of other tables too.
        others = (path.parent for path in (self._run / f"seed-{seed}").glob(f"*/*/{RECIPE_FILE}"))
        siblings = sorted({*folders, *others})
        runs = []
        for (row, first, photos), run in zip(self._rows, folders, strict=True):
            recipe = replace(first, engine=replace(first.engine, seed=seed))
            before = [folder for folder in siblings if folder != run]
            pipeline = pipeline_of(recipe, photos, run=run, siblings=before)
            runs.append(RowRun(row, seed, run, pipeline, _goal(row, pipeline.stages)))
        return runs

    def _further_runs(self, asked: Sequence[int], pipeline_of: Callable[..., Pipeline]) -> list[RowRun]:
        """Runs with seeds that were asked for earlier, not now, and that are done in every row."""
        numbers = [path.name.removeprefix("seed-") for path in self._run.glob("seed-*")]
        seeds = sorted({int(number) for number in numbers if number.isdecimal()} - {*asked})
        of_seeds = [self._runs(seed, pipeline_of) for seed in seeds]
        return [run for runs in of_seeds if all(run.is_done() for run in runs) for run in runs]

    def _folder(self, seed: int, row: TableRow) -> Path:
        return self._run / f"seed-{seed}" / self._table.name / row.folder

    def _comparison(self, seeds: tuple[int, ...], done: Sequence[RowRun]) -> Comparison:
        table = self._table
        rows = []
        for row in table.rows:
            scores = {run.seed: run.score() for run in sorted(done, key=lambda run: run.seed) if run.row == row}
            rows.append(ComparedRow(row.name, row.method, row.level, row.paper, scores))
        return Comparison(table.name, table.title, table.source, self._name, seeds, tuple(rows))

    def _write(self, comparison: Comparison) -> None:
        write_comparison(self._run, comparison)
        draw_comparison(self._run / f"{comparison.name}.png", comparison)


def _goal(row: TableRow, stages: Sequence[Stage]) -> Stage:
    """The measurement that the row shows."""
    for stage in stages:
        if stage.kind == "scores" and (stage.method, stage.level) == (row.method, row.level):
            return stage
    raise ValueError(f"nothing gives the level {row.level} of {row.method}; expected {_NEEDED[row.level]}")


_NEEDED = {
    "seed": "photos with masks in data.seed_split",
    "crf": "crf.enabled, and photos with masks in data.seed_split",
    "refined": "a refinement.method, and photos with masks in data.seed_split",
    "pseudo-label": "photos with masks in both data.seed_split and data.label_split",
    "segmenter": "photos with masks in data.val_split",
}
