import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tag2mask.paper_tables import PaperScores
from tag2mask.report.comparison import (
    ComparedRow,
    Comparison,
    comparison_markdown,
    comparison_notes,
    comparison_table,
    write_comparison,
)
from tag2mask.report.tables import ScoreRow


def score(miou: float, precision: float = 0.5, recall: float = 0.5) -> ScoreRow:
    return ScoreRow("acr", "seed", "train", miou, precision, recall, {}, 0.25, "best on this split", 1464, 3.0)


def compared(name: str, scores: Mapping[int, ScoreRow], paper: PaperScores | None = None) -> ComparedRow:
    return ComparedRow(name, "acr", "seed", paper, scores)


@pytest.fixture
def comparison() -> Comparison:
    """Three seeds: a row that is done, one that is half done, and one that is not begun."""
    rows = (
        compared("all | of it", {1: score(0.40), 2: score(0.44), 3: score(0.45)}, PaperScores(0.603)),
        compared("one", {1: score(0.5)}, PaperScores(0.484)),
        compared("none", {}),
    )
    return Comparison("table1", "A title", "a paper, table 1", "mine", (1, 2, 3), rows)


def printed(comparison: Comparison) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    console.print(comparison_table(comparison))
    return console.file.getvalue().splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│|").split("│" if "│" in line else " | ")]


def test_mean_and_sample_deviation_are_those_by_hand(comparison: Comparison):
    spread = comparison.rows[0].spread("miou")

    assert spread is not None
    assert spread.mean == pytest.approx(0.43)
    # Squared distances 9, 1 and 4, divided by one less than three.
    assert spread.deviation == pytest.approx(math.sqrt(14 / 2) / 100)


def test_single_seed_has_no_deviation_and_no_seed_no_mean(comparison: Comparison):
    _, one, none = comparison.rows

    assert one.spread("miou") == (0.5, None)
    assert none.spread("miou") is None


def test_terminal_shows_ours_beside_the_papers_and_what_is_missing(comparison: Comparison):
    lines = [cells(line) for line in printed(comparison) if line.startswith("│")]

    assert lines == [
        ["all | of it", "43.0 ± 2.6", "60.3", "3 of 3"],
        ["one", "50.0", "48.4", "1 of 3"],
        ["none", "not done", "-", "0 of 3"],
    ]


def test_markdown_shows_the_same(comparison: Comparison):
    lines = comparison_markdown(comparison).splitlines()

    assert lines[0] == "**A title**"
    assert lines[2] == "| row | mIoU | paper | runs |"
    assert lines[3] == "| --- | ---: | ---: | ---: |"
    assert lines[4] == "| all \\| of it | 43.0 ± 2.6 | 60.3 | 3 of 3 |"
    assert lines[6] == "| none | not done | - | 0 of 3 |"


def test_precision_and_recall_are_shown_where_the_paper_has_them(comparison: Comparison):
    row = compared("one", {1: score(0.5, 0.61, 0.72)}, PaperScores(0.484, 0.63, 0.74))
    with_all = replace(comparison, rows=(row, comparison.rows[2]))

    lines = [line for line in comparison_markdown(with_all).splitlines() if line.startswith("|")]

    assert lines[0] == "| row | mIoU | paper | precision | paper | recall | paper | runs |"
    assert lines[2] == "| one | 50.0 | 48.4 | 61.0 | 63.0 | 72.0 | 74.0 | 1 of 3 |"
    assert lines[3] == "| none | not done | - | not done | - | not done | - | 0 of 3 |"


def test_notes_say_what_was_measured_and_how(comparison: Comparison):
    assert comparison_notes(comparison) == [
        "Ours, in percent: recipe mine, train (1,464 photos), mean ± standard deviation over random seeds 1, 2, 3.",
        "Maps are measured at the background threshold that is best on these photos.",
        "Paper: a paper, table 1.",
    ]
    single = replace(comparison, seeds=(1,), rows=comparison.rows[2:])
    assert comparison_notes(single)[0] == "Ours, in percent: recipe mine, random seed 1."


def test_notes_name_classes_that_no_measured_photo_shows(comparison: Comparison):
    scores = {seed: replace(score(0.4), iou={"background": 0.8, "cat": None}) for seed in (1, 2)}

    notes = comparison_notes(replace(comparison, rows=(compared("one", scores),)))

    assert [note for note in notes if "Warning" in note] == [
        "Warning: none of the 1,464 measured photos of train shows cat, which counts as 0: "
        "no mIoU on them can be above 50.0."
    ]


def test_files_hold_every_score_and_the_means(comparison: Comparison, tmp_path: Path):
    write_comparison(tmp_path, comparison)

    assert {path.name for path in tmp_path.iterdir()} == {"table1.json", "table1.md"}
    assert (tmp_path / "table1.md").read_text(encoding="utf-8") == comparison_markdown(comparison)
    found = json.loads((tmp_path / "table1.json").read_text(encoding="utf-8"))
    whole, one, none = found["rows"]
    assert (found["recipe"], found["seeds"]) == ("mine", [1, 2, 3])
    assert {seed: row["miou"] for seed, row in whole["scores"].items()} == {"1": 0.40, "2": 0.44, "3": 0.45}
    assert whole["mean"]["miou"] == pytest.approx(0.43)
    assert whole["deviation"]["miou"] == pytest.approx(math.sqrt(7) / 100)
    assert whole["paper"] == {"miou": 0.603, "precision": None, "recall": None}
    assert (one["mean"]["miou"], one["deviation"]) == (0.5, None)
    assert (none["scores"], none["mean"], none["deviation"], none["paper"]) == ({}, None, None, None)
