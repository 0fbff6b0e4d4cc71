"""MCTformer-V2: a vision transformer with a token for each class, whose attention says where the classes are.

Xu, Ouyang, Bennamoun, Boussaid and Xu, "Multi-class Token Transformer for Weakly Supervised Semantic Segmentation",
CVPR 2022, arXiv:2203.02891. Here on timm's own transformers: attention is computed anew, from the queries and keys that
pass by, and only where it is needed. C stands for classes, N for the patches of an image, h x w.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tag2mask.config import MctformerSettings
from tag2mask.networks.backbones.timm_vit import ClassTokenTransformer, build_class_token_transformer
from tag2mask.networks.classifier import ClassifierOutput, PhotoClassifier

# Entries of attention between patches that are held at once, of all images and heads: 16 MiB.
_ENTRIES_AT_ONCE = 2**22


class Mctformer(PhotoClassifier):
    """A transformer that classifies twice, by its class tokens and by the maps of its patches, and fuses both.

    Attributes:
        backbone: its `normalisation` is that of the input.
        head: from tokens of patches to maps.
    """

    def __init__(self, backbone: ClassTokenTransformer, *, fused_blocks: int, spreads_seeds: bool) -> None:
        super().__init__()
        self.backbone: ClassTokenTransformer = backbone
        self.head = nn.Conv2d(backbone.channels, backbone.num_classes, 3, padding=1)
        self._fused_blocks = range(-fused_blocks, 0)
        self._spreads_seeds = spreads_seeds

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Classify images and say where the classes are.

        Args:
            images: (B, 3, H, W), normalised as the backbone wants it; the maps cover all of them.

        Returns:
            Fused maps, not negative, and the logits of class tokens and of patches.
        """
        attention: list[Tensor] = []

        def look(queries: Tensor, keys: Tensor) -> None:
            attention.append(class_attention(queries, keys, self.backbone.num_classes))

        with self.backbone.watched(self._fused_blocks, look):
            tokens = self.backbone(images)
        patch_cams = self.head(tokens.patches)
        cams = fuse_attention_with_cams(torch.stack(attention).sum(0), patch_cams)
        return ClassifierOutput(cams, (tokens.classes.mean(2), patch_cams.mean((2, 3))))

    @torch.no_grad()
    def seed_maps(self, images: Tensor) -> ClassifierOutput:
        """What becomes the seeds: the fused maps, spread along the attention between patches if so built."""
        if not self._spreads_seeds:
            output: ClassifierOutput = self(images)
            return output
        with self._affinity_of(images) as affinity:
            output = self(images)
        return output._replace(cams=spread(output.cams, affinity))

    @torch.no_grad()
    def patch_affinity(self, images: Tensor) -> Tensor:
        """How much patches attend to each other: the mean over heads, summed over all blocks.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            (B, N, N), not negative; a row sums to less than the number of blocks, for class tokens are attended too.
        """
        with self._affinity_of(images) as affinity:
            self.backbone(images)
        return affinity

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from no pretrained weights: those of the head, and what the backbone names."""
        return [*self.head.parameters(), *self.backbone.new_parameters()]

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Parameters without weight decay: biases, norms, class tokens and positions."""
        tokens = {"backbone.network.cls_token", "backbone.network.pos_embed"}
        return [parameter for name, parameter in self.named_parameters() if parameter.ndim < 2 or name in tokens]

    @contextmanager
    def _affinity_of(self, images: Tensor) -> Iterator[Tensor]:
        """A matrix to which the forward passes of `images` within this context add their affinity."""
        num_patches = math.prod(self.backbone.grid(images))
        affinity = images.new_zeros((len(images), num_patches, num_patches), dtype=torch.float32)

        def look(queries: Tensor, keys: Tensor) -> None:
            add_patch_attention(affinity, queries, keys)

        with self.backbone.watched(range(self.backbone.num_blocks), look):
            yield affinity


def build_mctformer(settings: MctformerSettings, num_classes: int) -> Mctformer:
    """Build the transformer of `settings`, its backbone with pretrained weights."""
    backbone = build_class_token_transformer(
        settings.backbone, num_classes, weights=settings.weights, drop_path=settings.drop_path
    )
    if settings.fused_blocks > backbone.num_blocks:
        raise ValueError(
            f"mctformer.fused_blocks is {settings.fused_blocks}, but backbone {settings.backbone} has "
            f"{backbone.num_blocks} blocks"
        )
    return Mctformer(backbone, fused_blocks=settings.fused_blocks, spreads_seeds=settings.patch_affinity)


def class_attention(queries: Tensor, keys: Tensor, num_classes: int) -> Tensor:
    """How much the class tokens attend to the patches, mean over heads.

    Args:
        queries: of one block (B, heads, C + N, d), class tokens first.
        keys: same shape.
        num_classes: C.

    Returns:
        (B, C, N) in [0, 1].
    """
    return _attention(queries[:, :, :num_classes], keys)[..., num_classes:].mean(1)


@torch.no_grad()
def add_patch_attention(total: Tensor, queries: Tensor, keys: Tensor) -> None:
    """Add how much the patches attend to each other, mean over heads, a few rows at a time.

    Args:
        total: (B, N, N), changed in place.
        queries: of one block (B, heads, C + N, d), class tokens first.
        keys: same shape.
    """
    num_patches = total.shape[1]
    of_patches = queries[:, :, -num_patches:]
    num_rows = max(1, _ENTRIES_AT_ONCE // math.prod(keys.shape[:3]))
    for start in range(0, num_patches, num_rows):
        rows = slice(start, start + num_rows)
        total[:, rows] += _attention(of_patches[:, :, rows], keys)[..., -num_patches:].mean(1)


def fuse_attention_with_cams(attention: Tensor, patch_cams: Tensor) -> Tensor:
    """Maps of both kinds multiplied: what class tokens attend to, where patches say the class is.

    Args:
        attention: of class tokens to patches (B, C, N), summed over blocks.
        patch_cams: raw maps (B, C, h, w).

    Returns:
        (B, C, h, w), not negative.
    """
    return attention.reshape(patch_cams.shape) * patch_cams.relu()


def spread(maps: Tensor, affinity: Tensor) -> Tensor:
    """Every patch takes the values of all patches, weighed by how much it attends to them.

    Args:
        maps: (B, C, h, w).
        affinity: of `Mctformer.patch_affinity` for the same h x w patches (B, N, N).

    Returns:
        (B, C, h, w), float32.
    """
    with torch.autocast(maps.device.type, enabled=False):
        taken = torch.einsum("bij,bcj->bci", affinity.float(), maps.float().flatten(2))
    return taken.reshape(maps.shape)


def _attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention (B, heads, rows, C + N) of some queries to all keys, in float32 whatever the network's arithmetic."""
    with torch.autocast(queries.device.type, enabled=False):
        scores: Tensor = (queries.float() * keys.shape[-1] ** -0.5) @ keys.float().mT
        return scores.softmax(-1)
