"""A paper's table with our scores: mean and spread over the runs that are done, the paper's figures beside them."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from rich.markup import escape
from rich.table import Table

from tag2mask.config import Level
from tag2mask.files import replacing
from tag2mask.paper_tables import PaperScores
from tag2mask.report.tables import ScoreRow, notes_on_absent_classes

Metric = Literal["miou", "precision", "recall"]
METRICS: tuple[Metric, ...] = get_args(Metric)
METRIC_NAMES: dict[Metric, str] = {"miou": "mIoU", "precision": "precision", "recall": "recall"}


class Spread(NamedTuple):
    """A score over runs with different random seeds, in [0, 1]."""

    mean: float
    deviation: float | None
    """Sample standard deviation; None for a single run."""


@dataclass(frozen=True)
class ComparedRow:
    """One row of a table."""

    name: str
    """As it is printed."""
    method: str
    """Whose score it is."""
    level: Level
    """What was measured."""
    paper: PaperScores | None
    """The paper's figures, where it has this row."""
    scores: Mapping[int, ScoreRow]
    """Ours, by the random seed of each run that is done."""

    def spread(self, metric: Metric) -> Spread | None:
        """Mean and spread over the runs, None while none is done."""
        values = [getattr(row, metric) for row in self.scores.values()]
        if not values:
            return None
        return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Comparison:
    """A table, finished or not."""

    name: str
    """Name of its files, without suffix."""
    title: str
    """What is compared."""
    source: str
    """Where the paper's figures stand, and what they were measured on."""
    recipe: str
    """Name of the recipe that the rows were run with."""
    seeds: tuple[int, ...]
    """Random seeds asked for, and further ones of which every row is done."""
    rows: tuple[ComparedRow, ...]
    """In the order of the paper."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that are shown: mIoU, and those that the paper gives for any row."""
        given = [row.paper for row in self.rows if row.paper]
        return tuple(name for name in METRICS if name == "miou" or any(getattr(p, name) is not None for p in given))


def comparison_table(comparison: Comparison) -> Table:
    """A table for the terminal, in percent."""
    table = Table()
    for number, heading in enumerate(_headings(comparison)):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in comparison.rows:
        table.add_row(*(escape(cell) for cell in _cells(comparison, row)))
    return table


def comparison_markdown(comparison: Comparison) -> str:
    """The table in Markdown, in percent."""
    headings = _headings(comparison)
    lines = [headings, ["---", *("---:" for _ in headings[1:])]]
    lines += [[cell.replace("|", "\\|") for cell in _cells(comparison, row)] for row in comparison.rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"**{comparison.title}**\n\n{table}\n" + "".join(f"{note}\n" for note in comparison_notes(comparison))


def comparison_notes(comparison: Comparison) -> list[str]:
    """Sentences that explain what the numbers are."""
    done = [score for row in comparison.rows for score in row.scores.values()]
    measured = dict.fromkeys(f"{score.split} ({score.num_photos:,} photos)" for score in done)
    of_seeds = f"mean ± standard deviation over random seeds {_listed(comparison.seeds)}"
    if len(comparison.seeds) == 1:
        of_seeds = f"random seed {comparison.seeds[0]}"
    notes = [f"Ours, in percent: {', '.join([f'recipe {comparison.recipe}', *measured, of_seeds])}."]
    if any(score.threshold_source == "best on this split" for score in done):
        notes.append("Maps are measured at the background threshold that is best on these photos.")
    return [*notes, *notes_on_absent_classes(done), f"Paper: {comparison.source}."]


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write the table as NAME.json and NAME.md, replacing older ones."""
    text = json.dumps(_as_json(comparison), indent=2, ensure_ascii=False)
    for suffix, content in ((".json", f"{text}\n"), (".md", comparison_markdown(comparison))):
        with replacing(folder / f"{comparison.name}{suffix}") as path:
            path.write_text(content, encoding="utf-8")


def _headings(comparison: Comparison) -> list[str]:
    of_metrics = [heading for metric in comparison.metrics for heading in (METRIC_NAMES[metric], "paper")]
    return ["row", *of_metrics, "runs"]


def _cells(comparison: Comparison, row: ComparedRow) -> list[str]:
    cells = [row.name]
    for metric in comparison.metrics:
        cells += [_in_percent(row.spread(metric)), _paper_in_percent(row.paper, metric)]
    return [*cells, f"{len(row.scores)} of {len(comparison.seeds)}"]


def _in_percent(spread: Spread | None) -> str:
    if spread is None:
        return "not done"
    deviation = "" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}"


def _paper_in_percent(paper: PaperScores | None, metric: Metric) -> str:
    value = getattr(paper, metric) if paper else None
    return "-" if value is None else f"{100 * value:.1f}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _as_json(comparison: Comparison) -> dict[str, Any]:
    values = asdict(comparison)
    for row, written in zip(comparison.rows, values["rows"], strict=True):
        spreads = {metric: row.spread(metric) for metric in METRICS}
        written["mean"] = {metric: spread.mean for metric, spread in spreads.items() if spread} or None
        written["deviation"] = {
            metric: spread.deviation for metric, spread in spreads.items() if spread and spread.deviation is not None
        } or None
    return values
