from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.paper_tables import PaperScores
from tag2mask.report.comparison import ComparedRow, Comparison
from tag2mask.report.comparison_figure import draw_comparison
from tag2mask.report.tables import ScoreRow

OURS, PAPER = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def comparison(*mious: float, paper: PaperScores | None = None) -> Comparison:
    """A row with these scores, and one that is not begun."""
    scores = {
        seed: ScoreRow("acr", "seed", "train", miou, 0.5, 0.5, {}, None, None, 10, 1.0)
        for seed, miou in enumerate(mious)
    }
    rows = (ComparedRow("costs $ and $", "acr", "seed", paper, scores), ComparedRow("none", "acr", "seed", None, {}))
    return Comparison("table1", "A title with $ and $", "a paper", "mine", (0, 1), rows)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def columns_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Columns of the upper half, where the row with scores is, that show the colour."""
    upper = picture[: len(picture) // 2]
    return np.flatnonzero((upper == colour).all(axis=2).any(axis=0))


def test_papers_figure_lies_right_of_ours_where_it_is_higher(tmp_path: Path):
    draw_comparison(tmp_path / "table.png", comparison(0.30, 0.32, paper=PaperScores(0.6)))

    picture = pixels(tmp_path / "table.png")
    assert columns_of(picture, OURS).max() < columns_of(picture, PAPER).min()
    assert [path.name for path in tmp_path.iterdir()] == ["table.png"]


def test_spread_is_drawn_as_wide_as_it_is(tmp_path: Path):
    widths = []
    for mious in ((0.29, 0.31), (0.2, 0.4), (0.3,)):
        draw_comparison(tmp_path / "table.png", comparison(*mious, paper=PaperScores(0.6)))
        widths.append(np.ptp(columns_of(pixels(tmp_path / "table.png"), OURS)))

    narrow, wide, single = widths
    assert single < narrow < wide / 3


def test_metrics_that_the_paper_gives_have_a_panel_each(tmp_path: Path):
    for name, paper in (("one", PaperScores(0.6)), ("three", PaperScores(0.6, 0.7, 0.8))):
        draw_comparison(tmp_path / f"{name}.png", comparison(0.3, paper=paper))

    one, three = (pixels(tmp_path / f"{name}.png").shape[1] for name in ("one", "three"))
    assert three == pytest.approx(2 * one, abs=2)


def test_table_of_which_nothing_is_known_is_drawn(tmp_path: Path):
    draw_comparison(tmp_path / "table.png", comparison())

    picture = pixels(tmp_path / "table.png")
    assert not len(columns_of(picture, OURS))
