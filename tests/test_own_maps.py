"""What docs/own-maps.md says of files that a run did not make."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.cams.store import cams_from_full_size, write_cams
from tag2mask.report.tables import read_scores

PAGE = Path(__file__).resolve().parents[1] / "docs/own-maps.md"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Data set of the example's photo, which shows a cat where the example has it, and of one that shows nothing."""
    root = tmp_path / "photos"
    (root / "garden").mkdir(parents=True)
    (root / "masks/garden").mkdir(parents=True)
    (root / "tags.csv").write_text("image,tags\ngarden/cat 1.png,cat\nmeadow.png,\n")
    for name, shown in (("garden/cat 1", 1), ("meadow", 0)):
        mask = np.zeros((36, 48), np.uint8)
        mask[10:26, 14:34] = shown
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
        Image.new("RGB", (48, 36), (40 + 9 * shown, 90, 60)).save(root / f"{name}.png")
    return root


def test_maps_and_labels_of_the_example_and_predictions_like_them_are_measured(
    photos: Path, tag2mask: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    run, masks = Path("runs/mine"), photos / "masks"
    flags = ("--data.root", photos, "--data.train_split", "train", "--data.seed_split", "train", "--methods", "[acr]")

    exec(compile(example, str(PAGE), "exec"), {})
    write_cams(run / "2-cams/acr", "meadow", cams_from_full_size([], np.zeros((0, 36, 48), np.float32)))
    shutil.copy(masks / "meadow.png", run / "4-pseudo-labels/acr")
    shutil.copytree(masks, "runs/scored/6-predictions/acr/masks")
    measured = {}
    for level, folder, more in (
        ("seed", run, ("--data.val_split", "null", "--refined_methods", "[]")),
        ("pseudo-label", run, ("--data.val_split", "null")),
        ("segmenter", Path("runs/scored"), ("--data.val_split", "train")),
    ):
        outcome = tag2mask("evaluate", "animals_lite0", *flags, "--run", folder, *more)
        assert outcome.status == 0, outcome.err
        measured[level] = {(row.level, row.num_photos): row.miou for row in read_scores(folder / "scores.json")}

    # Maps lose a little at a quarter of the sides.
    assert measured["seed"] == {("seed", 2): pytest.approx(1, abs=0.15)}
    assert measured["pseudo-label"] == {("pseudo-label", 2): pytest.approx(1)}
    assert measured["segmenter"] == {("segmenter", 2): pytest.approx(1)}
