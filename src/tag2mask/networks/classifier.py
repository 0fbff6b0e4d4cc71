"""The classifier: a backbone and a head without bias, whose maps are the class activation maps (CAMs)."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from tag2mask.config import ClassifierSettings
from tag2mask.networks.backbones import Backbone, Normalising, build_backbone

# Channels between the two layers of that head in the released code.
_HIDDEN_CHANNELS = 256


class ClassifierOutput(NamedTuple):
    """What the classifier says about a batch of images."""

    cams: Tensor
    """Raw class activation maps (B, C, h, w), of any range."""
    all_logits: tuple[Tensor, ...]
    """Every set of class logits (B, C) that learns the tags: one, or class tokens' and patches' of a transformer."""

    @property
    def logits(self) -> Tensor:
        """Class logits (B, C)."""
        return self.all_logits[0] if len(self.all_logits) == 1 else torch.stack(self.all_logits).mean(0)


class PhotoClassifier(nn.Module):
    """A network that learns image-level classes and says where they are: its maps become the seeds."""

    backbone: Normalising

    def seed_maps(self, images: Tensor) -> ClassifierOutput:
        """What becomes the seeds: the maps that it is trained with, where a network has no better ones.

        Args:
            images: (B, 3, H, W), normalised as the backbone wants it.
        """
        output: ClassifierOutput = self(images)
        return output

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights."""
        raise NotImplementedError


class Classifier(PhotoClassifier):
    """A backbone and a head, pooled after the head, so that its CAMs come for free."""

    def __init__(self, backbone: Backbone, num_classes: int, head: Literal["linear", "two_layer"]) -> None:
        super().__init__()
        self.backbone: Backbone = backbone
        self.head = build_head(backbone.channels[-1], num_classes, head)

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Classify images and say where the classes are: the logits are the spatial mean of the maps.

        Args:
            images: (B, 3, H, W), normalised as the backbone wants it.
        """
        cams = self.head(self.backbone(images)[-1])
        return ClassifierOutput(cams, (cams.mean((2, 3)),))

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights: those of the head."""
        return list(self.head.parameters())


def build_classifier(settings: ClassifierSettings, num_classes: int) -> Classifier:
    """Build the classifier of `settings`, its backbone with pretrained weights."""
    return Classifier(build_backbone(settings), num_classes, settings.head)


def build_head(channels: int, num_classes: int, kind: Literal["linear", "two_layer"]) -> nn.Module:
    """Layers from features (B, `channels`, h, w) to CAMs (B, `num_classes`, h, w): one of the paper, or two."""
    match kind:
        case "linear":
            return xavier_1x1(channels, num_classes)
        case "two_layer":
            return nn.Sequential(
                xavier_1x1(channels, _HIDDEN_CHANNELS), nn.ReLU(), xavier_1x1(_HIDDEN_CHANNELS, num_classes)
            )


def xavier_1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 1x1 convolution without bias, initialised as the heads of the released code."""
    convolution = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    nn.init.xavier_uniform_(convolution.weight)
    return convolution
