"""The network of class boundaries: the edge branch of IRN on a frozen backbone.

Ahn, Cho and Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR 2019,
1904.05044. Its displacement branch tells instances of a class apart and is left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import RefinementSettings
from tag2mask.networks.backbones import Backbone, build_backbone
from tag2mask.networks.backbones.timm_features import resize_to_multiple
from tag2mask.networks.grids import check_pairs, enlarge, grid_size, resize_to_grid, shrink

STRIDE = 4
"""Pixels of the image per cell of the boundary map."""

# Channels every depth is reduced to, and groups of their normalisation; released code.
_CHANNELS = 32
_GROUPS = 4


class BoundaryNet(nn.Module):
    """Every depth of a fixed backbone, reduced and brought to stride 4, tells where a class ends.

    Depths finer than that are averaged over its cells rather than left out: their contrasts are what edges are made of.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.backbone.requires_grad_(False)
        self.reductions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, _CHANNELS, 1, bias=False), nn.GroupNorm(_GROUPS, _CHANNELS))
            for channels in backbone.channels
        )
        self.fusion = nn.Conv2d(_CHANNELS * len(backbone.channels), 1, 1)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Edge logits (B, 1, H / 4, W / 4), sizes rounded up.

        Args:
            images: (B, 3, H, W), normalised as the backbone wants it.
        """
        fitted = resize_to_multiple(images, self.backbone.multiple)
        grid = grid_size(fitted, STRIDE)
        with torch.no_grad():
            features = self.backbone(fitted)
        reduced = [
            F.relu(enlarge(reduce(shrink(feature, stride, STRIDE)), stride, STRIDE, size=grid))
            for feature, stride, reduce in zip(features, self.backbone.strides, self.reductions, strict=True)
        ]
        logits: Tensor = self.fusion(torch.cat(reduced, dim=1))
        return resize_to_grid(logits, images, STRIDE)

    def train(self, mode: bool = True) -> "BoundaryNet":
        """Change mode, but for the backbone, which is fixed."""
        super().train(mode)
        self.backbone.eval()
        return self

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights: all but the backbone's."""
        return [*self.reductions.parameters(), *self.fusion.parameters()]


def build_boundary_net(settings: RefinementSettings) -> BoundaryNet:
    """Build the boundary network of `settings`, its backbone with pretrained weights."""
    check_pairs(settings, STRIDE)
    return BoundaryNet(build_backbone(settings))
