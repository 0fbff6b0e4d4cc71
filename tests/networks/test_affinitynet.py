from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tag2mask.config import RefinementSettings
from tag2mask.networks.affinitynet import AffinityNet, build_affinity_net

SETTINGS = RefinementSettings(backbone="test_resnet", weights="none", output_stride=16, crop=128, radius=5)


@pytest.fixture
def network() -> AffinityNet:
    torch.manual_seed(0)
    return build_affinity_net(SETTINGS)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 50)])
def test_features_are_at_an_eighth_of_any_size(network: AffinityNet, height: int, width: int):
    with torch.no_grad():
        features = network(torch.rand(2, 3, height, width))

    assert features.shape == (2, 448, -(-height // 8), -(-width // 8))


def test_a_backbone_that_rounds_sizes_down_will_do():
    network = build_affinity_net(replace(SETTINGS, backbone="test_convnext"))

    assert network(torch.rand(1, 3, 37, 50)).shape == (1, 448, 5, 7)


def test_the_last_three_depths_are_reduced_and_mixed(network: AffinityNet):
    images = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        reduced = [
            F.interpolate(F.elu(reduction(feature)), size=(8, 8), mode="bilinear")
            for feature, reduction in zip(network.backbone(images)[-3:], network.reductions, strict=True)
        ]
        expected = F.elu(network.fusion(torch.cat(reduced, 1)))

        torch.testing.assert_close(network(images), expected)
    assert [part.shape[1] for part in reduced] == [64, 128, 256]


def test_first_weights_have_the_spread_of_the_released_code(network: AffinityNet):
    reduction, fusion = network.reductions[0], network.fusion

    assert reduction.weight.std().item() == pytest.approx((2 / reduction.in_channels) ** 0.5, rel=0.05)
    assert fusion.weight.std().item() == pytest.approx(4 * (2 / 896) ** 0.5, rel=0.05)


def test_new_parameters_are_all_but_the_backbone(network: AffinityNet):
    names = {id(parameter): name for name, parameter in network.named_parameters()}

    new = [names[id(parameter)] for parameter in network.new_parameters()]

    assert new == ["reductions.0.weight", "reductions.1.weight", "reductions.2.weight", "fusion.weight"]


def test_crop_too_small_for_the_radius_is_refused():
    with pytest.raises(ValueError, match=r"refinement.crop is 64, 8 cells of 8 pixels, .*radius 5 needs 9 .* 72"):
        build_affinity_net(RefinementSettings(backbone="test_resnet", weights="none", crop=64, radius=5))
