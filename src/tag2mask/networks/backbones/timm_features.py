"""Features of any timm network at an output stride of choice."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from tag2mask.data.faults import all_near
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.backbones.batch_norm import freeze_batch_norm
from tag2mask.networks.backbones.embedded import EMBEDDED_BACKBONE, EMBEDDED_NORMALISATION, read_embedded
from tag2mask.networks.backbones.pruning import drop_unused
from tag2mask.networks.backbones.weights import load_strictly, read_weights
from tag2mask.networks.grids import resize

_log = logging.getLogger(__name__)

OUTPUT_STRIDES = (8, 16, 32)

# Side in pixels of the empty image that shows what a network gives: a multiple of every output stride.
_PROBE_SIDE = 128
# And of the one that shows how it rounds: one more than such a multiple, so that every size on its way down is odd.
_ODD_SIDE = 33
# What networks raise for images that they cannot take.
_CANNOT = (AssertionError, RuntimeError, TypeError, ValueError)


class TimmFeatures(nn.Module):
    """A timm network without its classifier: the outputs of its stages, and its last map before pooling.

    Attributes:
        channels: of every feature, shallow to deep.
        strides: pixels of the image per cell of every feature.
        multiple: pixels that the sides of images are resized to a multiple of, 1 where the network itself rounds sizes
            up.
        normalisation: mean and deviation of the input that the weights were trained with.
    """

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network.eval()
        self.normalisation = normalisation
        final, stages = _probe(network, _PROBE_SIDE)
        self.num_stages = len(stages)
        # Some networks go on after their last stage, such as EfficientNet with a 1x1 convolution.
        self.final_follows_stages = final is not stages[-1]
        features = [*stages, final] if self.final_follows_stages else stages
        self.channels = tuple(feature.shape[1] for feature in features)
        self.strides = tuple(_stride(feature) for feature in features)
        # ConvNeXt rounds sizes down, and DLA adds maps that only fit where nothing is rounded.
        self.multiple = 1 if _rounds_up(network, self.strides) else max(self.strides)
        drop_unused(self, _empty_image(_PROBE_SIDE))
        self.train()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of `images`, shallow to deep.

        Args:
            images: (B, 3, H, W), normalised as `normalisation` says.

        Returns:
            Maps (B, `channels[i]`, H / `strides[i]`, W / `strides[i]`), sizes rounded up.
        """
        if self.multiple == 1:
            return self._features(images)
        features = self._features(resize_to_multiple(images, self.multiple))
        return [
            resize(feature, [_cells(side, stride) for side in images.shape[2:]])
            for feature, stride in zip(features, self.strides, strict=True)
        ]

    def _features(self, images: Tensor) -> list[Tensor]:
        """Features of images whose sides are multiples of `multiple`."""
        intermediates = _forward_intermediates(self.network)
        indices = list(range(self.num_stages))
        if self.final_follows_stages:
            final, stages = intermediates(images, indices=indices)
            return [*stages, final]
        stages = intermediates(images, indices=indices, stop_early=True, intermediates_only=True)
        return cast(list[Tensor], stages)

    def truncate(self, depth: int) -> None:
        """Drop all that comes after feature number `depth`, which becomes the last one."""
        if depth == len(self.channels) - 1:
            return
        self.num_stages = depth + 1
        self.final_follows_stages = False
        self.channels = self.channels[: depth + 1]
        self.strides = self.strides[: depth + 1]
        drop_unused(self.eval(), _empty_image(_PROBE_SIDE))
        self.train()

    def train(self, mode: bool = True) -> "TimmFeatures":
        """Change mode, but for BatchNorm."""
        super().train(mode)
        freeze_batch_norm(self)
        return self


