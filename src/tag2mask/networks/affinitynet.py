"""The network of pixel features whose distances are affinities: AffinityNet on any backbone.

Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised Semantic
Segmentation" (PSA), CVPR 2018, 1803.10464.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import RefinementSettings
from tag2mask.networks.backbones import Backbone, build_backbone
from tag2mask.networks.backbones.timm_features import resize_to_multiple
from tag2mask.networks.grids import check_pairs, enlarge, grid_size, resize_to_grid, shrink

STRIDE = 8
"""Pixels of the image per cell of the features."""

# Channels the last depths of the backbone are reduced to, shallow to deep; released code.
_CHANNELS = (64, 128, 256)

# Gain of the last layer's first weights; released code.
_GAIN = 4


class AffinityNet(nn.Module):
    """The last three depths of a backbone, reduced, brought to stride 8 and mixed. The backbone learns too."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.first_depth = len(backbone.channels) - len(_CHANNELS)
        assert self.first_depth >= 0
        self.reductions = nn.ModuleList(
            nn.Conv2d(in_channels, channels, 1, bias=False)
            for in_channels, channels in zip(backbone.channels[self.first_depth :], _CHANNELS, strict=True)
        )
        for reduction in self.reductions:
            assert isinstance(reduction, nn.Conv2d)
            nn.init.kaiming_normal_(reduction.weight)
        self.fusion = nn.Conv2d(sum(_CHANNELS), sum(_CHANNELS), 1, bias=False)
        nn.init.xavier_uniform_(self.fusion.weight, gain=_GAIN)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 448, H / 8, W / 8), sizes rounded up, whose mean absolute difference is a distance.

        Args:
            images: (B, 3, H, W), normalised as the backbone wants it.
        """
        fitted = resize_to_multiple(images, self.backbone.multiple)
        grid = grid_size(fitted, STRIDE)
        depths = zip(self.backbone(fitted)[self.first_depth :], self.backbone.strides[self.first_depth :], strict=True)
        reduced = [
            enlarge(F.elu(reduce(shrink(feature, stride, STRIDE))), stride, STRIDE, size=grid)
            for (feature, stride), reduce in zip(depths, self.reductions, strict=True)
        ]
        return resize_to_grid(F.elu(self.fusion(torch.cat(reduced, dim=1))), images, STRIDE)

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights: all but the backbone's."""
        return [*self.reductions.parameters(), *self.fusion.parameters()]


def build_affinity_net(settings: RefinementSettings) -> AffinityNet:
    """Build the AffinityNet of `settings`, its backbone with pretrained weights."""
    check_pairs(settings, STRIDE)
    return AffinityNet(build_backbone(settings))
