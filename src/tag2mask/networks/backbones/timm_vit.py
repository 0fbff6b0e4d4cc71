"""Any plain vision transformer of timm with a class token for every class, whose attention can be watched."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
from timm.layers.attention import Attention
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.data.transforms import Normalisation
from tag2mask.networks.backbones.hybrid_vit import HYBRID_BACKBONE, build_hybrid_transformer
from tag2mask.networks.backbones.timm_features import check_name, download_weights
from tag2mask.networks.backbones.weights import load_strictly, read_weights

_EXAMPLE = "deit_small_patch16_224"

Look = Callable[[Tensor, Tensor], None]


class Tokens(NamedTuple):
    """What the transformer makes of a batch of images, after its last norm."""

    classes: Tensor
    """A token for every class (B, C, D)."""
    patches: Tensor
    """A token for every patch (B, D, h, w)."""


class ClassTokenTransformer(nn.Module):
    """A timm vision transformer whose one class token is repeated, with its position, for every class.

    Attributes:
        network: timm's own.
        num_classes: C.
        channels: D, of every token.
        normalisation: mean and deviation of the input that the weights were trained with.

    Args:
        network: timm's own; changed.
        num_classes: C.
        new_tokens: whether its class token and last norm come from no pretrained weights.
    """

    def __init__(self, network: nn.Module, num_classes: int, *, new_tokens: bool = False) -> None:
        super().__init__()
        parts: Any = network
        self.network = network
        self.num_classes = num_classes
        self._new_tokens = new_tokens
        self.channels: int = parts.embed_dim
        self.normalisation = Normalisation(*(tuple(parts.pretrained_cfg[name]) for name in ("mean", "std")))
        parts.cls_token = nn.Parameter(parts.cls_token.detach().repeat(1, num_classes, 1))
        if not parts.no_embed_class:
            of_class, of_patches = parts.pos_embed.detach().tensor_split([1], dim=1)
            parts.pos_embed = nn.Parameter(torch.cat([of_class.repeat(1, num_classes, 1), of_patches], dim=1))
        parts.num_prefix_tokens = num_classes

    def forward(self, images: Tensor) -> Tokens:
        """Tokens of `images`; the positions of patches are interpolated for any size.

        Sides that are no multiple of the patch's are resized to the nearest one: padding instead would make maps
        that reach beyond the image, and beyond the other edge of its mirror image.

        Args:
            images: (B, 3, H, W), normalised as `normalisation` says.
        """
        height, width = self.grid(images)
        patch_height, patch_width = self._patch_size
        size = (height * patch_height, width * patch_width)
        if images.shape[2:] != size:
            images = F.interpolate(images, size=size, mode="bicubic", align_corners=False)
        tokens: Tensor = cast(Any, self.network).forward_features(images)
        classes, patches = tokens.tensor_split([self.num_classes], dim=1)
        return Tokens(classes, patches.mT.reshape(len(images), -1, height, width))

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of images (B, 3, H, W)."""
        (height, width), (patch_height, patch_width) = images.shape[2:], self._patch_size
        return max(1, round(height / patch_height)), max(1, round(width / patch_width))

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights, where others do: class tokens and the last norm."""
        parts: Any = self.network
        return [parts.cls_token, *parts.norm.parameters()] if self._new_tokens else []

    @property
    def num_blocks(self) -> int:
        """How many blocks, and so attentions, there are."""
        return len(self._attentions)

    @contextmanager
    def watched(self, blocks: Sequence[int], look: Look) -> Iterator[None]:
        """Within this context, `look` is shown the queries and keys of some blocks whenever they attend.

        They are (B, heads, C + N, D / heads) each, class tokens first, from shallow to deep, and carry gradients. The
        attention itself goes on as timm computes it, which never holds its matrix.

        Args:
            blocks: places of the blocks, 0 the first, negative ones from the end.
            look: called with queries and keys.
        """
        attentions = self._attentions
        handles = [handle for block in blocks for handle in _watch(attentions[block], look)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def _attentions(self) -> list[Attention]:
        return [block.attn for block in cast(Any, self.network).blocks]

    @property
    def _patch_size(self) -> tuple[int, int]:
        height, width = cast(Any, self.network).patch_embed.patch_size
        return height, width


def build_class_token_transformer(
    name: str, num_classes: int, *, weights: str, drop_path: float
) -> ClassTokenTransformer:
    """Build the vision transformer `name` with a token for every class.

    Args:
        name: `hybrid_lite0`, or timm's with or without the tag of its weights, such as `deit_tiny_patch16_224`.
        num_classes: C.
        weights: `none`, `timm`, `embedded` (of `hybrid_lite0`) or the path of a file, with timm's names or of a network
            with as many class tokens that this package trained.
        drop_path: share of images for which the last block is left out in training, less for earlier ones.
    """
    if name == HYBRID_BACKBONE:
        return _hybrid(num_classes, weights, drop_path)
    check_name(name, example=_EXAMPLE)
    network = _create(name, drop_path)
    match weights:
        case "none":
            pass
        case "embedded":
            raise ValueError(f"weights: embedded fit backbone {HYBRID_BACKBONE} only, not {name}")
        case "timm":
            state = download_weights(name, "weights: none, or the path of a weights file")
            load_strictly(network, state, source=f"timm's weights of {name}")
        case _:
            state = read_weights(Path(weights))
            ours = _of_backbone(state)
            if ours:
                transformer = ClassTokenTransformer(network, num_classes)
                load_strictly(transformer, ours, source=weights)
                return transformer
            load_strictly(network, _with_positions_for(network, state), source=weights)
    return ClassTokenTransformer(network, num_classes)


def _hybrid(num_classes: int, weights: str, drop_path: float) -> ClassTokenTransformer:
    if weights in ("none", "embedded"):
        return ClassTokenTransformer(build_hybrid_transformer(weights, drop_path), num_classes, new_tokens=True)
    if weights == "timm":
        raise ValueError(f"timm has no weights of {HYBRID_BACKBONE}; take weights: embedded, or a file")
    transformer = ClassTokenTransformer(build_hybrid_transformer("embedded", drop_path), num_classes, new_tokens=True)
    load_strictly(transformer, _of_backbone(read_weights(Path(weights))), source=weights)
    return transformer


def _of_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a file of ours of a whole network has of its backbone; nothing where it is another's."""
    return {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}


