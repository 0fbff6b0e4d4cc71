from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import ReconstructorSettings
from tag2mask.networks.backbones.resnet38 import ResidualBlock, ResNet38, build_resnet38
from tag2mask.networks.backbones.weights import load_strictly, rename_released
from tag2mask.networks.classifier import Classifier
from tag2mask.networks.reconstructor import Reconstructor

TOLERANCE = 1e-4


class Networks(NamedTuple):
    """Both networks of the released code, which have the same weights there and share them here."""

    backbone: ResNet38
    classifier: Classifier
    reconstructor: Reconstructor


@pytest.fixture(scope="module")
def golden_file(golden: Path) -> Path:
    return golden / "resnet38.npz"


@pytest.fixture(scope="module")
def networks(golden_file: Path, weights_by_rule) -> Networks:
    backbone = ResNet38()
    classifier = Classifier(backbone, num_classes=20, head="two_layer")
    reconstructor = Reconstructor(backbone, classifier.head, ReconstructorSettings())
    state = rename_released(weights_by_rule(golden_file))
    assert state.keys() <= reconstructor.state_dict().keys()
    load_strictly(reconstructor, state, source="the rule")
    return Networks(backbone, classifier.eval(), reconstructor.eval())


@pytest.fixture(scope="module")
def sizes(networks: Networks) -> dict[str, int]:
    return {
        "trunk": sum(parameter.numel() for parameter in networks.backbone.parameters()),
        "all": sum(parameter.numel() for parameter in networks.reconstructor.parameters()),
    }


def images_of(which: str) -> Tensor:
    seed, shape = {"sq": (2023, (1, 3, 128, 128)), "odd": (2024, (1, 3, 97, 131))}[which]
    draw = np.random.RandomState(seed)
    return torch.from_numpy(draw.standard_normal(shape).astype(np.float32))


def close(ours: Tensor, expected: np.ndarray) -> bool:
    return np.abs(ours.double().numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_parameters_are_as_many_as_in_the_released_network(sizes: dict[str, int]):
    assert sizes == {"trunk": 105_070_912, "all": 162_194_115}


@pytest.mark.parametrize("which", ["sq", "odd"])
def test_features_and_outputs_equal_the_released_network(networks: Networks, golden_file: Path, which: str):
    golden = {name: array for name, array in np.load(golden_file).items() if name.startswith(which)}
    images = images_of(which)
    assert images.double().sum().item() == pytest.approx(golden[f"{which}_input_sum"])

    with torch.inference_mode():
        features = networks.backbone(images)
        cams, (logits,) = networks.classifier(images)
        encoding = networks.reconstructor.encode(features)

    for feature, name in zip(features, ("conv4", "conv5", "feat4096"), strict=True):
        assert list(feature.shape) == golden[f"{which}_{name}_shape"].tolist()
        assert feature.double().sum().item() == pytest.approx(golden[f"{which}_{name}_sum"], rel=TOLERANCE)
        assert feature.double().std(correction=0).item() == pytest.approx(golden[f"{which}_{name}_std"], rel=TOLERANCE)
        assert close(feature.mean((0, 2, 3)), golden[f"{which}_{name}_channel_mean"])
    assert close(cams, golden[f"{which}_cam"])
    assert close(logits, golden[f"{which}_pooled"])
    assert close(encoding.logits, golden[f"{which}_pooled"])
    assert close(encoding.features if which == "sq" else encoding.features[:, ::8], golden[f"{which}_feat448"])


@pytest.mark.parametrize("which", ["sq", "odd"])
def test_reduced_features_have_the_released_statistics(networks: Networks, golden_file: Path, which: str):
    golden = np.load(golden_file)
    with torch.inference_mode():
        parts = (
            networks.reconstructor.encode(networks.reconstructor.backbone(images_of(which)))
            .features.double()
            .split((64, 128, 256), dim=1)
        )

    for part, name in zip(parts, ("conv4", "conv5", "feat"), strict=True):
        scale = part.std().item() * part.numel() ** 0.5
        assert part.sum().item() == pytest.approx(float(golden[f"{which}_part_{name}_sum"]), abs=TOLERANCE * scale)
        assert part.std(correction=0).item() == pytest.approx(float(golden[f"{which}_part_{name}_std"]), rel=TOLERANCE)


def test_every_block_has_the_released_statistics(networks: Networks, golden_file: Path):
    golden = np.load(golden_file)
    outputs: dict[str, Tensor] = {}
    blocks = {name: module for name, module in networks.backbone.named_children() if name[0] in "bc"}
    blocks["fc8"] = networks.classifier.head[0]
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.update({name: output.clone()}))
        for name, module in blocks.items()
    ]
    with torch.inference_mode():
        networks.classifier(images_of("sq"))
    for hook in hooks:
        hook.remove()

    assert list(outputs) == golden["sq_stage_names"].tolist()
    for output, mean, std in zip(outputs.values(), golden["sq_stage_mean"], golden["sq_stage_std"], strict=True):
        assert output.double().mean().item() == pytest.approx(mean, abs=TOLERANCE * std)
        assert output.double().std(correction=0).item() == pytest.approx(std, rel=TOLERANCE)


