"""What docs/python.md shows must run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.report.tables import read_scores

PAGE = Path(__file__).resolve().parents[1] / "docs/python.md"
LABEL, RUN, SCORES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def place(whole_run: Path, whole_recipe: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which the page's files are."""
    shutil.copytree(whole_run, tmp_path / "runs/mine")
    shutil.copy(whole_recipe, tmp_path / "mine.yaml")
    (tmp_path / "photos").mkdir()
    shutil.copy(shapes / "00.png", tmp_path / "photos/street.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("one_thread")
def test_photos_are_labelled(place: Path, shapes: Path, capsys: pytest.CaptureFixture[str]):
    told: dict[str, object] = {}

    exec(compile(LABEL, str(PAGE), "exec"), told)

    label_map = np.asarray(Image.open(place / "runs/mine/6-predictions/acr/masks/00.png"))
    areas = {name: int((label_map == label).sum()) for label, name in enumerate(("background", "disc", "square"))}
    assert capsys.readouterr().out == f"{ {name: area for name, area in areas.items() if area} }\n"
    assert told["shown"] == [name for name in ("disc", "square") if areas[name]]
    assert np.array_equal(np.asarray(told["scores"]).argmax(0), label_map)
    assert Image.open(place / "overlay.jpg").size == Image.open(shapes / "00.png").size


def test_stages_run_from_a_script_which_tells_how_it_goes(place: Path):
    (place / "script.py").write_text(RUN, encoding="utf-8")

    ran = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert "1-classifier/acr: up to date" in ran.stderr
    assert "4-pseudo-labels/acr: labels.threshold changed from 0.25 to 0.3" in ran.stderr
    assert ran.stdout.splitlines()[:2] == ["results: runs/mine"] * 2
    row = next(row for row in read_scores(place / "runs/mine/scores.json") if row.level == "pseudo-label")
    assert row.threshold == 0.3


def test_scores_are_read(place: Path, capsys: pytest.CaptureFixture[str]):
    told: dict[str, object] = {}

    exec(compile(SCORES, str(PAGE), "exec"), told)

    rows = read_scores(place / "runs/mine/scores.json")
    assert told["rows"] == rows
    assert len(capsys.readouterr().out.splitlines()) == len(rows) > 5
    assert told["best"] in rows
