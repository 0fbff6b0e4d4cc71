"""Weights files of this and other projects: read, brought to our names, and loaded strictly.

What a network needs and a file lacks is an error; what a file has beyond that is skipped and told in the log.
"""

import logging
import re
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tag2mask.files import replacing
from tag2mask.networks.backbones.mxnet_params import LIST_MAGIC, read_mxnet_params

_log = logging.getLogger(__name__)

# Names under which checkpoints hold the state dict; the second one is that of DeiT's. Where both are there the first
# counts.
_WRAPPERS = ("state_dict", "model")

_KINDS = "safetensors, PyTorch or MXNet file"

_MXNET_TRUNK = re.compile(
    r"(?P<kind>res|bn)(?P<stage>\d)(?:a|b(?P<block>\d))_(?P<branch>branch\w+)_(?P<value>weight|gamma|beta|mean|var)"
)
_MXNET_VALUES = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}

_RELEASED_LAYERS = {
    "fc8": "head.0",
    "fc9": "head.2",
    "dr1": "reductions.0",
    "dr2": "reductions.1",
    "fc_recon": "reductions.2",
    "genUnet": "decoder",
}
_RELEASED_LEVEL = re.compile(r"genUnet\.(down|up)(\d+)\.model\.(.+)")
_RELEASED_TRUNK = re.compile(r"conv1a|b\d(_\d)?|bn7")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, a PyTorch state dict (also one within a checkpoint) or an MXNet `.params` file.

    Raises:
        ValueError: there is no file, or one of another kind, damaged or with more than tensors.
    """
    if not path.is_file():
        raise ValueError(f"weights {path}: no such file, expected a path, embedded, timm or none")
    with path.open("rb") as file:
        beginning = file.read(8)
    if beginning == LIST_MAGIC.to_bytes(8, "little"):
        return read_mxnet_params(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise ValueError(f"weights {path}: is no whole {_KINDS}: {reason}") from error
    except (OSError, MemoryError):
        raise
    # Any text is a program to the reader of PyTorch's older files, and may end it in any way. Where it sees more than
    # tensors, torch would advise to read them all the same, which lets a file run what it likes.
    except Exception as error:
        raise ValueError(f"weights {path}: is no {_KINDS}, or holds more than tensors") from error
    return _state_of(content, path)


def write_weights(path: Path, network: nn.Module) -> None:
    """Write all that a network has as safetensors, which `read_weights` reads.

    Raises:
        OSError: the system refuses the file.
    """
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    # Not by the library's own writer, whose error on a full disk is none of the system's.
    content = save(weights)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def rename_mxnet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring names of MXNet's `resnet_38d.params` to those of ResNet38; others stay as they are."""
    return {_rename_mxnet(name): tensor for name, tensor in state.items()}


def rename_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring the names of PSA, SEAM, OC-CSE and ACR to those of our Classifier and Reconstructor.

    Args:
        state: a network's, or those of both networks of ACR, of which the classifier's are brought, under `net_main.`.
    """
    wanted = {name.removeprefix("net_main."): tensor for name, tensor in state.items()}
    # A head of one layer is a convolution, one of two a sequence.
    layers = _RELEASED_LAYERS if "fc9.weight" in wanted else _RELEASED_LAYERS | {"fc8": "head"}
    return {_rename_released(name, layers): tensor for name, tensor in wanted.items()}


def load_strictly(network: nn.Module, state: dict[str, Tensor], *, source: str) -> None:
    """Load all that `network` has from `state`; what was skipped is told.

    Args:
        network: changed in place.
        state: names as in `network.state_dict()`, and any others.
        source: where `state` is from, for messages.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"{source}: lacks {len(missing)} of the {len(own)} entries that are needed: {_some(missing)}")
    for name, tensor in state.items():
        if name in own and tensor.shape != own[name].shape:
            raise ValueError(f"{source}: {name} is {tuple(tensor.shape)}, but {tuple(own[name].shape)} is needed")
    network.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)
    skipped = [name for name in state if name not in own]
    if skipped:
        _tell_once(f"{source}: skipped {len(skipped)} entries that have no place here: {_some(skipped)}")


@cache
def _tell_once(message: str) -> None:
    # A run builds the same network for several stages.
    _log.info(message)


def _state_of(content: object, path: Path) -> dict[str, Tensor]:
    while isinstance(content, dict) and (wrapped := [name for name in _WRAPPERS if name in content]):
        content = content[wrapped[0]]
    state: dict[str, Tensor] = {}
    if isinstance(content, dict):
        # Networks that were wrapped for several devices were saved with that prefix.
        state = {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        raise ValueError(f"weights {path}: holds no named tensors, but a state dict is needed")
    return state


def _rename_mxnet(name: str) -> str:
    bare = name.removeprefix("arg:").removeprefix("aux:").replace("_moving_", "_")
    if bare == "conv1a_weight":
        return "conv1a.weight"
    if match := re.fullmatch(r"bn7_(gamma|beta|mean|var)", bare):
        return f"bn7.{_MXNET_VALUES[match[1]]}"
    if match := _MXNET_TRUNK.fullmatch(bare):
        block = f"b{match['stage']}" + (f"_{match['block']}" if match["block"] else "")
        kind = "conv" if match["kind"] == "res" else "bn"
        return f"{block}.{kind}_{match['branch']}.{_MXNET_VALUES.get(match['value'], match['value'])}"
    return name


def _rename_released(name: str, layers: dict[str, str]) -> str:
    if match := _RELEASED_LEVEL.fullmatch(name):
        return f"decoder.{match[1]}.{int(match[2]) - 1}.{match[3]}"
    layer, _, rest = name.partition(".")
    if layer in layers:
        return f"{layers[layer]}.{rest}"
    if _RELEASED_TRUNK.fullmatch(layer):
        return f"backbone.{name}"
    return name


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
