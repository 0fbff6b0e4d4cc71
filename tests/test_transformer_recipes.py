"""Recipes with a vision transformer, from tags to predictions on some of the demo's scenes, with small networks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tag2mask.cams.store import read_cams, stored_names
from tag2mask.data.label_maps import label_map_names
from tag2mask.data.scenes import draw_scenes
from tag2mask.report.tables import read_scores

SMALL = """
extends: {recipe}
data:
  {{root: {root}, layout: csv, train_split: train, seed_split: val, val_split: val, resize_range: [56, 64], crop: 48,
   resize: long_side, num_workers: 0}}
# Pretrained, so that its maps have something to spread.
classifier: {{backbone: tf_efficientnet_lite0, weights: embedded, output_stride: 16, epochs: 1}}
mctformer:
  {{backbone: test_vit, weights: none, crop: 48, epochs: 1, batch_size: 8, scales: [1.0], long_side: 64,
   optimizer: {{warmup_epochs: 0}}}}
acr:
  epochs: 1
  reconstructor_epochs: 1
  batch_size: 4
  remnants: {{grid: 4}}
  reconstructor:
    {{features: [1, 2], feature_channels: [4, 8], width: 4, depth: 4, dropout: 0, image_side: 0}}
cams: {{scales: [1.0], long_side: 64}}
refinement:
  {{backbone: test_resnet, weights: none, output_stride: 8, crop: 32, epochs: 1, batch_size: 8, radius: 3,
   walk_radius: 3, log_steps: 3}}
segmenter:
  {{supervision: [pseudo_labels], backbone: test_resnet, weights: none, output_stride: 8, crop: 32, epochs: 1,
   optimizer: {{warmup_epochs: 0}}, batch_size: 8, scales: [1.0], crf: none}}
engine: {{accelerator: cpu, workers: 1}}
"""

READINGS = {
    "voc12_acr_vit": ("baseline", "acr", "mctformer", "acr_vit"),
    "voc12_mctformer": ("mctformer", "acr"),
    "coco14_mctformer": ("mctformer", "acr"),
    "animals_vit": ("baseline", "acr", "mctformer", "acr_vit"),
}


NUM_PHOTOS = {"train": 8, "val": 3}
VAL = {f"val_{index:03}" for index in range(NUM_PHOTOS["val"])}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's data set with fewer photos in its table."""
    root = tmp_path_factory.mktemp("scenes")
    draw_scenes(root, seed=0)
    header, *rows = (root / "tags.csv").read_text(encoding="utf-8").splitlines()
    kept = [
        row for split, number in NUM_PHOTOS.items() for row in [row for row in rows if row.endswith(split)][:number]
    ]
    (root / "tags.csv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    return root


@pytest.mark.parametrize("recipe", READINGS)
def test_recipe_runs_from_tags_to_predictions(recipe: str, scenes: Path, tag2mask: Callable, tmp_path: Path):
    small = tmp_path / "small.yaml"
    small.write_text(SMALL.format(recipe=recipe, root=scenes))
    run, methods = tmp_path / "run", READINGS[recipe]

    outcome = tag2mask("run", small, "--run", run)

    assert outcome.status == 0, outcome.err
    refined = methods[-1]
    measured = {(row.method, row.level) for row in read_scores(run / "scores.json")}
    assert measured == {(method, "seed") for method in methods} | {
        (refined, level) for level in ("crf", "refined", "pseudo-label", "segmenter")
    }
    for method in methods:
        assert stored_names(run / "2-cams" / method) >= VAL
    source = "acr" if refined == "acr_vit" else "mctformer"
    spread, before = (
        [read_cams(run / "2-cams" / method, name) for name in sorted(VAL)] for method in (refined, source)
    )
    assert [maps.class_ids.tolist() for maps in spread] == [maps.class_ids.tolist() for maps in before]
    assert any(not np.array_equal(one.maps, other.maps) for one, other in zip(spread, before, strict=True))
    assert label_map_names(run / "6-predictions" / refined / "masks") == VAL
    assert "MCTformer" in (run / "report.html").read_text(encoding="utf-8")
    again = tag2mask("run", small, "--run", run)
    assert {line.split(": ", 1)[1] for line in again.err.splitlines() if line.startswith("stage ")} == {"up to date"}
