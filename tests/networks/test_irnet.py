from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tag2mask.config import RefinementSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.irnet import BoundaryNet, build_boundary_net

SETTINGS = RefinementSettings(backbone="test_resnet", weights="none", output_stride=16, crop=128)


@pytest.fixture
def network() -> BoundaryNet:
    torch.manual_seed(0)
    return build_boundary_net(SETTINGS)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 50)])
def test_boundaries_are_at_a_quarter_of_any_size(network: BoundaryNet, height: int, width: int):
    with torch.no_grad():
        logits = network(torch.rand(2, 3, height, width))

    assert logits.shape == (2, 1, -(-height // 4), -(-width // 4))
    assert logits.std() > 0


def test_a_backbone_that_rounds_sizes_down_will_do():
    network = build_boundary_net(replace(SETTINGS, backbone="test_convnext"))

    assert network(torch.rand(1, 3, 37, 50)).shape == (1, 1, 10, 13)


def test_every_depth_is_reduced_normalised_and_brought_to_one_grid(network: BoundaryNet):
    images = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        parts = []
        for feature, reduction in zip(network.backbone(images), network.reductions, strict=True):
            if feature.shape[-1] > 16:
                feature = F.avg_pool2d(feature, feature.shape[-1] // 16)
            convolution, norm = reduction
            part = F.group_norm(F.conv2d(feature, convolution.weight), 4, norm.weight, norm.bias)
            parts.append(F.interpolate(part, size=(16, 16), mode="bilinear").relu())
        expected = F.conv2d(torch.cat(parts, 1), network.fusion.weight, network.fusion.bias)

        torch.testing.assert_close(network(images), expected)


def test_backbone_is_fixed_in_every_mode(network: BoundaryNet):
    network.train()(torch.rand(1, 3, 64, 64)).sum().backward()

    assert not network.backbone.training
    assert all(parameter.grad is None for parameter in network.backbone.parameters())
    assert all(parameter.grad is not None for parameter in network.new_parameters())


def test_new_parameters_are_all_that_learn(network: BoundaryNet):
    learning = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}

    assert {id(parameter) for parameter in network.new_parameters()} == learning


def test_a_backbone_without_a_depth_at_stride_4_will_do():
    class Blocks(nn.Module):
        channels, strides, multiple = (3, 3), (8, 8), 1
        normalisation = Normalisation((0.0,) * 3, (1.0,) * 3)

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [F.avg_pool2d(images, 8, ceil_mode=True)] * 2

    assert BoundaryNet(Blocks())(torch.rand(1, 3, 33, 41)).shape == (1, 1, 9, 11)


def test_crop_too_small_for_the_radius_is_refused():
    with pytest.raises(ValueError, match=r"refinement.crop is 64, 16 cells .*radius 10 needs 19 .* at least 76"):
        build_boundary_net(RefinementSettings(backbone="test_resnet", weights="none", crop=64, radius=10))


def test_radius_without_pairs_is_refused():
    with pytest.raises(ValueError, match=r"refinement.radius is 1, .* expected at least 2"):
        build_boundary_net(RefinementSettings(backbone="test_resnet", weights="none", radius=1))
