"""The segmenter: a backbone and one of DeepLab's heads, trained on label maps.

Chen, Papandreou, Kokkinos, Murphy and Yuille, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets,
Atrous Convolution, and Fully Connected CRFs", 1606.00915 (v1, v2); Chen, Zhu, Papandreou, Schroff and Adam,
"Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", 1802.02611 (v3+).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import SegmenterSettings
from tag2mask.networks.backbones import Backbone, build_backbone
from tag2mask.networks.grids import resize

Head = Literal["deeplab_v1", "deeplab_v2", "deeplab_v3plus"]

# Output stride at which v1 and v2 state their dilations.
_STRIDE = 8

# Dilation and channels between the two layers of the large field of view; MCTformer's segmentation code.
_FIELD_OF_VIEW = 12
_FIELD_OF_VIEW_CHANNELS = 512

# Dilations of v2, and of v3+ at output stride 16; the papers.
_V2_DILATIONS = (6, 12, 18, 24)
_V3PLUS_DILATIONS = (6, 12, 18)
_V3PLUS_STRIDE = 16

# Channels of v3+: of its pyramid and decoder, and what the stride-4 feature is reduced to; paper.
_CHANNELS = 256
_LOW_CHANNELS = 48
_DECODER_STRIDE = 4
_GROUPS = 16


class DeepLab(nn.Module):
    """A backbone whose features a head turns into logits of every label, background included.

    Args:
        backbone: `deeplab_v3plus` needs one with a feature at stride 4.
        num_labels: C + 1, classes and background.
        head: which version of DeepLab.

    Raises:
        ValueError: the backbone lacks the feature that the head needs.
    """

    def __init__(self, backbone: Backbone, num_labels: int, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head: nn.Module
        match head:
            case "deeplab_v1":
                self.head = LargeFieldOfView(backbone, num_labels)
            case "deeplab_v2":
                self.head = DilationPyramid(backbone, num_labels)
            case "deeplab_v3plus":
                self.head = PyramidAndDecoder(backbone, num_labels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C + 1, h, w) at the backbone's last stride, at stride 4 for v3+; sizes rounded up.

        Args:
            images: (B, 3, H, W), normalised as the backbone wants it.
        """
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights: those of the head."""
        return list(self.head.parameters())


class LargeFieldOfView(nn.Module):
    """Two convolutions of dilation 12 on the last feature, as weakly supervised work has DeepLab v1 on ResNet38."""

    def __init__(self, backbone: Backbone, num_labels: int) -> None:
        super().__init__()
        dilation = _scaled(_FIELD_OF_VIEW, _STRIDE, backbone)
        self.reduce = _dilated(backbone.channels[-1], _FIELD_OF_VIEW_CHANNELS, dilation)
        self.classify = _dilated(_FIELD_OF_VIEW_CHANNELS, num_labels, dilation)
        for layer in (self.reduce, self.classify):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C + 1, h, w) from features, shallow to deep."""
        logits: Tensor = self.classify(F.relu(self.reduce(features[-1])))
        return logits


class DilationPyramid(nn.Module):
    """Sum of four convolutions of growing dilation on the last feature: DeepLab v2's ASPP."""

    def __init__(self, backbone: Backbone, num_labels: int) -> None:
        super().__init__()
        dilations = [_scaled(dilation, _STRIDE, backbone) for dilation in _V2_DILATIONS]
        self.branches = nn.ModuleList(_dilated(backbone.channels[-1], num_labels, dilation) for dilation in dilations)
        for branch in self.branches:
            assert isinstance(branch, nn.Conv2d)
            assert branch.bias is not None
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C + 1, h, w) from features, shallow to deep."""
        return torch.stack([branch(features[-1]) for branch in self.branches]).sum(0)


class PyramidAndDecoder(nn.Module):
    """ASPP with image pooling, and a decoder that adds the detail of the stride-4 feature: DeepLab v3+.

    GroupNorm stands in for the paper's BatchNorm: statistics of a few crops would mean little, and would make several
    processes differ from one.
    """

    def __init__(self, backbone: Backbone, num_labels: int) -> None:
        super().__init__()
        if _DECODER_STRIDE not in backbone.strides[:-1]:
            raise ValueError(
                f"segmenter.head deeplab_v3plus needs a feature at stride {_DECODER_STRIDE}, but the backbone has "
                f"strides {', '.join(map(str, backbone.strides))}: take deeplab_v1 or deeplab_v2"
            )
        # The deepest of that stride, which has seen most.
        self.low = max(depth for depth, stride in enumerate(backbone.strides[:-1]) if stride == _DECODER_STRIDE)
        channels = backbone.channels[-1]
        dilations = [_scaled(dilation, _V3PLUS_STRIDE, backbone) for dilation in _V3PLUS_DILATIONS]
        self.branches = nn.ModuleList(
            [_pointwise(channels, _CHANNELS), *(_separable(channels, _CHANNELS, dilation) for dilation in dilations)]
        )
        self.pooled = _pointwise(channels, _CHANNELS)
        self.join = _pointwise((len(self.branches) + 1) * _CHANNELS, _CHANNELS)
        self.reduce = _pointwise(backbone.channels[self.low], _LOW_CHANNELS)
        self.decode = nn.Sequential(_separable(_CHANNELS + _LOW_CHANNELS, _CHANNELS), _separable(_CHANNELS, _CHANNELS))
        self.classify = nn.Conv2d(_CHANNELS, num_labels, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C + 1, H / 4, W / 4) from features, shallow to deep."""
        low, deep = features[self.low], features[-1]
        pooled = self.pooled(deep.mean((2, 3), keepdim=True)).expand(-1, -1, *deep.shape[2:])
        pyramid = self.join(torch.cat([*(branch(deep) for branch in self.branches), pooled], dim=1))
        pyramid = resize(pyramid, low.shape[2:])
        logits: Tensor = self.classify(self.decode(torch.cat([pyramid, self.reduce(low)], dim=1)))
        return logits


def build_deeplab(settings: SegmenterSettings, num_classes: int) -> DeepLab:
    """Build the segmenter of `settings` for `num_classes` and background, its backbone with pretrained weights."""
    return DeepLab(build_backbone(settings), num_classes + 1, settings.head)


def _scaled(dilation: int, stride: int, backbone: Backbone) -> int:
    """What a dilation that is stated at an output stride is at the backbone's, so that it sees as far in the photo."""
    return max(1, dilation * stride // backbone.strides[-1])


def _dilated(in_channels: int, out_channels: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)


def _pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 1x1 convolution, normalised and positive."""
    convolution = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, out_channels), nn.ReLU())


def _separable(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """A 3x3 convolution of each channel alone, then one that mixes them; section 3.1 of the v3+ paper."""
    spatial = nn.Conv2d(
        in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False
    )
    return nn.Sequential(spatial, _pointwise(in_channels, out_channels))