def resize_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Images (B, 3, H, W) with sides rounded up to a multiple.

    Not padded: their maps would reach beyond the image, and beyond the other edge of its mirror image.
    """
    if multiple == 1:
        return images
    return resize(images, [_cells(side, multiple) * multiple for side in images.shape[2:]])


def build_timm_features(name: str, output_stride: int, weights: str) -> TimmFeatures:
    """Build the timm network `name`.

    Args:
        name: with or without the tag of its weights, such as `resnet18` or `resnet18.a1_in1k`.
        output_stride: pixels of the image per cell of the last feature.
        weights: `none`, `embedded`, `timm` or the path of a weights file.
    """
    check_name(name, example="resnet38")
    network = _create(name, output_stride)
    if network is None:
        works = [stride for stride in OUTPUT_STRIDES if _create(name, stride) is not None]
        can = f"{' or '.join(map(str, works))} would do" if works else "others would do, such as resnet18"
        raise ValueError(f"backbone {name} gives no feature map at output stride {output_stride}; {can}")
    config: dict[str, Any] = cast(Any, network.pretrained_cfg)
    features = TimmFeatures(network, Normalisation(tuple(config["mean"]), tuple(config["std"])))
    match weights:
        case "none":
            pass
        case "embedded":
            if name != EMBEDDED_BACKBONE:
                raise ValueError(f"weights: embedded fit backbone {EMBEDDED_BACKBONE} only, not {name}")
            features.normalisation = EMBEDDED_NORMALISATION
            load_strictly(features.network, read_embedded(), source="the embedded weights")
        case "timm":
            otherwise = f"weights: embedded with backbone {EMBEDDED_BACKBONE}, or the path of a weights file"
            load_strictly(features.network, download_weights(name, otherwise), source=f"timm's weights of {name}")
        case _:
            path = Path(weights)
            load_strictly(features, _with_our_names(read_weights(path)), source=weights)
    return features


def check_name(name: str, *, example: str) -> None:
    """Refuse a name that is none of timm's, with those that may be meant.

    Args:
        name: with or without the tag of its weights.
        example: one that would do.
    """
    known = timm.list_pretrained() if "." in name else timm.list_models()
    if name not in known:
        near = all_near(name, (*known, example))
        hint = f"did you mean {' or '.join(near)}?" if near else f"take {example} or a name of timm.list_models()"
        raise ValueError(f"no backbone is called {name}; {hint}")


def download_weights(name: str, otherwise: str) -> dict[str, Tensor]:
    """State of the timm network `name`, without its classifier.

    Args:
        name: with or without the tag of its weights.
        otherwise: what else the user may choose, for the message where there is no network.
    """
    if not timm.is_model_pretrained(name):
        raise ValueError(f"timm has no weights of {name}; choose another backbone, or weights: none or a file")
    _log.info("fetching timm's weights of %s; without a network it takes up to a minute to give up", name)
    # The hub warns of each of a dozen retries, twice: by a handler of its own, and by that of the root logger.
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        return dict(timm.create_model(name, pretrained=True, num_classes=0).state_dict())
    except Exception as error:  # hub clients fail in too many ways to list
        reason = str(error).strip().split("\n", maxsplit=1)[0].split(". ", maxsplit=1)[0]
        raise ValueError(
            f"timm's weights of {name} could not be downloaded ({type(error).__name__}: {reason}); without a network "
            f"use {otherwise}"
        ) from error
    finally:
        hub.setLevel(level)


def _create(name: str, output_stride: int) -> nn.Module | None:
    """The timm network without classifier and with random weights, None where it cannot have that output stride."""
    try:
        network = timm.create_model(name, num_classes=0, output_stride=output_stride)
    except TypeError:  # no choice of stride, but its own may be the one that is asked for
        network = timm.create_model(name, num_classes=0)
    except AssertionError:  # how timm says that it cannot
        return None
    return network if _has_stride(network.eval(), output_stride) else None


def _has_stride(network: nn.Module, output_stride: int) -> bool:
    if not hasattr(network, "forward_intermediates"):
        return False
    try:
        final, _ = _probe(network, _PROBE_SIDE)
    except _CANNOT:  # e.g. takes one image size only
        return False
    side = math.ceil(_PROBE_SIDE / output_stride)
    return tuple(final.shape[2:]) == (side, side)


def _rounds_up(network: nn.Module, strides: Sequence[int]) -> bool:
    """Whether features of images of odd sides are as large as these over the strides, rounded up."""
    try:
        final, stages = _probe(network, _ODD_SIDE)
    except _CANNOT:
        return False
    sides = [math.ceil(_ODD_SIDE / stride) for stride in (*strides[: len(stages)], strides[-1])]
    return [tuple(feature.shape[2:]) for feature in (*stages, final)] == [(side, side) for side in sides]


def _with_our_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a backbone from our own file of a whole network, or from a file with timm's names."""
    if any(name.startswith("backbone.") for name in state):
        return {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    return {f"network.{name}": tensor for name, tensor in state.items()}


def _forward_intermediates(network: nn.Module) -> Callable[..., Any]:
    return cast(Callable[..., Any], network.forward_intermediates)


@torch.no_grad()
def _probe(network: nn.Module, side: int) -> tuple[Tensor, list[Tensor]]:
    """What a timm network in eval mode gives for an empty image: its last map, and the outputs of its stages."""
    final, stages = _forward_intermediates(network)(_empty_image(side))
    return final, stages


def _empty_image(side: int) -> Tensor:
    return torch.zeros(1, 3, side, side)


def _cells(side: int, stride: int) -> int:
    """Cells of `stride` pixels that it takes to cover a side."""
    # ONNX has no division that rounds up, and rounds that of negative numbers towards zero.
    return (side + stride - 1) // stride


def _stride(feature: Tensor) -> int:
    return round(_PROBE_SIDE / feature.shape[-1])