def _create(name: str, drop_path: float) -> nn.Module:
    try:
        network = timm.create_model(name, num_classes=0, dynamic_img_size=True, drop_path_rate=drop_path)
    except TypeError:  # takes one image size only
        network = None
    if network is None or not _is_plain(network):
        raise ValueError(f"backbone {name} is no plain vision transformer with one class token, such as {_EXAMPLE} is")
    return network


def _is_plain(network: Any) -> bool:
    return (
        isinstance(network, VisionTransformer)
        and network.has_class_token
        and network.num_prefix_tokens == 1
        and network.pos_embed is not None
        and not isinstance(network.norm, nn.Identity)
        and type(network.patch_embed) is PatchEmbed
        and all(type(getattr(block, "attn", None)) is Attention for block in network.blocks)
    )


def _with_positions_for(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with its positions resized to the grid of `network`, where they are those of another square grid."""
    parts: Any = network
    positions = state.get("pos_embed")
    if positions is None or positions.shape == parts.pos_embed.shape:
        return state
    prefix = 0 if parts.no_embed_class else 1
    side = math.isqrt(positions.shape[1] - prefix)
    if side * side != positions.shape[1] - prefix:
        return state
    grid = list(parts.patch_embed.grid_size)
    resized = resample_abs_pos_embed(positions, grid, old_size=[side, side], num_prefix_tokens=prefix)
    return state | {"pos_embed": resized}


def _watch(attention: Attention, look: Look) -> list[torch.utils.hooks.RemovableHandle]:
    # Queries and keys pass these two modules, of which the second is called after the first.
    queries: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        queries.append(output)

    def show(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        look(queries.pop(), output)

    return [attention.q_norm.register_forward_hook(keep), attention.k_norm.register_forward_hook(show)]
