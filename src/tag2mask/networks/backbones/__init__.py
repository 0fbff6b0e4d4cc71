"""Feature extractors and the reading of their pretrained weights."""

from typing import Any, Protocol

from torch import Tensor

from tag2mask.config import ClassifierSettings, RefinementSettings, SegmenterSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.backbones.resnet38 import build_resnet38
from tag2mask.networks.backbones.timm_features import build_timm_features


class Normalising(Protocol):
    """Something whose input is normalised as its pretrained weights want it."""

    normalisation: Normalisation
    """Mean and deviation of the input that the weights were trained with."""


class Backbone(Normalising, Protocol):
    """What our networks need of a feature extractor, which is an nn.Module besides."""

    channels: tuple[int, ...]
    """Channels of every feature, shallow to deep; the last is what the pretrained classifier pooled."""
    strides: tuple[int, ...]
    """Pixels of the image per cell of every feature."""
    multiple: int
    """Pixels that it resizes the sides of images to a multiple of, 1 where it takes any."""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Features (B, `channels[i]`, h, w) of normalised images (B, 3, H, W), shallow to deep."""
        ...

    def requires_grad_(self, requires_grad: bool) -> Any:
        """Let all parameters learn, or none."""
        ...

    def eval(self) -> Any:
        """Leave training mode."""
        ...

    def truncate(self, depth: int) -> None:
        """Drop all that comes after feature number `depth`, which becomes the last one."""
        ...


def build_backbone(settings: ClassifierSettings | RefinementSettings | SegmenterSettings) -> Backbone:
    """Build the feature extractor of `settings` with its pretrained weights."""
    if settings.backbone == "resnet38":
        return build_resnet38(settings.output_stride, settings.weights)
    return build_timm_features(settings.backbone, settings.output_stride, settings.weights)
