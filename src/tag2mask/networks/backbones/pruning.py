"""Removal of the parts of a network that its forward never runs."""

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def drop_unused(network: nn.Module, images: Tensor) -> None:
    """Replace every part that a forward with `images` does not run by an identity without parameters.

    Unused parameters would cost memory, be saved and be optimised, and stop distributed training.

    Args:
        network: in eval mode; changed in place.
        images: (B, 3, H, W), only their shape matters.
    """
    ran: set[nn.Module] = set()

    def note(module: nn.Module, _inputs: Any) -> None:
        ran.add(module)

    hooks = [module.register_forward_pre_hook(note) for module in network.modules()]
    network(images)
    for hook in hooks:
        hook.remove()
    _drop(network, ran)


def _drop(network: nn.Module, ran: set[nn.Module]) -> None:
    for name, child in network.named_children():
        if child in ran:
            continue  # its children may be used without being called, e.g. through their weight
        if ran.isdisjoint(child.modules()):
            setattr(network, name, nn.Identity())
        else:
            _drop(child, ran)
