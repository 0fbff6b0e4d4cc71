import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_run import CLASS_NAMES, DrawnRun, photos_of_splits
from PIL import Image

from tag2mask.cams.store import StoredCams, write_cams
from tag2mask.config import CamSettings, Recipe
from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import write_label_map
from tag2mask.data.records import Record
from tag2mask.report.figures import PANEL_SIDE, overlay_cam
from tag2mask.report.tables import read_scores
from tag2mask.results import _comparison, _levels, write_results, write_run_report

FIGURES = {"seed_curves.png", "seed_cams.png", "seed_maps.png", "levels.png"}


@pytest.fixture
def run(masked_run: DrawnRun, tmp_path: Path) -> DrawnRun:
    """A drawn run that a test may change."""
    return replace(masked_run, folder=shutil.copytree(masked_run.folder, tmp_path / "run"))


def test_scores_figures_and_page_are_written_though_stages_were_deleted(run: DrawnRun, masked_run: DrawnRun):
    (run.folder / "scores.json").unlink()
    for folder in ("2-cams", "5-segmenter"):
        shutil.rmtree(run.folder / folder / "acr")

    write_results(run.recipe, run.photos, run.stages, run=run.folder, warnings=[])

    found, before = (read_scores(folder / "scores.json") for folder in (run.folder, masked_run.folder))
    assert [(row.key, row.miou) for row in found] == [(row.key, row.miou) for row in before]
    assert {path.name for path in run.folder.glob("*.png")} == FIGURES
    # A card alone in the folder of a model would be a file of unknown origin.
    (card,) = run.folder.glob("5-segmenter/*/README.md")
    assert card.parent.name == "masks"
    assert "| Trained on | 12 photos with true masks |" in card.read_text(encoding="utf-8")
    assert "(4 photos) |" in card.read_text(encoding="utf-8")
    assert "Not shown" not in (run.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("change", ["other CRF", "nothing to measure"])
def test_model_card_keeps_no_figure_of_another_measurement(change: str, run: DrawnRun):
    card = run.folder / "5-segmenter/acr/README.md"
    write_results(run.recipe, run.photos, run.stages, run=run.folder, warnings=[])
    measured = card.read_text(encoding="utf-8")
    if change == "other CRF":
        changed = replace(run, recipe=replace(run.recipe, segmenter=replace(run.recipe.segmenter, crf="deeplab")))
    else:
        changed = replace(run, photos=run.photos._replace(val=()))

    write_results(changed.recipe, changed.photos, changed.stages, run=run.folder, warnings=[])

    (figure,) = (line for line in measured.splitlines() if line.startswith("| mIoU on val |"))
    assert card.read_text(encoding="utf-8") == measured.replace(figure + "\n", "")
    assert "| Trained on | 12 photos with pseudo-labels from seeds of acr |" in measured


def test_report_of_a_changed_recipe_names_what_it_leaves_out(run: DrawnRun, caplog: pytest.LogCaptureFixture):
    changed = replace(run.recipe, cams=CamSettings(scales=(0.5,)))

    with caplog.at_level(logging.INFO):
        write_run_report(changed, run.photos, run.folder, warnings=[])

    told = "made with other settings or inputs"
    (line,) = (record.getMessage() for record in caplog.records if told in record.getMessage())
    assert line.startswith(f"not in the report, as {told}: 2-cams/acr, 2-cams/baseline, ")
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f"Not shown, because they were {told} than the recipe's: 2-cams/acr, 2-cams/baseline, " in page
    assert 'data-panel="seed"' not in page


def test_a_folder_that_is_no_run_has_no_report(masked_run: DrawnRun, tmp_path: Path):
    with pytest.raises(ValueError, match=r"found no config\.yaml with stages beside it, expected the folder of a run"):
        write_run_report(masked_run.recipe, masked_run.photos, tmp_path, warnings=[])


def test_figures_of_an_older_recipe_do_not_stay(unmasked_run: DrawnRun, tmp_path: Path):
    run = replace(unmasked_run, folder=shutil.copytree(unmasked_run.folder, tmp_path / "run"))
    (run.folder / "levels.png").touch()

    write_results(run.recipe, run.photos, run.stages, run=run.folder, warnings=[])

    assert list(run.folder.glob("*.png")) == []


def test_large_photos_are_shown_at_the_size_of_a_panel(tmp_path: Path):
    height, width = 1200, 1600
    Image.new("RGB", (width, height), (90, 120, 60)).save(tmp_path / "a.png")
    label_map = np.zeros((height, width), np.uint8)
    label_map[:600] = 1
    write_label_map(tmp_path / "mask.png", label_map, voc_palette())
    record = Record("a", tmp_path / "a.png", (1,), tmp_path / "mask.png")
    run = DrawnRun(tmp_path / "run", Recipe(methods=("acr",)), photos_of_splits([record], [], CLASS_NAMES))
    write_cams(
        run.folder / "2-cams/acr", "a", StoredCams(np.uint8([1]), np.zeros((1, 300, 400), np.uint8), height, width)
    )
    cams = [stage for stage in run.stages if stage.kind == "cams"]

    (row,) = _levels([record], CLASS_NAMES, cams, run.folder)
    mask = _comparison(record, CLASS_NAMES, {"acr": run.folder / "2-cams/acr"}).mask

    assert row.photo.shape == (507, PANEL_SIDE, 3)
    assert {name: picture.shape for name, picture in row.pictures.items()} == {
        "CAM, acr": row.photo.shape, "true mask": row.photo.shape,
    }  # fmt: skip
    assert np.array_equal(row.pictures["CAM, acr"], overlay_cam(row.photo, np.zeros(row.photo.shape[:2], np.float32)))
    is_grey = (row.pictures["true mask"] == row.pictures["true mask"][..., :1]).all(axis=2)
    assert not is_grey[:253].any()
    assert is_grey[254:].all()
    assert mask is not None
    assert mask[:253].all()
    assert not mask[254:].any()
