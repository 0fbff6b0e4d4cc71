"""The classifier: a backbone and a head without bias, whose maps are the class activation maps (CAMs)."""

from typing import Literal, NamedTuple

from torch import Tensor, nn

from tag2mask.config import ClassifierSettings
from tag2mask.networks.backbones import Backbone, build_backbone

# Channels between the two layers of that head in the released code.
_HIDDEN_CHANNELS = 256


class ClassifierOutput(NamedTuple):
    """What the classifier says about a batch of images."""

    cams: Tensor
    """Raw class activation maps (B, C, h, w): logits of any sign."""
    logits: Tensor
    """Class logits (B, C): the spatial mean of `cams`."""


class Classifier(nn.Module):
    """A network of image-level classes that pools after its head, so that its CAMs come for free."""

    def __init__(self, backbone: Backbone, num_classes: int, head: Literal["linear", "two_layer"]) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = build_head(backbone.channels[-1], num_classes, head)

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Classify images and say where the classes are.

        Args:
            images: (B, 3, H, W), normalised with the backbone's `mean` and `std`.
        """
        cams = self.head(self.backbone(images)[-1])
        return ClassifierOutput(cams, cams.mean((2, 3)))

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
    """A 1x1 convolution without bias, initialised as in the released code."""
    convolution = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    nn.init.xavier_uniform_(convolution.weight)
    return convolution
