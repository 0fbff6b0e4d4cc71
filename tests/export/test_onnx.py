import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tag2mask.config import SegmenterSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.export.onnx import PhotoToLabels, differences, export_onnx
from tag2mask.networks.deeplab import DeepLab, build_deeplab
from tag2mask.segmenter import Segmenter

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = SegmenterSettings(
        backbone="test_resnet", head="deeplab_v2", output_stride=8, scales=(0.5, 1.0), long_side=320
    )
    network = build_deeplab(settings, 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    network.backbone.normalisation = Normalisation((0.4, 0.5, 0.6), (0.3, 0.2, 0.25))
    return Segmenter(network, settings, ("disc", "Vögel"))


@pytest.fixture(scope="module")
def model(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model folder."""
    folder = tmp_path_factory.mktemp("model")
    segmenter.save(folder)
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, segmenter: Segmenter, tag2mask: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of a model folder."""
    path = tmp_path_factory.mktemp("onnx") / "segmenter.onnx"
    outcome = tag2mask("export", model, "--to", "onnx", "--out", path)
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines() == [*differences(segmenter.settings), f"exported: {path}"]
    return path


def expect_labels_of_torch(path: Path, segmenter: Segmenter) -> None:
    """Compare what onnxruntime gives with what torch gives, for one photo and several, at even and odd sizes."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    network = PhotoToLabels(segmenter.network).eval()
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in ((1, 64, 64), (3, 75, 100), (1, 133, 90)):
        coarse = torch.rand(batch, 3, height // 8, width // 8, generator=generator)
        photo = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
        with torch.inference_mode():
            expected = network(photo).numpy()
        (found,) = session.run(["label_map"], {"photo": photo.numpy()})
        assert found.shape == (batch, height, width)
        assert found.dtype == np.uint8
        assert len(np.unique(expected)) > 1
        assert (found == expected).mean() >= 0.999


def test_file_is_sound_and_alone(exported: Path):
    onnx.checker.check_model(str(exported), full_check=True)

    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_metadata_tell_classes_and_that_photos_are_not_to_be_normalised(exported: Path):
    metadata = {entry.key: entry.value for entry in onnx.load(str(exported)).metadata_props}

    assert json.loads(metadata["classes"]) == ["background", "disc", "Vögel"]
    assert metadata["input"].startswith("RGB, 0 to 1, not normalised")
    assert not {"mean", "std"} & metadata.keys()


def test_metadata_tell_what_predict_does_besides(exported: Path):
    metadata = {entry.key: entry.value for entry in onnx.load(str(exported)).metadata_props}

    assert metadata["long_side"] == "320"
    assert metadata["notes"] == (
        "Labels are those of one pass; predict joins scales (0.5, 1), each plain and mirrored.\n"
        "Bring photos down to a long side of 320 pixels first, as predict does: they are taken as they are."
    )


def test_differences_name_a_crf_and_no_long_side_where_there_is_none(segmenter: Segmenter):
    settings = replace(segmenter.settings, scales=(1.0,), long_side=0, crf="deeplab")

    assert differences(settings) == [
        "Labels are those of one pass; predict joins scales (1), each plain and mirrored, and then the CRF deeplab."
    ]


def test_place_that_takes_no_file_is_told_at_once(model: Path, tag2mask: Callable, tmp_path: Path):
    outcome = tag2mask("export", model, "--to", "onnx", "--out", tmp_path / "m.pt")

    assert outcome.status == 1
    assert outcome.err == f"tag2mask: found the name {tmp_path / 'm.pt'}, expected one that ends in .onnx\n"


def test_onnxruntime_gives_the_labels_of_torch_at_any_size(exported: Path, segmenter: Segmenter):
    expect_labels_of_torch(exported, segmenter)


class PaddedBackbone(nn.Module):
    """Two convolutions that pad as TensorFlow's do: other sides at even sizes than at odd ones."""

    channels, strides = (4, 8), (2, 4)
    normalisation = Normalisation((0.4, 0.5, 0.6), (0.3, 0.2, 0.25))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Conv2dSame(3, 4, 5, stride=2, bias=False), Conv2dSame(4, 8, 3, stride=2)

    def forward(self, images: Tensor) -> list[Tensor]:
        low = self.first(images).relu()
        return [low, self.second(low)]


class DeepPaddedBackbone(PaddedBackbone):
    """With the feature at stride 4 that the decoder of v3+ needs, and one below it."""

    channels, strides = (4, 8), (4, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(Conv2dSame(3, 4, 5, stride=2, bias=False), Conv2dSame(4, 4, 3, stride=2))
        self.second = nn.Sequential(Conv2dSame(4, 8, 3, stride=2), Conv2dSame(8, 8, 5, stride=2))


def test_decoder_meets_padded_features_at_any_size(tmp_path: Path):
    torch.manual_seed(0)
    segmenter = Segmenter(DeepLab(DeepPaddedBackbone(), 3, "deeplab_v3plus"), SegmenterSettings(), ("disc", "square"))

    export_onnx(segmenter, tmp_path / "m.onnx")

    expect_labels_of_torch(tmp_path / "m.onnx", segmenter)


def test_padding_of_tensorflow_is_left_to_onnx(tmp_path: Path):
    torch.manual_seed(0)
    segmenter = Segmenter(DeepLab(PaddedBackbone(), 3, "deeplab_v1"), SegmenterSettings(), ("disc", "square"))

    export_onnx(segmenter, tmp_path / "m.onnx")

    operators = {node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node}
    assert "Pad" not in operators
    expect_labels_of_torch(tmp_path / "m.onnx", segmenter)


def test_labels_are_those_of_one_pass_at_the_photo_s_size(segmenter: Segmenter):
    photo = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([[0.4, 0.5, 0.6], [0.3, 0.2, 0.25]]).view(2, 1, 3, 1, 1)

    with torch.no_grad():
        labels = PhotoToLabels(segmenter.network)(photo)
        logits = segmenter.network((photo - mean) / std)

    expected = nn.functional.interpolate(logits, size=(40, 50), mode="bilinear").argmax(1)
    assert torch.equal(labels.long(), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_segmenter_on_a_gpu_is_exported_and_stays_there(segmenter: Segmenter, tmp_path: Path):
    on_gpu = Segmenter(deepcopy(segmenter.network).cuda(), segmenter.settings, segmenter.class_names)

    export_onnx(on_gpu, tmp_path / "m.onnx")

    assert {tensor.device.type for tensor in on_gpu.network.state_dict().values()} == {"cuda"}
    expect_labels_of_torch(tmp_path / "m.onnx", segmenter)
