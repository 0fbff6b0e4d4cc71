"""Optimisers with the parameter groups and the schedules that the field uses."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.config import OptimizerSettings


def build_optimizer(
    network: nn.Module, new_parameters: Iterable[nn.Parameter], settings: OptimizerSettings,
    undecayed_parameters: Iterable[nn.Parameter] = (),
) -> Optimizer:  # fmt: skip
    """Optimiser over the parameters of `network` that learn, grouped by learning rate and weight decay.

    Args:
        network: its frozen parameters are left out.
        new_parameters: those that do not come from pretrained weights.
        settings: learning rate and its factor for new parameters, weight decay.
        undecayed_parameters: those without weight decay; biases have none in any case.
    """
    groups = _parameter_groups(network, new_parameters, settings, undecayed_parameters)
    match settings.name:
        case "sgd":
            return SGD(groups, momentum=settings.momentum)
        case "adam":
            return Adam(groups, betas=(settings.momentum, 0.999))
        case "adamw":
            return AdamW(groups, betas=(settings.momentum, 0.999))


def build_schedule(
    optimizer: Optimizer, settings: OptimizerSettings, *, num_steps: int, steps_per_epoch: int
) -> LambdaLR:
    """Schedule in which the learning rate rises during warm-up and then falls; past the last step it stays.

    The fall counts from the first step on, as in DeiT's code: where the rise ends, the rate goes on as if there had
    been no warm-up.

    Args:
        optimizer: its rates are the highest ones of the schedule.
        settings: how the rate falls, and how many epochs the rise takes.
        num_steps: steps of the whole training.
        steps_per_epoch: steps of one epoch.
    """
    num_rising = settings.warmup_epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < num_rising:
            return (step + 1) / (num_rising + 1)
        done = min(step, num_steps - 1) / num_steps
        match settings.schedule:
            case "poly":
                return float((1 - done) ** settings.poly_power)
            case "cosine":
                return (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, factor)


def _parameter_groups(
    network: nn.Module, new_parameters: Iterable[nn.Parameter], settings: OptimizerSettings,
    undecayed_parameters: Iterable[nn.Parameter],
) -> list[dict[str, Any]]:  # fmt: skip
    """The parameters that learn, those of equal rate and decay together."""
    undecayed = {id(parameter) for parameter in undecayed_parameters}
    new = {id(parameter) for parameter in new_parameters}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            factor = settings.new_layers_factor if id(parameter) in new else 1.0
            if name == "bias":
                factor *= settings.bias_factor
            elif isinstance(module, nn.ConvTranspose2d):
                factor *= settings.transposed_factor
            weight_decay = 0.0 if name == "bias" or id(parameter) in undecayed else settings.weight_decay
            groups.setdefault((settings.learning_rate * factor, weight_decay), []).append(parameter)
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]
