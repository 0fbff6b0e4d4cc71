import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tag2mask.config import SegmenterSettings
from tag2mask.export.onnx import PhotoToLabels
from tag2mask.networks.deeplab import build_deeplab
from tag2mask.prediction import Segmenter

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = SegmenterSettings(backbone="test_resnet", head="deeplab_v2", output_stride=8)
    network = build_deeplab(settings, 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    network.backbone.mean, network.backbone.std = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
    return Segmenter(network, settings, ("disc", "Vögel"))


@pytest.fixture(scope="module")
def exported(segmenter: Segmenter, tag2mask: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of a model folder."""
    model = tmp_path_factory.mktemp("model")
    segmenter.save(model)
    path = tmp_path_factory.mktemp("onnx") / "segmenter.onnx"
    outcome = tag2mask("export", model, "--to", "onnx", "--out", path)
    assert outcome.status == 0, outcome.err
    return path


def test_file_is_sound_and_alone(exported: Path):
    onnx.checker.check_model(str(exported), full_check=True)

    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_metadata_tell_classes_and_that_photos_are_not_to_be_normalised(exported: Path):
    metadata = {entry.key: entry.value for entry in onnx.load(str(exported)).metadata_props}

    assert json.loads(metadata["classes"]) == ["background", "disc", "Vögel"]
    assert metadata["input"].startswith("RGB, 0 to 1, not normalised")
    assert not {"mean", "std"} & metadata.keys()


def test_onnxruntime_gives_the_labels_of_torch_at_any_size(exported: Path, segmenter: Segmenter):
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    network = PhotoToLabels(segmenter.network).eval()
    generator = torch.Generator().manual_seed(0)

    for height, width in ((64, 64), (75, 100), (133, 90)):
        coarse = torch.rand(1, 3, height // 8, width // 8, generator=generator)
        photo = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
        with torch.inference_mode():
            expected = network(photo).numpy()
        (found,) = session.run(["label_map"], {"photo": photo.numpy()})
        assert found.shape == (1, height, width)
        assert found.dtype == np.uint8
        assert len(np.unique(expected)) > 1
        assert (found == expected).mean() >= 0.999


def test_labels_are_those_of_one_pass_at_the_photo_s_size(segmenter: Segmenter):
    photo = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([[0.4, 0.5, 0.6], [0.3, 0.2, 0.25]]).view(2, 1, 3, 1, 1)

    with torch.no_grad():
        labels = PhotoToLabels(segmenter.network)(photo)
        logits = segmenter.network((photo - mean) / std)

    expected = nn.functional.interpolate(logits, size=(40, 50), mode="bilinear").argmax(1)
    assert torch.equal(labels.long(), expected)
