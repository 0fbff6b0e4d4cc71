"""What the README shows must run."""

import csv
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tag2mask.cli import main
from tag2mask.recipes import load_recipe
from tag2mask.report.tables import ScoreRow
from tag2mask.report.verdict import verdict

README = Path(__file__).resolve().parents[1] / "README.md"
_FIGURE = r"\d+\.\d"


def test_python_example_runs(
    whole_run: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    shutil.copytree(whole_run / "5-segmenter/acr", tmp_path / "runs/demo/5-segmenter/acr")
    Image.open(shapes / "00.png").convert("RGB").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)

    exec(compile(example, str(README), "exec"), {})

    assert Image.open(tmp_path / "overlay.jpg").size == Image.open(shapes / "00.png").size
    assert capsys.readouterr().out.startswith("{'")


def test_every_command_and_recipe_of_the_tables_exists():
    from tag2mask.recipes.recipe_files import shipped_recipes

    text = README.read_text(encoding="utf-8")
    commands = set(re.findall(r"`tag2mask ([a-z]+)", text))
    recipes = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))

    from tag2mask.command_line import build_parser

    (subparsers,) = (action for action in build_parser()._actions if action.dest == "command")
    assert commands <= set(subparsers.choices)
    assert recipes == set(shipped_recipes())


def test_sentences_of_the_demo_follow_from_its_table():
    text = README.read_text(encoding="utf-8")
    recipe = load_recipe("demo")
    rows = [_score_row(line) for line in re.findall(r"^│ (.*) │$", text, re.MULTILINE)]

    sentences = "\n".join(verdict(rows, recipe.refinement.method))

    (shown,) = re.findall(r"│\n(ACR raised .*?)\nreport:", text, re.DOTALL)
    assert re.sub(_FIGURE, "x", shown) == re.sub(_FIGURE, "x", sentences)
    # The command takes differences before it rounds them.
    expected = [pytest.approx(float(figure), abs=0.11) for figure in re.findall(_FIGURE, sentences)]
    assert [float(figure) for figure in re.findall(_FIGURE, shown)] == expected


def _score_row(line: str) -> ScoreRow:
    method, level, split, miou, precision, recall, threshold, photos, seconds = (
        cell.strip() for cell in line.split("│")
    )
    value, _, source = threshold.removesuffix(")").partition(" (")
    return ScoreRow(
        method, level, split, float(miou) / 100, float(precision) / 100, float(recall) / 100, {},
        float(value) if source else None, source or None, int(photos), float(seconds),
    )  # fmt: skip


def test_check_prints_what_is_shown_of_real_photos(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    text = README.read_text(encoding="utf-8")
    ((command, output),) = re.findall(r"\n\$ tag2mask (check .*?)\n(.*?)\.\.\.\n```", text, re.DOTALL)
    (tmp_path / "voc12-animals").symlink_to(animals)
    monkeypatch.chdir(tmp_path)

    status = main([*command.split(), "--write", "faults.csv"])

    assert status == 0
    printed = capsys.readouterr().out
    assert printed.startswith(output)
    assert "3,576 of 3,576 readable, RGB" in printed
    assert "3,576, sizes match, ids 0..6 and 255; tags and masks agree on every photo" in printed
    with Path("faults.csv").open(newline="", encoding="utf-8") as file:
        faults = list(csv.DictReader(file))
    assert {(fault["severity"], fault["code"], fault["file"]) for fault in faults} == {
        ("warning", "seldom-alone", "person"),
        ("warning", "no-untagged", "tags"),
    }
