import logging
import math
import socket
import time
from pathlib import Path
from typing import NoReturn

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.data.transforms import Normalisation
from tag2mask.networks.backbones.embedded import read_embedded
from tag2mask.networks.backbones.timm_features import TimmFeatures, build_timm_features

STRIDES = [8, 16, 32]


def images(side: int = 64) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("output_stride", STRIDES)
@pytest.mark.parametrize(
    "name", ["resnet18", "tf_efficientnet_lite0", "test_resnet", "test_convnext", "test_nfnet", "test_byobnet"]
)
def test_features_have_the_channels_and_strides_that_are_told(name: str, output_stride: int):
    backbone = build_timm_features(name, output_stride, "none").eval()

    with torch.no_grad():
        features = backbone(images(96))

    assert tuple(feature.shape[1] for feature in features) == backbone.channels
    assert tuple(96 // feature.shape[2] for feature in features) == backbone.strides
    assert backbone.strides[-1] == output_stride
    assert list(backbone.strides) == sorted(backbone.strides)


ROUND_UP = ["test_resnet", "tf_efficientnet_lite0"]
# The last one rounds in both directions, and adds what comes of it.
DO_NOT = ["test_convnext", "edgenext_xx_small", "dla46_c"]


@pytest.mark.parametrize("name", ROUND_UP + DO_NOT)
@torch.no_grad()
def test_features_of_any_photo_have_its_size_over_the_stride_rounded_up(name: str):
    backbone = build_timm_features(name, 32, "none").eval()

    for size in ((97, 131), (255, 40), (1, 33)):
        features = backbone(torch.rand(1, 3, *size))

        expected = [tuple(math.ceil(side / stride) for side in size) for stride in backbone.strides]
        assert [tuple(feature.shape[2:]) for feature in features] == expected


@pytest.mark.parametrize("name", ROUND_UP)
@torch.no_grad()
def test_network_that_rounds_up_itself_gets_the_photo_as_it_is(name: str):
    backbone = build_timm_features(name, 16, "none").eval()
    photo = torch.rand(1, 3, 97, 131)

    features = backbone(photo)

    assert torch.equal(features[-1], backbone.network.forward_intermediates(photo)[0])


@torch.no_grad()
def test_network_that_does_not_gets_it_resized():
    backbone = build_timm_features("test_convnext", 16, "none").eval()
    photo = torch.rand(1, 3, 97, 131)
    whole = backbone.network.forward_intermediates(F.interpolate(photo, size=(112, 144), mode="bilinear"))[1]
    expected = [
        F.interpolate(feature, size=(math.ceil(97 / stride), math.ceil(131 / stride)), mode="bilinear")
        for feature, stride in zip(whole, backbone.strides, strict=True)
    ]

    for found, wanted in zip(backbone(photo), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    backbone.truncate(1)
    for found, wanted in zip(backbone.eval()(photo), expected[:2], strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", DO_NOT)
@torch.no_grad()
def test_maps_of_a_photo_and_of_its_mirror_image_lie_on_each_other(name: str):
    # A bright bar in the middle.
    torch.manual_seed(0)
    backbone = build_timm_features(name, 32, "none").eval()
    photo = torch.zeros(1, 3, 64, 97)
    photo[..., 40:57] = 1

    def place(image: torch.Tensor) -> float:
        feature = backbone(image)[-1] - backbone(torch.zeros_like(image))[-1]
        strength = F.interpolate(feature.abs().sum(1, keepdim=True), size=(64, 97), mode="bilinear").sum((0, 1, 2))
        return float((strength * torch.arange(97)).sum() / strength.sum())

    assert place(photo) == pytest.approx(48, abs=6)
    assert place(photo) + place(photo.flip(3)) == pytest.approx(96, abs=10)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_efficientnet", "test_convnext", "test_resnet"])
def test_every_parameter_that_learns_serves_a_feature(name: str):
    backbone = build_timm_features(name, 32, "none").train()

    sum(feature.square().sum() for feature in backbone(images())).backward()

    learning = {name: parameter for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in learning.items() if parameter.grad is None] == []


@pytest.mark.parametrize("output_stride", STRIDES)
@torch.no_grad()
def test_embedded_weights_give_the_maps_of_timm(output_stride: int):
    reference = timm.create_model("tf_efficientnet_lite0", num_classes=0, output_stride=output_stride).eval()
    reference.load_state_dict(read_embedded(), strict=True)
    backbone = build_timm_features("tf_efficientnet_lite0", output_stride, "embedded").eval()

    final = backbone(images())[-1]

    torch.testing.assert_close(final, reference.forward_features(images()))
    torch.testing.assert_close(final.mean((2, 3)), reference(images()))
    assert backbone.channels == (16, 24, 40, 112, 320, 1280)


def test_embedded_weights_come_with_their_normalisation():
    normalisation = build_timm_features("tf_efficientnet_lite0", 32, "embedded").normalisation

    pixel = torch.tensor(200 / 255)
    assert ((pixel - normalisation.mean[0]) / normalisation.std[0]).item() == pytest.approx((200 - 127) / 128)


def test_normalisation_is_that_of_timm():
    backbone = build_timm_features("resnet18", 32, "none")

    assert backbone.normalisation == Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_batch_norm_stays_as_it_is_in_training():
    backbone = build_timm_features("tf_efficientnet_lite0", 16, "embedded")
    before = {name: tensor.clone() for name, tensor in backbone.named_buffers()}
    nn.Sequential(backbone).train()

    features = backbone(images())
    features[-1].mean().backward()

    assert backbone.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.named_buffers())
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert not module.training
            assert not module.weight.requires_grad
            assert not module.bias.requires_grad
        elif isinstance(module, nn.Conv2d):
            assert module.weight.grad is not None


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_resnet"])
@torch.no_grad()
def test_truncation_keeps_the_features_before_and_drops_the_rest(name: str):
    backbone = build_timm_features(name, 16, "none").eval()
    expected = backbone(images())[:3]
    size = sum(parameter.numel() for parameter in backbone.parameters())

    backbone.truncate(2)

    assert all(torch.equal(a, b) for a, b in zip(backbone.eval()(images()), expected, strict=True))
    assert len(backbone.channels) == len(backbone.strides) == 3
    assert sum(parameter.numel() for parameter in backbone.parameters()) < size / 4


@torch.no_grad()
def test_truncation_after_the_last_stage_keeps_the_stage():
    backbone = build_timm_features("test_efficientnet", 16, "none").eval()
    expected = backbone(images())[-2]

    backbone.truncate(len(backbone.channels) - 2)

    assert torch.equal(backbone.eval()(images())[-1], expected)


def test_truncation_at_the_last_feature_changes_nothing():
    backbone = build_timm_features("test_resnet", 16, "none")
    names = list(backbone.state_dict())

    backbone.truncate(len(backbone.channels) - 1)

    assert list(backbone.state_dict()) == names


@pytest.mark.parametrize(
    ("name", "output_stride", "weights", "told"),
    [
        ("mobilenetv3_small_050", 8, "none", "small_050 gives no feature map at output stride 8; 32 would do"),
        ("test_vit", 16, "none", "no feature map at output stride 16; others would do, such as resnet18"),
        ("resnet81", 8, "none", "no backbone is called resnet81; did you mean resnet38 or"),
        ("resnet18.a9_in1k", 8, "none", "did you mean resnet18.a"),
        ("ResNet18", 8, "none", "no backbone is called ResNet18; did you mean resnet18 or"),
        ("qqq", 8, "none", "no backbone is called qqq; take resnet38 or a name of timm.list_models"),
        ("test_resnet", 8, "embedded", "embedded fit backbone tf_efficientnet_lite0 only, not test_resnet"),
        ("test_byobnet", 8, "/nowhere/weights.pth", "/nowhere/weights.pth: no such file"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(name: str, output_stride: int, weights: str, told: str):
    with pytest.raises(ValueError, match=told) as refusal:
        build_timm_features(name, output_stride, weights)

    assert "\n" not in str(refusal.value)


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache folder, empty, on a machine without network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def test_without_network_one_line_names_the_alternatives(offline_hub: Path):
    with pytest.raises(ValueError, match=r"could not be downloaded .* weights: embedded .* or the path") as refusal:
        build_timm_features("test_resnet", 16, "timm")

    assert "\n" not in str(refusal.value)


def test_hub_that_cannot_be_reached_tells_none_of_its_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror("no such name")

    waited: list[float] = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(time, "sleep", waited.append)
    level = logging.getLogger("huggingface_hub").level

    with caplog.at_level(logging.INFO, "tag2mask"), pytest.raises(ValueError, match="could not be downloaded"):
        build_timm_features("test_resnet", 16, "timm")

    assert waited
    assert caplog.messages == [
        "fetching timm's weights of test_resnet; without a network it takes up to a minute to give up"
    ]
    assert logging.getLogger("huggingface_hub").level == level


def test_network_of_which_timm_has_no_weights_is_refused(offline_hub: Path):
    with pytest.raises(ValueError, match="timm has no weights of resnetblur18; choose another"):
        build_timm_features("resnetblur18", 16, "timm")


@torch.no_grad()
def test_weights_of_timm_are_read_from_the_cache_of_the_hub(offline_hub: Path):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet").eval()
    snapshot = offline_hub / "models--timm--test_resnet.r160_in1k" / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    reference = snapshot.parents[1] / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text(snapshot.name)

    backbone = build_timm_features("test_resnet", 32, "timm").eval()

    torch.testing.assert_close(backbone(images())[-1], network.forward_features(images()))


@torch.no_grad()
def test_files_with_the_names_of_timm_and_with_ours_load_alike(tmp_path: Path):
    network = timm.create_model("test_resnet").eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "timm.pth")
    backbone = build_timm_features("test_resnet", 16, str(tmp_path / "timm.pth"))
    ours = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    save_file(ours | {"head.weight": torch.ones(1)}, tmp_path / "ours.safetensors")

    again = build_timm_features("test_resnet", 16, str(tmp_path / "ours.safetensors"))

    assert isinstance(again, TimmFeatures)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name.removeprefix("network.")])


def test_file_of_another_network_is_refused(tmp_path: Path):
    torch.save(timm.create_model("test_byobnet").state_dict(), tmp_path / "other.pth")

    with pytest.raises(ValueError, match=r"other.pth: lacks \d+ of the \d+ entries"):
        build_timm_features("test_resnet", 16, str(tmp_path / "other.pth"))
