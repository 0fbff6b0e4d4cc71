import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tag2mask.report.tables import ScoreRow, read_scores, scores_table, write_scores


def row(**changed: object) -> ScoreRow:
    values: dict[str, object] = {
        "method": "acr",
        "level": "seed",
        "split": "train",
        "miou": 0.6034,
        "precision": 0.75,
        "recall": 0.761,
        "iou": {"background": 0.8, "größer": 0.4},
        "threshold": 0.2,
        "threshold_source": "best on this split",
        "num_photos": 1464,
        "seconds": 3.25,
    }
    return ScoreRow(**(values | changed))


def printed(rows: list[ScoreRow]) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(scores_table(rows))
    return console.file.getvalue()


def test_what_was_written_is_read(tmp_path: Path):
    rows = [row(), row(level="segmenter", threshold=None, threshold_source=None, iou={"background": 0.8, "cat": None})]

    write_scores(tmp_path / "run" / "scores.json", rows)

    assert read_scores(tmp_path / "run" / "scores.json") == rows
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["scores.json"]


def test_file_holds_the_fields_by_name_in_0_to_1(tmp_path: Path):
    write_scores(tmp_path / "scores.json", [row()])

    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == [dataclasses.asdict(row())]


def test_rows_are_written_in_the_place_of_those_before(tmp_path: Path):
    path = tmp_path / "scores.json"
    write_scores(path, [row(), row(level="refined")])

    write_scores(path, [row(miou=0.7)])

    assert read_scores(path) == [row(miou=0.7)]


def test_no_file_is_no_rows(tmp_path: Path):
    assert read_scores(tmp_path / "scores.json") == []


def test_table_is_in_percent_with_one_decimal():
    text = printed(
        [row(), row(method="[red]", level="segmenter", threshold=None, threshold_source=None, seconds=4321.7)]
    )

    first, second = (line for line in text.splitlines() if "train" in line)
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in (first, second)]
    assert cells[0] == ["acr", "seed", "train", "60.3", "75.0", "76.1", "0.20 (best on this split)", "1,464", "3.2"]
    assert cells[1] == ["[red]", "segmenter", "train", "60.3", "75.0", "76.1", "-", "1,464", "4,322"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"miou": 60.3}, "miou is 60.3, expected 0 to 1"),
        ({"recall": float("nan")}, "recall is nan, expected 0 to 1"),
        ({"iou": {"cat": -1}}, "iou of cat is -1, expected 0 to 1"),
        ({"iou": None}, "iou is None, expected class names"),
        ({"precision": "high"}, "precision is 'high', expected 0 to 1"),
        ({"level": "seeds"}, "level is 'seeds', expected one of seed, crf"),
        ({"threshold_source": "guessed"}, "threshold_source is 'guessed'"),
        ({"num_photos": -1}, "num_photos is -1"),
    ],
)
def test_wrong_values_are_refused(changed: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        row(**changed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("{}", "holds dict, expected a list"),
        ("[3]", "row 1 is without iou, without level"),
        (json.dumps([dataclasses.asdict(row()) | {"miuo": 0.5}]), "row 1 is with an unknown miuo"),
        (json.dumps([dataclasses.asdict(row()), dataclasses.asdict(row()) | {"miou": 2}]), "row 2: miou is 2"),
    ],
)
def test_broken_file_is_refused_by_name(tmp_path: Path, content: str, message: str):
    path = tmp_path / "scores.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(ValueError, match=message) as caught:
        read_scores(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
