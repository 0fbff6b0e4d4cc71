"""A segmenter as an ONNX file, for programs without torch."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask import __version__
from tag2mask.data.classes import BACKGROUND_NAME
from tag2mask.files import replacing
from tag2mask.networks.deeplab import DeepLab
from tag2mask.prediction import Segmenter

_logger = logging.getLogger(__name__)
# Any photo will do to trace the network with; odd sides, so that none is taken for a multiple of the stride.
_TRACED_SIZE = (97, 131)


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
        self.register_buffer("mean", torch.tensor(network.backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(network.backbone.std).view(1, 3, 1, 1))

    def forward(self, photo: Tensor) -> Tensor:
        """Class ids (1, H, W), uint8, of an RGB photo (1, 3, H, W) in [0, 1]."""
        logits = self.network((photo - self.mean) / self.std)
        logits = F.interpolate(logits, size=photo.shape[2:], mode="bilinear", align_corners=False)
        return logits.argmax(1).to(torch.uint8)


def export_onnx(segmenter: Segmenter, path: Path) -> None:
    """Write the segmenter as one ONNX file.

    Its input `photo` is float32 (1, 3, H, W), RGB in [0, 1], of any height and width; normalisation is inside. Its
    output `label_map` is uint8 (1, H, W), class ids with 0 = background, of one pass (see `PhotoToLabels`). Metadata:
    `classes` (JSON list of names by id, background first), `input` (what the photo has to be, in words), `version`.

    Raises:
        ValueError: the packages that it needs are not installed.
    """
    missing = [package for package in ("onnx", "onnxscript") if find_spec(package) is None]
    if missing:
        raise ValueError(f'ONNX export needs {" and ".join(missing)}: pip install ".[onnx]"')
    _logger.info("writing %s: takes minutes for a large network", path)
    program = torch.onnx.export(
        PhotoToLabels(segmenter.network).eval(),
        (torch.zeros(1, 3, *_TRACED_SIZE),),
        dynamo=True,
        verbose=False,
        input_names=["photo"],
        output_names=["label_map"],
        dynamic_shapes={"photo": {2: "height", 3: "width"}},
    )
    assert program is not None
    program.model.metadata_props.update(
        classes=json.dumps([BACKGROUND_NAME, *segmenter.class_names], ensure_ascii=False),
        input="RGB, 0 to 1, not normalised: the network's own mean and deviation are applied inside",
        version=__version__,
    )
    with replacing(path) as temporary:
        program.save(temporary)
