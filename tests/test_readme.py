"""What the README shows must run."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

README = Path(__file__).resolve().parents[1] / "README.md"


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
    from tag2mask.recipes import shipped_recipes

    text = README.read_text(encoding="utf-8")
    commands = set(re.findall(r"`tag2mask ([a-z]+)", text))
    recipes = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))

    from tag2mask.cli import _parser

    (subparsers,) = (action for action in _parser()._actions if action.dest == "command")
    assert commands <= set(subparsers.choices)
    assert recipes == set(shipped_recipes())
