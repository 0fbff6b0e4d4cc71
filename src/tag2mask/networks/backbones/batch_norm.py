"""BatchNorm as the method has it: always in eval mode, with frozen weight and bias."""

from torch import nn


def freeze_batch_norm(network: nn.Module) -> None:
    """Put every BatchNorm of `network` in eval mode and stop its weight and bias from learning.

    Backbones call it whenever they are built or change mode: with the small batches of this method, batch statistics
    would drown what the pretrained weights know.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)
