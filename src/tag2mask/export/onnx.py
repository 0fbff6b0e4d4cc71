"""A segmenter as an ONNX file, for programs without torch."""

import json
import logging
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tag2mask import __version__
from tag2mask.config import SegmenterSettings
from tag2mask.data.classes import BACKGROUND_NAME
from tag2mask.export.destination import check_destination
from tag2mask.files import replacing
from tag2mask.networks.deeplab import DeepLab
from tag2mask.networks.grids import resize
from tag2mask.segmenter import Segmenter

_logger = logging.getLogger(__name__)
# Any photos will do to trace the network with: odd sides, so that none is taken for a multiple of the stride, and two,
# as a batch of one would be taken for a constant.
_TRACED_SHAPE = (2, 3, 97, 131)


class PhotoToLabels(nn.Module):
    """A network that takes photos as they are and gives label maps: what the ONNX file computes.

    One pass at the photo's own size: without other scales, mirror image and CRF, so quicker and a little less exact
    than `Segmenter.predict`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: DeepLab) -> None:
        super().__init__()
        self.network = network
        normalisation = network.backbone.normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).view(1, 3, 1, 1))

    def forward(self, photo: Tensor) -> Tensor:
        """Class ids (B, H, W), uint8, of RGB photos (B, 3, H, W) in [0, 1]."""
        logits = self.network((photo - self.mean) / self.std)
        logits = resize(logits, photo.shape[2:])
        return logits.argmax(1).to(torch.uint8)


def export_onnx(segmenter: Segmenter, path: Path) -> None:
    """Write the segmenter as one ONNX file.

    Its input `photo` is float32 (B, 3, H, W), RGB in [0, 1]: one photo or more of any one size; normalised inside.
    Its output `label_map` is uint8 (B, H, W), class ids with 0 = background, of one pass (see `PhotoToLabels`).
    Metadata: `classes` (JSON list of names by id, background first), `input` (what the photo has to be, in words),
    `long_side` (pixels, see `SegmenterSettings`), `notes` (see `differences`), `version`.

    Args:
        segmenter: trained.
        path: to be written: `.onnx`.

    Raises:
        ValueError: the packages that it needs are not installed, or the file cannot be written.
    """
    missing = [package for package in ("onnx", "onnxscript") if find_spec(package) is None]
    if missing:
        raise ValueError(f'ONNX export needs {" and ".join(missing)}: pip install ".[onnx]"')
    check_destination(path, ".onnx")
    _logger.info("writing %s: takes about half a minute, longer for networks of many layers", path)
    program = torch.onnx.export(
        PhotoToLabels(_with_padding_of_onnx(segmenter.network)).eval(),
        (torch.zeros(_TRACED_SHAPE),),
        dynamo=True,
        verbose=False,
        input_names=["photo"],
        output_names=["label_map"],
        dynamic_shapes={"photo": {0: "batch", 2: "height", 3: "width"}},
    )
    assert program is not None
    program.model.metadata_props.update(
        classes=json.dumps([BACKGROUND_NAME, *segmenter.class_names], ensure_ascii=False),
        input="RGB, 0 to 1, not normalised: the network's own mean and deviation are applied inside",
        long_side=str(segmenter.settings.long_side),
        notes="\n".join(differences(segmenter.settings)),
        version=__version__,
    )
    with replacing(path) as temporary:
        program.save(temporary)


def differences(settings: SegmenterSettings) -> list[str]:
    """What makes the labels of the ONNX file differ from those of `Segmenter.predict`, one sentence each."""
    scales = ", ".join(f"{scale:g}" for scale in settings.scales)
    crf = "" if settings.crf == "none" else f", and then the CRF {settings.crf}"
    sentences = [f"Labels are those of one pass; predict joins scales ({scales}), each plain and mirrored{crf}."]
    if settings.long_side:
        sentences.append(
            f"Bring photos down to a long side of {settings.long_side} pixels first, as predict does: they are taken "
            "as they are."
        )
    return sentences


class _ConvolutionOfOnnx(nn.Module):
    """A convolution that pads as TensorFlow's do, which ONNX has as one operator; for the exporter alone.

    timm works the padding out from the sizes, and the exporter would carry those formulas through all that follows:
    minutes of work instead of seconds.
    """

    def __init__(self, convolution: Conv2dSame) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, C, H / stride, W / stride), sizes rounded up; their values stand in the ONNX file alone."""
        own = self.convolution
        # Not -(-side // stride): that is exported as a division of ONNX, which cuts towards zero.
        sides = [(side + stride - 1) // stride for side, stride in zip(images.shape[2:], own.stride, strict=True)]
        return torch.onnx.ops.symbolic(
            "Conv",
            (images, own.weight, own.bias),
            {"auto_pad": "SAME_UPPER", "strides": own.stride, "group": own.groups},
            dtype=images.dtype,
            shape=(images.shape[0], own.out_channels, *sides),
        )


def _with_padding_of_onnx(network: DeepLab) -> DeepLab:
    """A copy for the exporter, on the CPU."""
    network = deepcopy(network).cpu()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            # With dilation onnxruntime does not know this padding.
            if type(child) is Conv2dSame and child.dilation == (1, 1):
                setattr(parent, name, _ConvolutionOfOnnx(child))
    return network
