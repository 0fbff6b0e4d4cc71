"""Optimisers with the parameter groups and the polynomial schedule that the field uses."""

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.config import OptimizerSettings


def build_optimizer(
    network: nn.Module, new_parameters: Iterable[nn.Parameter], settings: OptimizerSettings
) -> Optimizer:
    """Optimiser over the parameters of `network` that learn, grouped by learning rate and weight decay.

    Args:
        network: its frozen parameters are left out.
        new_parameters: those that do not come from pretrained weights.
        settings: rates and factors.
    """
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
            weight_decay = 0.0 if name == "bias" else settings.weight_decay
            groups.setdefault((settings.learning_rate * factor, weight_decay), []).append(parameter)
    listed = [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]
    match settings.name:
        case "sgd":
            return SGD(listed, momentum=settings.momentum)
        case "adam":
            return Adam(listed, betas=(settings.momentum, 0.999))


def poly_schedule(optimizer: Optimizer, num_steps: int, power: float) -> LambdaLR:
    """Learning rate times (1 - step / num_steps) ** power; past the last step it stays at its last value."""
    return LambdaLR(optimizer, lambda step: (1 - min(step, num_steps - 1) / num_steps) ** power)
