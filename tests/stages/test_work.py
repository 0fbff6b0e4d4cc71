from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file

from tag2mask.config import (
    AcrSettings,
    ClassifierSettings,
    DataSettings,
    MctformerSettings,
    Recipe,
    ReconstructorSettings,
    SegmenterSettings,
)
from tag2mask.data.records import Record
from tag2mask.networks.classifier import build_classifier
from tag2mask.networks.reconstructor import build_reconstructor
from tag2mask.runs.manifest import Manifest
from tag2mask.runs.stages import Photos, Stage
from tag2mask.stages.examples import keep_restorations
from tag2mask.stages.work import StageWork, without_pretrained


def test_trained_networks_need_neither_files_nor_the_internet():
    recipe = Recipe(classifier=ClassifierSettings(weights="a.params"), segmenter=SegmenterSettings(weights="b.pt"))

    found = without_pretrained(recipe)

    sections = (found.classifier, found.mctformer, found.refinement, found.segmenter)
    assert {section.weights for section in sections} == {"none"}
    assert replace(found.segmenter, weights="b.pt") == recipe.segmenter


@pytest.mark.parametrize("weights", ["embedded", "a.safetensors"])
def test_trained_networks_keep_the_normalisation_of_embedded_weights(weights: str):
    recipe = Recipe(
        classifier=ClassifierSettings(backbone="tf_efficientnet_lite0", weights="embedded"),
        mctformer=MctformerSettings(backbone="hybrid_lite0", weights=weights),
    )

    found = without_pretrained(recipe)

    assert (found.classifier.weights, found.mctformer.weights) == ("embedded", "embedded")


class NotingMoves(Fabric):
    """Tells which networks were brought to its device."""

    def __init__(self) -> None:
        super().__init__(accelerator="cpu", devices=1, precision="bf16-mixed")
        self.moved: list[str] = []

    def to_device(self, obj: Any) -> Any:
        self.moved.append(type(obj).__name__)
        return super().to_device(obj)


def test_restorations_are_made_on_the_device_and_in_the_arithmetic_of_the_run(shapes: Path, tmp_path: Path):
    torch.manual_seed(0)
    shape = ReconstructorSettings(features=(-1,), feature_channels=(4,), width=4, depth=4, max_width_factor=4)
    recipe = Recipe(
        data=DataSettings(root=shapes, crop=32), classifier=ClassifierSettings(backbone="test_resnet", weights="none"),
        acr=AcrSettings(reconstructor=shape),
    )  # fmt: skip
    classifier = build_classifier(recipe.classifier, 2)
    reconstructor = build_reconstructor(recipe.classifier, shape, 2, classifier.backbone.normalisation)
    stage = Stage("acr", "acr", "1-classifier/acr", [], Manifest({}, {}), ())
    (tmp_path / stage.folder).mkdir(parents=True)
    save_file(classifier.state_dict(), tmp_path / stage.folder / "classifier.safetensors")
    save_file(reconstructor.state_dict(), tmp_path / stage.folder / "reconstructor.safetensors")
    record = Record("02", shapes / "02.png", (2,))
    fabric = NotingMoves()

    StageWork(fabric, recipe, Photos([], [record], [], [], ("disc", "square")), tmp_path)._keep_restorations(stage)

    assert fabric.moved == ["Classifier", "Reconstructor"]
    with torch.autocast("cpu", torch.bfloat16):
        keep_restorations(classifier.eval(), reconstructor.eval(), [record], folder=tmp_path / "bf16", recipe=recipe)
    keep_restorations(classifier, reconstructor, [record], folder=tmp_path / "float32", recipe=recipe)
    kept = (tmp_path / stage.folder / "restored" / "02.rest.png").read_bytes()
    assert kept == (tmp_path / "bf16" / "02.rest.png").read_bytes()
    assert kept != (tmp_path / "float32" / "02.rest.png").read_bytes()
