import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from tag2mask.config import OptimizerSettings, ReconstructorSettings
from tag2mask.networks.backbones.resnet38 import ResNet38
from tag2mask.networks.backbones.weights import rename_released
from tag2mask.networks.classifier import build_head
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.recipes import load_recipe
from tag2mask.training.optim import build_optimizer, build_schedule

RELEASED = load_recipe("voc12_resnet38").acr.reconstructor_optimizer


class Layers(nn.Module):
    """One layer of each kind that the groups know, the last frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 5, 1)
        self.transposed = nn.ConvTranspose2d(1, 5, 1)
        self.norm = nn.BatchNorm2d(5).requires_grad_(False)


def groups(
    network: nn.Module, new: list[nn.Parameter], settings: OptimizerSettings, undecayed: Iterable[nn.Parameter] = ()
) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by the parameter's name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in build_optimizer(network, new, settings, undecayed).param_groups:
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
    schedule = build_schedule(optimizer, RELEASED, num_steps=int(values["max_step"]), steps_per_epoch=1)

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


def test_parameters_named_as_undecayed_have_no_weight_decay_and_keep_their_rate():
    settings = OptimizerSettings(name="adamw", learning_rate=1, weight_decay=0.1, new_layers_factor=3, bias_factor=1)
    network = Layers()
    network.tokens = nn.Parameter(torch.zeros(2))

    found = groups(network, [network.transposed.weight], settings, [network.tokens, network.transposed.weight])

    assert found == {
        "tokens": (1, 0.0),
        "convolution.weight": (1, 0.1),
        "convolution.bias": (1, 0.0),
        "transposed.weight": (3, 0.0),
        "transposed.bias": (1, 0.0),
    }


def test_every_optimiser_takes_the_momentum():
    sgd, *adams = (
        build_optimizer(Layers(), [], OptimizerSettings(name=name, momentum=0.5)) for name in ("sgd", "adam", "adamw")
    )

    assert [type(optimizer) for optimizer in (sgd, *adams)] == [SGD, Adam, AdamW]
    assert all(group["momentum"] == 0.5 for group in sgd.param_groups)
    assert all(group["betas"] == (0.5, 0.999) for optimizer in adams for group in optimizer.param_groups)


def test_adamw_shrinks_weights_by_rate_and_decay_alone():
    network = nn.Conv2d(1, 1, 1)
    weight, bias = network.weight.item(), network.bias.item()
    optimizer = build_optimizer(network, [], OptimizerSettings(name="adamw", learning_rate=0.1, weight_decay=0.05))

    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()

    assert network.weight.item() == pytest.approx(weight * (1 - 0.1 * 0.05))
    assert network.bias.item() == bias


def rates_of(settings: OptimizerSettings, *, num_steps: int, steps_per_epoch: int) -> list[float]:
    """Rates of all steps and one more, the highest being 1."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, settings, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
    rates = []
    for _ in range(num_steps + 1):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (OptimizerSettings(poly_power=0), [1, 1, 1, 1, 1]),
        (OptimizerSettings(poly_power=1), [1, 0.75, 0.5, 0.25, 0.25]),
        (OptimizerSettings(poly_power=2), [1, 0.5625, 0.25, 0.0625, 0.0625]),
        (OptimizerSettings(schedule="cosine"), [1, (1 + math.sqrt(0.5)) / 2, 0.5, *[(1 - math.sqrt(0.5)) / 2] * 2]),
    ],
)
def test_learning_rate_falls_to_its_last_value_and_stays(settings: OptimizerSettings, expected: list[float]):
    assert rates_of(settings, num_steps=4, steps_per_epoch=2) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_learning_rate_rises_in_even_steps_and_goes_on_as_if_it_had_not(schedule: str):
    plain = rates_of(OptimizerSettings(schedule=schedule), num_steps=12, steps_per_epoch=2)

    warmed = rates_of(OptimizerSettings(schedule=schedule, warmup_epochs=2), num_steps=12, steps_per_epoch=2)

    assert warmed[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert warmed[4:] == plain[4:]


def test_cosine_ends_at_0():
    rates = rates_of(OptimizerSettings(schedule="cosine"), num_steps=1000, steps_per_epoch=10)

    assert rates[-1] == pytest.approx(0, abs=1e-5)
    assert rates == sorted(rates, reverse=True)
