"""A small vision transformer on features of the embedded CNN, for machines without pretrained transformers.

Hybrid as in Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, section 3.1: the patches are features of a
CNN, here a frozen one. Attention starts as the similarity of these features, in the spirit of Trockman and Kolter,
"Mimetic Initialization of Self-Attention Layers", ICML 2023: a few photos with tags would not teach it that.
"""

import math
from dataclasses import asdict
from functools import partial
from typing import Any, cast

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from tag2mask.networks.backbones.embedded import EMBEDDED_BACKBONE
from tag2mask.networks.backbones.timm_features import TimmFeatures, build_timm_features

HYBRID_BACKBONE = "hybrid_lite0"

_STRIDE = 16
# Features of EfficientNet-Lite0 and the stages that they are the output of. The first one tells objects apart, so
# attention starts with it; the second one, classes. Chosen, as what follows, by the mIoU of spread seeds on held-out
# photos: see docs/experiments.md.
_FEATURES, _STAGES = (3, 4), (4, 6)
_OBJECT_CHANNELS, _CLASS_CHANNELS = 112, 80
_CHANNELS = _OBJECT_CHANNELS + _CLASS_CHANNELS
_BLOCKS, _HEADS = 3, 3
# Logit of a token's attention to itself over sqrt(channels / heads).
_SHARPNESS = 0.7
# Share of what a token attends to that a block adds to it.
_SMOOTHING = 0.5
# Deviation of the last norm's weights. Were they all 1, as they begin in timm, the mean over a token's channels, which
# is the logit of its class, would be 0 whatever the token is.
_NORM_DEVIATION = 3.0


class CnnPatches(nn.Module):
    """Stands for timm's patch embedding: tokens are projected features, side by side, of a frozen CNN.

    Args:
        cnn: whose features have the stride `patch_size`.
        img_size: side in pixels of the images that the learned positions belong to.
        patch_size: side of a patch in pixels.
        embed_dim: D, channels of a token.
    """

    def __init__(self, cnn: TimmFeatures, img_size: int, patch_size: int, embed_dim: int, **_: Any) -> None:
        super().__init__()
        self.cnn = cnn.requires_grad_(False)
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = math.prod(self.grid_size)
        self.proj = nn.Conv2d(sum(cnn.channels[place] for place in _FEATURES), embed_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, H / patch, W / patch, D) of images (B, 3, H, W)."""
        features = self.cnn(images)
        tokens: Tensor = self.proj(torch.cat([features[place] for place in _FEATURES], dim=1))
        return tokens.permute(0, 2, 3, 1)


def build_hybrid_transformer(weights: str, drop_path: float) -> VisionTransformer:
    """Build the transformer, with timm's name of the input normalisation in its `pretrained_cfg`.

    Args:
        weights: of the CNN: `embedded` or `none`.
        drop_path: share of images for which the last block is left out in training, less for earlier ones.
    """
    cnn = build_timm_features(EMBEDDED_BACKBONE, _STRIDE, weights)
    normalisation = asdict(cnn.normalisation)
    cnn.truncate(_FEATURES[-1])
    network = VisionTransformer(
        patch_size=_STRIDE, embed_dim=_CHANNELS, depth=_BLOCKS, num_heads=_HEADS, num_classes=0, dynamic_img_size=True,
        drop_path_rate=drop_path, embed_layer=cast(Any, partial(CnnPatches, cnn)),
    )  # fmt: skip
    cast(Any, network).pretrained_cfg = normalisation
    _start_from_similarity(network)
    nn.init.normal_(cast(Any, network).norm.weight, std=_NORM_DEVIATION)
    return network


@torch.no_grad()
def _start_from_similarity(network: VisionTransformer) -> None:
    """Let every block attend to similar objects, and move each token a little to what it attends to."""
    parts: Any = network
    _keep_angles(parts.patch_embed.proj, parts.patch_embed.cnn)
    for block in parts.blocks:
        similarity = _rotation(_CHANNELS) * math.sqrt(_SHARPNESS)
        similarity[:, _OBJECT_CHANNELS:] = 0
        value = _rotation(_CHANNELS)
        block.attn.qkv.weight.copy_(torch.cat([similarity, similarity, value]))
        block.attn.proj.weight.copy_(_SMOOTHING * value.T)


def _keep_angles(projection: nn.Conv2d, cnn: TimmFeatures) -> None:
    """Make it a rotation, in its own channels, of each feature after that is standardised."""
    assert projection.bias is not None
    projection.weight.zero_()
    row = column = 0
    for stage, out_channels in zip(_STAGES, (_OBJECT_CHANNELS, _CLASS_CHANNELS), strict=True):
        mean, deviation = _feature_statistics(cnn, stage)
        in_channels = len(mean)
        weight = _rotation(in_channels)[:out_channels] / deviation
        projection.weight[row : row + out_channels, column : column + in_channels, 0, 0] = weight
        projection.bias[row : row + out_channels] = -weight @ mean
        row, column = row + out_channels, column + in_channels


def _feature_statistics(cnn: TimmFeatures, stage: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of a stage's output on the photos that the CNN was pretrained with.

    A stage of this network is the sum of its blocks, each ending in a BatchNorm without activation, whose bias and
    weight are mean and deviation of its output; the blocks are taken for independent.
    """
    norms = [block.bn3 for block in cast(Any, cnn.network).blocks[stage]]
    mean = torch.stack([norm.bias for norm in norms]).sum(0)
    variance = torch.stack([norm.weight.square() for norm in norms]).sum(0)
    return mean, variance.sqrt()


def _rotation(side: int) -> Tensor:
    rotation: Tensor = torch.linalg.qr(torch.randn(side, side)).Q
    return rotation
