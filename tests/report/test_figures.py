from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tag2mask.evaluation.sweep import SweepScores, ThresholdSweep, sweep_photo
from tag2mask.report.colours import class_colours
from tag2mask.report.figures import (
    ComparisonRow,
    LevelRow,
    cam_comparison,
    level_comparison,
    map_comparison,
    overlay_cam,
    overlay_labels,
    overlay_mask,
    threshold_curves,
)


@pytest.fixture
def sweeps() -> dict[str, SweepScores]:
    rng = np.random.default_rng(0)
    result = {}
    for method in ("baseline", "acr"):
        sweep = ThresholdSweep(2)
        maps, label_map = rng.random((2, 30, 40), np.float32), rng.integers(0, 3, (30, 40)).astype(np.uint8)
        sweep.add(sweep_photo(maps, [1, 2], label_map, num_classes=2))
        result[method] = sweep.scores()
    return result


def comparison_row(height: int, width: int, *, with_mask: bool) -> ComparisonRow:
    rng = np.random.default_rng(height)
    cam = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width)
    return ComparisonRow(
        photo=rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        class_name="price in $ and $",
        cams={"baseline": cam, "acr": cam[::-1]},
        mask=cam > 0.5 if with_mask else None,
    )


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


def test_curves_are_drawn_in_the_colour_of_each_method(tmp_path: Path, sweeps: dict[str, SweepScores]):
    path = tmp_path / "figures" / "curves.png"

    threshold_curves(path, sweeps)

    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (pixels == colour).all(axis=1).sum() > 300
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]


def test_curves_of_the_three_scores_stand_side_by_side_with_the_best_threshold_marked(
    tmp_path: Path, sweeps: dict[str, SweepScores], monkeypatch: pytest.MonkeyPatch
):
    figures: list[Figure] = []
    save = Figure.savefig

    def keep_and_save(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep_and_save)
    scores = sweeps["acr"]

    threshold_curves(tmp_path / "curves.png", {"acr": scores})

    panels = figures[0].axes
    assert [panel.get_title("left") for panel in panels] == ["mIoU, %", "precision, %", "recall, %"]
    for panel, values in zip(panels, (scores.miou, scores.precision, scores.recall), strict=True):
        curve, mark = panel.lines
        np.testing.assert_array_equal(curve.get_ydata(), 100 * values)
        assert mark.get_xdata() == pytest.approx([scores.best()])


def test_comparison_has_a_column_a_method_and_one_for_the_truth(tmp_path: Path):
    rows = {with_mask: [comparison_row(30, 40, with_mask=with_mask)] for with_mask in (True, False)}

    cam_comparison(tmp_path / "with.png", rows[True])
    cam_comparison(tmp_path / "without.png", rows[False])

    (with_width, _), (without_width, _) = size_of(tmp_path / "with.png"), size_of(tmp_path / "without.png")
    assert (with_width - 44) / (without_width - 44) == pytest.approx(4 / 3, abs=0.01)


def test_comparison_takes_photos_of_all_shapes_and_rows_without_truth(tmp_path: Path):
    rows = [
        comparison_row(30, 40, with_mask=True),
        comparison_row(40, 30, with_mask=False),
        comparison_row(10, 90, with_mask=True),
    ]

    cam_comparison(tmp_path / "cams.png", rows)

    width, height = size_of(tmp_path / "cams.png")
    assert 0.3 < height / width < 0.6


def test_every_method_has_its_own_activations_under_its_name(tmp_path: Path):
    row = replace(comparison_row(30, 40, with_mask=False), cams={"baseline": np.zeros((30, 40), np.float32)})

    def drawn(acr: float) -> NDArray[np.uint8]:
        cams = row.cams | {"acr": np.full((30, 40), acr, np.float32)}
        map_comparison(tmp_path / "maps.png", [replace(row, cams=cams)])
        return np.asarray(Image.open(tmp_path / "maps.png"))

    columns = (drawn(0) != drawn(1)).any(axis=(0, 2)).nonzero()[0]

    # The second of two.
    assert columns.size > 100
    assert columns.min() > drawn(0).shape[1] / 2


def test_maps_alone_do_not_show_the_photo(tmp_path: Path):
    dark, light = (
        replace(comparison_row(30, 40, with_mask=True), photo=np.full((30, 40, 3), value, np.uint8))
        for value in (0, 255)
    )

    map_comparison(tmp_path / "dark.png", [dark])
    map_comparison(tmp_path / "light.png", [light])

    np.testing.assert_array_equal(Image.open(tmp_path / "dark.png"), Image.open(tmp_path / "light.png"))


def test_overlay_is_grey_without_activation_and_warm_with_it():
    photo = np.full((1, 2, 3), (200, 10, 60), np.uint8)

    picture = overlay_cam(photo, np.array([[0, 1]], np.float32))

    cold, warm = picture[0].astype(int)
    assert cold[0] == cold[1] == cold[2]
    assert warm[0] > warm[1] > warm[2]


def test_mask_is_coloured_and_the_rest_is_grey():
    photo = np.full((1, 2, 3), 90, np.uint8)

    picture = overlay_mask(photo, np.array([[True, False]]))

    assert picture[0, 0].argmax() == 1
    assert len(set(picture[0, 1].tolist())) == 1


def test_labels_have_the_colours_of_the_page_and_black_where_nothing_is_known():
    label_map = np.array([[*range(256)]], np.uint8)
    grey = 40

    background, *classes, unknown = overlay_labels(np.zeros((1, 256, 3), np.uint8), label_map)[0].tolist()

    expected = [[round(0.35 * grey + 0.65 * 255 * channel) for channel in to_rgb(name)] for name in class_colours(254)]
    assert background == [grey] * 3
    np.testing.assert_allclose(classes, expected, atol=1)
    assert unknown == [round(0.35 * grey)] * 3
    assert unknown not in classes


def test_levels_are_drawn_side_by_side(tmp_path: Path):
    photo = np.zeros((30, 40, 3), np.uint8)
    one = LevelRow(photo, "cat", {"CAM": photo})
    three = LevelRow(photo, "cat", {"CAM": photo, "CRF": photo, "true mask": photo})

    level_comparison(tmp_path / "one.png", [one])
    level_comparison(tmp_path / "three.png", [three])

    (one_width, _), (three_width, _) = size_of(tmp_path / "one.png"), size_of(tmp_path / "three.png")
    assert (three_width - 44) / (one_width - 44) == pytest.approx(2, abs=0.01)