def test_what_learns_is_what_the_released_optimiser_has(networks: Networks, golden_file: Path):
    golden = np.load(golden_file)
    groups = dict(zip(golden["param_names"].tolist(), golden["param_group"].tolist(), strict=True))
    ours = rename_released({name: torch.tensor(group) for name, group in groups.items()})

    for name, parameter in networks.reconstructor.named_parameters():
        assert parameter.requires_grad == (ours[name].item() >= 0), name
    transposed = [
        f"{name}.weight"
        for name, module in networks.reconstructor.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    ]
    assert sorted(transposed) == sorted(name for name, group in ours.items() if group == 2)


def test_training_mode_changes_no_batch_norm_and_drops_channels(networks: Networks):
    backbone = networks.backbone
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    images = torch.rand(2, 3, 32, 32)
    try:
        networks.classifier.train()
        torch.manual_seed(0)
        with torch.no_grad():
            shallow, deep, final = backbone(images)
            _, deep_again, final_again = backbone(images)
    finally:
        networks.classifier.eval()

    assert not any(norm.training for norm in norms)
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert torch.equal(deep, deep_again)
    assert not torch.equal(final, final_again)
    assert shallow.shape == (2, 512, 4, 4)


@pytest.mark.parametrize("name", ["b6", "b7"])
def test_bottleneck_drops_a_fifth_of_the_channels_before_its_second_and_its_third_convolution(name: str):
    torch.manual_seed(0)
    with torch.device("meta"):
        block = ResNet38().get_submodule(name)
    block.to_empty(device="cpu")
    # Convolutions give 0 and BatchNorm its bias, 1: an activation is 0 only where it was dropped.
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            nn.init.ones_(module.bias)
    expected = {"conv_branch1": 0, "conv_branch2a": 0, "conv_branch2b1": 0.2, "conv_branch2b2": 0.2}
    entered: dict[str, Tensor] = {}
    for convolution in expected:
        block.get_submodule(convolution).register_forward_pre_hook(
            lambda _module, inputs, convolution=convolution: entered.update({convolution: inputs[0]})
        )
    active = torch.ones(8, block.conv_branch1.in_channels, 2, 2)

    with torch.no_grad():
        block(active, active)

    dropped = {convolution: (inputs == 0).flatten(2) for convolution, inputs in entered.items()}
    assert all(torch.equal(cells.any(dim=2), cells.all(dim=2)) for cells in dropped.values())
    shares = {convolution: cells.float().mean().item() for convolution, cells in dropped.items()}
    assert shares == pytest.approx(expected, abs=0.03)


def test_truncation_keeps_the_features_before_and_drops_the_rest():
    torch.manual_seed(0)
    backbone = ResNet38().eval()
    images = torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        expected = backbone(images)[0]

    backbone.truncate(0)
    with torch.no_grad():
        (feature,) = backbone(images)

    assert backbone.channels == (512,)
    assert torch.equal(feature, expected)
    names = [name for name, _ in backbone.named_parameters()]
    assert names[-3:] == ["b4_5.conv_branch2b1.weight", "b5.bn_branch2a.weight", "b5.bn_branch2a.bias"]


def test_residual_block_follows_its_formula():
    torch.manual_seed(0)
    block = ResidualBlock(3, (4, 5), dilations=(1, 2)).eval()
    x = torch.randn(1, 3, 6, 7)
    active = F.relu(x)

    y = F.conv2d(active, block.conv_branch2a.weight, padding=1)
    y = F.relu(y / (1 + block.bn_branch2b1.eps) ** 0.5)
    y = F.conv2d(y, block.conv_branch2b1.weight, padding=2, dilation=2)
    expected = y + F.conv2d(active, block.conv_branch1.weight)

    torch.testing.assert_close(block(x, active), expected)


@pytest.mark.parametrize(
    ("output_stride", "weights", "told"),
    [
        (16, "none", "resnet38 has output stride 8, not 16"),
        (8, "embedded", "embedded has none of backbone resnet38"),
        (8, "timm", "give the path of a weights file"),
    ],
)
def test_what_it_cannot_do_is_refused(output_stride: int, weights: str, told: str):
    with pytest.raises(ValueError, match=told):
        build_resnet38(output_stride, weights)
