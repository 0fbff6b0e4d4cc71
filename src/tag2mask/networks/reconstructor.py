"""The reconstructor: an encoder that gives features, and a decoder that restores the photo from a part of them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import ClassifierSettings, Initialisation, ReconstructorSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.backbones import Backbone, build_backbone
from tag2mask.networks.classifier import build_head, xavier_1x1
from tag2mask.networks.grids import resize
from tag2mask.networks.unet import UNetDecoder


class Encoding(NamedTuple):
    """What the encoder gives for a batch of photos."""

    features: Tensor
    """Features (B, D, h, w) on the finest of the tapped grids."""
    logits: Tensor | None
    """Class logits (B, C) of the reconstructor's own head, None where it has none."""


class Restoration(NamedTuple):
    """What the reconstructor makes of a batch of photos, restored ones being (B, 3, S, S)."""

    logits: Tensor | None
    """Class logits (B, C) of the reconstructor's own head, None where it has none."""
    whole: Tensor | None
    """The photos restored from all features; it teaches the decoder alone. None if not asked for."""
    segments: list[Tensor]
    """The photos restored from each part of the features that was fed."""
    depths: list[Tensor]
    """Features of the backbone, shallow to deep, to encode the same photos again while the backbone is the same."""


class Reconstructor(nn.Module):
    """A backbone whose tapped depths are reduced by 1x1 convolutions, a head of its own, and a U-Net decoder.

    Without a head, the backbone ends at the deepest tap. Photos are square, (B, 3, H, H), normalised with `mean` and
    `std`, and restored at the side S = `side(photos)`.

    Args:
        backbone: gives the features.
        head: from the backbone's last feature to class maps; None for no head.
        settings: tapped depths and sizes of the decoder.
        photos: the normalisation that they come with; None: the backbone's own.
    """

    mean: Tensor
    std: Tensor
    _backbone_mean: Tensor
    _backbone_std: Tensor

    def __init__(
        self, backbone: Backbone, head: nn.Module | None, settings: ReconstructorSettings,
        photos: Normalisation | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.taps = _tapped_depths(settings, len(backbone.channels))
        if head is None:
            backbone.truncate(max(self.taps))
        self.backbone = backbone
        if settings.freeze_backbone:
            self.backbone.requires_grad_(False)
        self.backbone_learns = not settings.freeze_backbone
        self.reductions = nn.ModuleList(
            _reduction(backbone.channels[tap], channels, settings.reduction_init)
            for tap, channels in zip(self.taps, settings.feature_channels, strict=True)
        )
        self.head = head
        self.decoder = UNetDecoder(sum(settings.feature_channels), settings)
        self.image_side = settings.image_side
        own = backbone.normalisation
        photos = photos or own
        self._renormalises = photos != own
        of_channels = {"mean": photos.mean, "std": photos.std, "_backbone_mean": own.mean, "_backbone_std": own.std}
        for name, values in of_channels.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, photos: Tensor, fed: Sequence[Tensor], whole: bool) -> Restoration:
        """Encode photos once, and restore them from parts of their features.

        Args:
            photos: (B, 3, H, H), normalised.
            fed: maps (B, 1, g, g) in [0, 1], one per segment: what of the features the decoder gets, cut on that grid.
            whole: also restore from all features.
        """
        depths = self.depths(photos)
        features, logits = self.encode(depths)
        parts = self._cut(features, fed)
        if not whole:
            return Restoration(logits, None, self._decode(parts), depths)
        # Detached: this term trains the decoder only and must not shape the features.
        side = self._restored_side(features)
        everything, *segments = self._decode([_at_size(features.detach(), (side, side)), *parts])
        return Restoration(logits, everything, segments, depths)

    def train(self, mode: bool = True) -> "Reconstructor":
        """Change mode, but for a frozen backbone, whose features must not depend on the phase."""
        super().train(mode)
        if not self.backbone_learns:
            self.backbone.eval()
        return self

    def depths(self, photos: Tensor) -> list[Tensor]:
        """Features of the backbone, shallow to deep."""
        if self._renormalises:
            photos = (photos * self.std + self.mean - self._backbone_mean) / self._backbone_std
        return self.backbone(photos)

    def encode(self, depths: Sequence[Tensor]) -> Encoding:
        """Reduce the tapped features of the backbone and bring them to one grid."""
        reduced = [reduce(depths[tap]) for tap, reduce in zip(self.taps, self.reductions, strict=True)]
        finest = max((feature.shape[2:] for feature in reduced), key=math.prod)
        logits = None if self.head is None else self.head(depths[-1]).mean((2, 3))
        return Encoding(torch.cat([_at_size(feature, finest) for feature in reduced], dim=1), logits)

    def restore(self, features: Tensor, fed: Sequence[Tensor]) -> list[Tensor]:
        """Restore photos (B, 3, S, S) from each part of their features.

        Args:
            features: (B, D, h, h), as encoded.
            fed: maps (B, 1, g, g) in [0, 1]. Features are brought to that grid, multiplied, and brought to side S.
        """
        return self._decode(self._cut(features, fed))

    def decode(self, features: Tensor) -> Tensor:
        """Photos (B, 3, S, S) from features (B, D, S, S)."""
        photos: Tensor = self.decoder(features)
        return photos

    def side(self, photos: Tensor) -> int:
        """The side S in pixels at which photos (B, 3, H, H) are restored."""
        return self.image_side or math.ceil(photos.shape[-1] / self._finest_stride) * self._finest_stride

    def photos_to_restore(self, photos: Tensor) -> Tensor:
        """Photos (B, 3, H, H) at the side (B, 3, S, S) at which they are restored."""
        side = self.side(photos)
        if side == photos.shape[-1]:
            return photos
        return F.interpolate(photos, size=(side, side), mode="bilinear", align_corners=False, antialias=True)

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights: all but the backbone's."""
        parts = [self.reductions, self.decoder] + ([] if self.head is None else [self.head])
        return [parameter for part in parts for parameter in part.parameters()]

    @property
    def _finest_stride(self) -> int:
        return min(self.backbone.strides[tap] for tap in self.taps)

    def _cut(self, features: Tensor, fed: Sequence[Tensor]) -> list[Tensor]:
        """Each part of the features, at side S."""
        side = self._restored_side(features)
        return [_at_size(_at_size(features, part.shape[2:]) * part.to(features.dtype), (side, side)) for part in fed]

    def _restored_side(self, features: Tensor) -> int:
        # Features of side h come from photos of side h times their stride.
        return self.image_side or features.shape[-1] * self._finest_stride

    def _decode(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Decode several parts at once: every layer treats the photos of a batch apart."""
        return list(self.decode(torch.cat(list(parts))).chunk(len(parts))) if parts else []


def build_reconstructor(
    classifier: ClassifierSettings, settings: ReconstructorSettings, num_classes: int,
    photos: Normalisation | None = None,
) -> Reconstructor:  # fmt: skip
    """Build a reconstructor with a backbone and, if it classifies, a head of the same kinds as the classifier's.

    Args:
        classifier: names backbone and head.
        settings: tapped depths and sizes of the decoder.
        num_classes: C.
        photos: the normalisation that they come with; None: the backbone's own.
    """
    backbone = build_backbone(classifier)
    head = build_head(backbone.channels[-1], num_classes, classifier.head) if settings.classify else None
    return Reconstructor(backbone, head, settings, photos)


def _reduction(in_channels: int, out_channels: int, init: Initialisation) -> nn.Conv2d:
    match init:
        case "pytorch":
            return nn.Conv2d(in_channels, out_channels, 1, bias=False)
        case "xavier":
            return xavier_1x1(in_channels, out_channels)


def _tapped_depths(settings: ReconstructorSettings, num_features: int) -> list[int]:
    """Depths of the backbone, each counted from the shallowest."""
    if len(settings.features) != len(settings.feature_channels):
        raise ValueError(
            f"reconstructor.features has {len(settings.features)} depths and reconstructor.feature_channels "
            f"{len(settings.feature_channels)} numbers: as many are needed"
        )
    for depth in settings.features:
        if not -num_features <= depth < num_features:
            raise ValueError(
                f"reconstructor.features has depth {depth}, but the backbone gives {num_features} features: "
                f"{-num_features} to {num_features - 1}"
            )
    return [depth % num_features for depth in settings.features]


def _at_size(maps: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    # On GPUs autocast resizes in float32, in which all that follows would take twice the memory.
    return resize(maps, size).to(maps.dtype)
