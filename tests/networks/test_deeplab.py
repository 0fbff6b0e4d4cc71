from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import SegmenterSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.deeplab import DeepLab, Head, build_deeplab

HEADS: tuple[Head, ...] = ("deeplab_v1", "deeplab_v2", "deeplab_v3plus")


class GivenFeatures(nn.Module):
    """A backbone whose features are given."""

    normalisation = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, *strides: int, channels: int = 16) -> None:
        super().__init__()
        self.strides = strides
        self.channels = tuple(channels for _ in strides)

    def forward(self, images: Tensor) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        height, width = images.shape[2:]
        return [
            torch.randn(len(images), channels, -(-height // stride), -(-width // stride), generator=generator)
            for stride, channels in zip(self.strides, self.channels, strict=True)
        ]


def settings(head: Head, **changes: Any) -> SegmenterSettings:
    return SegmenterSettings(head=head, **{"backbone": "test_resnet", "output_stride": 8} | changes)


@pytest.mark.parametrize(
    ("head", "size"), [("deeplab_v1", (8, 9)), ("deeplab_v2", (8, 9)), ("deeplab_v3plus", (16, 17))]
)
def test_logits_of_every_label_lie_on_the_head_s_grid(head: Head, size: tuple[int, int]):
    network = build_deeplab(settings(head), 3).eval()

    with torch.no_grad():
        logits = network(torch.zeros(2, 3, 64, 66))

    assert logits.shape == (2, 4, *size)


@pytest.mark.parametrize(
    ("head", "size"), [("deeplab_v1", (5, 7)), ("deeplab_v2", (5, 7)), ("deeplab_v3plus", (10, 13))]
)
def test_a_backbone_that_rounds_sizes_down_will_do(head: Head, size: tuple[int, int]):
    network = build_deeplab(settings(head, backbone="test_convnext"), 3).eval()

    with torch.no_grad():
        logits = network(torch.zeros(1, 3, 37, 50))

    assert logits.shape == (1, 4, *size)


def test_v1_is_two_convolutions_of_dilation_12():
    images = torch.zeros(1, 3, 240, 240)
    network = DeepLab(GivenFeatures(8), 3, "deeplab_v1")
    first, second = network.head.reduce, network.head.classify
    features = network.backbone(images)[-1]

    hidden = F.conv2d(features, first.weight, first.bias, padding=12, dilation=12)
    expected = F.conv2d(hidden.relu(), second.weight, second.bias, padding=12, dilation=12)

    assert first.weight.shape == (512, 16, 3, 3)
    assert second.weight.shape == (3, 512, 3, 3)
    torch.testing.assert_close(network(images), expected)


def test_v2_is_the_sum_of_four_convolutions():
    images = torch.zeros(1, 3, 240, 320)
    network = DeepLab(GivenFeatures(8), 3, "deeplab_v2")
    features = network.backbone(images)[-1]

    expected = 0
    for dilation, branch in zip((6, 12, 18, 24), network.head.branches, strict=True):
        expected = expected + F.conv2d(features, branch.weight, branch.bias, padding=dilation, dilation=dilation)

    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize(("stride", "dilations"), [(8, [6, 12, 18, 24]), (16, [3, 6, 9, 12])])
def test_v2_sees_as_far_at_every_output_stride(stride: int, dilations: list[int]):
    network = DeepLab(GivenFeatures(stride), 3, "deeplab_v2")

    assert [branch.dilation[0] for branch in network.head.branches] == dilations


def test_v3plus_is_a_pyramid_with_image_pooling_and_a_decoder():
    network = DeepLab(GivenFeatures(4, 16), 3, "deeplab_v3plus")
    head, images = network.head, torch.zeros(2, 3, 240, 320)
    low, deep = network.backbone(images)

    def normalised(layers: nn.Sequential, features: Tensor) -> Tensor:
        convolution, norm, _ = layers
        return F.group_norm(F.conv2d(features, convolution.weight), norm.num_groups, norm.weight, norm.bias).relu()

    def separable(layers: nn.Sequential, features: Tensor, dilation: int = 1) -> Tensor:
        weight = layers[0].weight
        spread = F.conv2d(features, weight, padding=dilation, dilation=dilation, groups=len(weight))
        return normalised(layers[1], spread)

    alone, *branches = head.branches
    pyramid = [separable(branch, deep, dilation) for branch, dilation in zip(branches, (6, 12, 18), strict=True)]
    pooled = normalised(head.pooled, deep.mean((2, 3), keepdim=True)).expand(-1, -1, 15, 20)
    joined = normalised(head.join, torch.cat([normalised(alone, deep), *pyramid, pooled], dim=1))
    enlarged = F.interpolate(joined, size=(60, 80), mode="bilinear", align_corners=False)
    detailed = torch.cat([enlarged, normalised(head.reduce, low)], dim=1)
    expected = head.classify(separable(head.decode[1], separable(head.decode[0], detailed)))

    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize(("stride", "dilations"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_v3plus_sees_as_far_at_every_output_stride(stride: int, dilations: list[int]):
    network = DeepLab(GivenFeatures(4, stride), 3, "deeplab_v3plus")

    found = [branch[0].dilation[0] for branch in network.head.branches if branch[0].kernel_size == (3, 3)]

    assert found == dilations


def test_v3plus_decodes_the_deepest_feature_of_stride_4():
    network = DeepLab(GivenFeatures(2, 4, 4, 8, 16), 3, "deeplab_v3plus").eval()
    features = network.backbone(torch.zeros(1, 3, 64, 64))
    logits = network.head(features)

    for depth, feature in enumerate(features):
        changed = [*features[:depth], feature + torch.rand_like(feature), *features[depth + 1 :]]
        assert torch.equal(network.head(changed), logits) == (depth not in (2, 4)), depth


def test_v3plus_refuses_a_backbone_without_stride_4():
    with pytest.raises(ValueError, match="needs a feature at stride 4, but the backbone has strides 8, 8, 8: take"):
        DeepLab(GivenFeatures(8, 8, 8), 3, "deeplab_v3plus")


@pytest.mark.parametrize("head", HEADS)
def test_new_parameters_are_those_of_the_head(head: Head):
    network = build_deeplab(settings(head), 3)

    new = {id(parameter) for parameter in network.new_parameters()}

    for name, parameter in network.named_parameters():
        assert (id(parameter) in new) == name.startswith("head."), name
