from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from tag2mask.config import OptimizerSettings, ReconstructorSettings
from tag2mask.networks.backbones.resnet38 import ResNet38
from tag2mask.networks.backbones.weights import rename_released
from tag2mask.networks.classifier import build_head
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.recipes import load_recipe
from tag2mask.training.optim import build_optimizer, poly_schedule

RELEASED = load_recipe("voc12_resnet38").acr.reconstructor_optimizer


class Layers(nn.Module):
    """One layer of each kind that the groups know, the last frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 5, 1)
        self.transposed = nn.ConvTranspose2d(1, 5, 1)
        self.norm = nn.BatchNorm2d(5).requires_grad_(False)


def groups(network: nn.Module, new: list[nn.Parameter], settings: OptimizerSettings) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by the parameter's name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in build_optimizer(network, new, settings).param_groups:
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = group["lr"], group["weight_decay"]
    return found


def test_steps_equal_those_of_the_released_optimiser(golden: Path):
    values = np.load(golden / "poly_optimizer.npz")
    network = Layers()
    network.transposed.bias.requires_grad_(False)
    parameters = [network.convolution.weight, network.convolution.bias, network.transposed.weight]
    for parameter, initial in zip(parameters, values["initial"], strict=True):
        parameter.data = torch.from_numpy(initial.copy()).view_as(parameter)
    optimizer = build_optimizer(network, [], RELEASED)
    schedule = poly_schedule(optimizer, int(values["max_step"]), RELEASED.poly_power)

    assert [group["momentum"] for group in optimizer.param_groups] == pytest.approx(values["momentum"][:3].tolist())
    for gradients, rates, after in zip(values["gradients"], values["lr_used"], values["params_after"], strict=True):
        by_parameter = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert [by_parameter[id(parameter)] for parameter in parameters] == pytest.approx(rates[:3].tolist())
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy()).view_as(parameter)
        optimizer.step()
        schedule.step()
        for parameter, expected in zip(parameters, after, strict=True):
            assert parameter.detach().flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-7)


def test_groups_of_the_released_network_equal_the_released_ones(golden: Path):
    values = np.load(golden / "resnet38.npz")
    marks = zip(values["param_names"].tolist(), values["param_group"].tolist(), strict=True)
    with torch.device("meta"):
        network = Reconstructor(ResNet38(), build_head(4096, 20, "two_layer"), ReconstructorSettings())

    found = groups(network, network.new_parameters(), RELEASED)

    kinds = {0: (0.01, 5e-4), 1: (0.02, 0.0), 2: (0.1, 5e-4)}
    in_groups = {name: torch.tensor(kinds[group]) for name, group in marks if group >= 0}
    expected = rename_released(in_groups)
    assert found.keys() == expected.keys()
    for name, group in expected.items():
        assert found[name] == pytest.approx(group.tolist()), name


def test_factors_multiply():
    settings = replace(
        RELEASED, new_layers_factor=3, bias_factor=2, transposed_factor=5, learning_rate=1, weight_decay=0.1
    )
    network = Layers()

    found = groups(network, list(network.transposed.parameters()), settings)

    assert found == {
        "convolution.weight": (1, 0.1),
        "convolution.bias": (2, 0.0),
        "transposed.weight": (15, 0.1),
        "transposed.bias": (6, 0.0),
    }


def test_adam_and_sgd_take_the_momentum():
    adam = build_optimizer(Layers(), [], OptimizerSettings(name="adam", momentum=0.5))
    sgd = build_optimizer(Layers(), [], OptimizerSettings(momentum=0.7))

    assert isinstance(adam, Adam)
    assert isinstance(sgd, SGD)
    assert all(group["betas"] == (0.5, 0.999) for group in adam.param_groups)
    assert all(group["momentum"] == 0.7 for group in sgd.param_groups)


@pytest.mark.parametrize(
    ("power", "expected"),
    [(0, [1, 1, 1, 1, 1]), (1, [1, 0.75, 0.5, 0.25, 0.25]), (2, [1, 0.5625, 0.25, 0.0625, 0.0625])],
)
def test_learning_rate_falls_to_its_last_value_and_stays(power: float, expected: list[float]):
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = poly_schedule(optimizer, 4, power)

    rates = []
    for _ in range(5):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()

    assert rates == pytest.approx(expected)
