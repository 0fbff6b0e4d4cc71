"""The U-Net of pix2pix, which restores images from features on their grid.

Isola, Zhu, Zhou and Efros, "Image-to-Image Translation with Conditional Adversarial Networks", 2017, 1611.07004, as the
released code of ACR has it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.config import ReconstructorSettings


class UNetDecoder(nn.Module):
    """Downward levels that halve the grid, and upward ones that double it and see the former again.

    Its output is not squeezed by a tanh. Dropout sits in the levels of full width: with the released depth of 8 these
    are the downward levels 4 to 8 and the upward levels 1 to 4.
    """

    def __init__(self, in_channels: int, settings: ReconstructorSettings) -> None:
        super().__init__()
        full = settings.width * settings.max_width_factor
        widths = [min(settings.width * 2**level, full) for level in range(settings.depth)]
        dropouts = [settings.dropout if width == full else 0.0 for width in widths]
        self.down = nn.ModuleList()
        for level, (width, dropout) in enumerate(zip(widths, dropouts, strict=True)):
            # The last level may be a single cell, which has no variance; the first has no norm in the original either.
            norm = nn.Identity() if level in (0, settings.depth - 1) else nn.InstanceNorm2d(width)
            self.down.append(_down(in_channels, width, norm, dropout))
            in_channels = width
        self.up = nn.ModuleList()
        for width, dropout in zip(widths[-2::-1], dropouts[-2::-1], strict=True):
            self.up.append(_up(in_channels, width, dropout))
            in_channels = 2 * width  # itself and the downward level of its size
        # The first place was that of an upsampling, and files of weights count it.
        self.final = nn.Sequential(nn.Identity(), _DoublingConvolution(in_channels, 3, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """Images (B, 3, H, W) from features (B, D, H, W), H and W multiples of 2 ** depth."""
        levels = [features]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in self.up:
            x = torch.cat((up(x), levels.pop()), dim=1)
        images: Tensor = self.final(x)
        return images


class _DoublingConvolution(nn.Conv2d):
    """A 3x3 convolution of the grid doubled by nearest neighbours, without the doubled grid in memory.

    Pixels of a block of 2x2 are equal, so a transposed convolution of 4x4 and stride 2 gives the same: each of its
    weights sums those of the 3x3 ones that meet the same block.
    """

    def forward(self, x: Tensor) -> Tensor:
        spread = F.pad(self.weight.flip(2, 3), (1, 1, 1, 1))
        summed = 4 * F.avg_pool2d(spread, 2, stride=1)
        return F.conv_transpose2d(x, summed.transpose(0, 1), self.bias, stride=2, padding=1)


def _down(in_channels: int, width: int, norm: nn.Module, dropout: float) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(0.2, inplace=True), nn.Dropout(dropout))


def _up(in_channels: int, width: int, dropout: float) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(in_channels, width, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.InstanceNorm2d(width), nn.ReLU(inplace=True), nn.Dropout(dropout))
