"""The 38-layer network of "Wider or Deeper" (Wu, Shen and van den Hengel, 1611.10080) as weakly supervised work has it.

Its modules keep the names of the public checkpoints (PSA, SEAM, OC-CSE, ACR), which therefore load as they are.
"""

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.data.transforms import Normalisation
from tag2mask.networks.backbones.batch_norm import freeze_batch_norm
from tag2mask.networks.backbones.pruning import drop_unused
from tag2mask.networks.backbones.weights import load_strictly, read_weights, rename_mxnet, rename_released

OUTPUT_STRIDE = 8

# Blocks whose activated input is a feature.
_TAPPED = ("b5", "b6")

# Channel dropout in the two bottlenecks; released code of ACR.
_DROPOUT = 0.2


class ResNet38(nn.Module):
    """The trunk without classifier: 4096 channels at output stride 8.

    Features: the activated inputs of the blocks b5 (512 channels) and b6 (1024), and the activated output (4096).

    Attributes:
        channels: of every feature, shallow to deep.
        strides: pixels of the image per cell of every feature.
        normalisation: mean and deviation of the input that the weights were trained with (ImageNet).
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels: tuple[int, ...] = (512, 1024, 4096)
        self.strides: tuple[int, ...] = (OUTPUT_STRIDE,) * 3
        self.multiple = 1
        self.normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.conv1a = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.block_names: list[str] = []
        for name, block in _blocks().items():
            self.block_names.append(name)
            self.add_module(name, block)
        self.bn7 = nn.BatchNorm2d(4096)
        self.train()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of `images`, shallow to deep.

        Args:
            images: (B, 3, H, W), normalised as `normalisation` says.

        Returns:
            Maps (B, `channels[i]`, H / 8, W / 8), sizes rounded up.
        """
        features: list[Tensor] = []
        x = self.conv1a(images)
        for name in self.block_names:
            block = cast(ResidualBlock | BottleneckBlock, self.get_submodule(name))
            active = F.relu(block.bn_branch2a(x))
            if name in _TAPPED:
                features.append(active)
                if len(features) == len(self.channels):
                    return features
            x = block(x, active)
        return [*features, F.relu(self.bn7(x))]

    def truncate(self, depth: int) -> None:
        """Drop all that comes after feature number `depth`, which becomes the last one."""
        if depth == len(self.channels) - 1:
            return
        self.channels = self.channels[: depth + 1]
        self.strides = self.strides[: depth + 1]
        drop_unused(self.eval(), torch.zeros(1, 3, 2 * OUTPUT_STRIDE, 2 * OUTPUT_STRIDE))
        self.train()

    def train(self, mode: bool = True) -> "ResNet38":
        """Change mode, but for BatchNorm."""
        super().train(mode)
        freeze_batch_norm(self)
        return self


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU."""

    def __init__(
        self, in_channels: int, channels: tuple[int, int], *, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(in_channels)
        self.conv_branch2a = _convolution(in_channels, channels[0], 3, stride=stride, dilation=dilations[0])
        self.bn_branch2b1 = nn.BatchNorm2d(channels[0])
        self.conv_branch2b1 = _convolution(channels[0], channels[1], 3, dilation=dilations[1])
        changes = in_channels != channels[1] or stride > 1
        self.conv_branch1 = _convolution(in_channels, channels[1], 1, stride=stride) if changes else None

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """Output (B, C', h', w') of the block, `active` being its input `x` (B, C, h, w) after BatchNorm and ReLU."""
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(active)
        y = self.conv_branch2a(active)
        output: Tensor = shortcut + self.conv_branch2b1(F.relu(self.bn_branch2b1(y)))
        return output


class BottleneckBlock(nn.Module):
    """1x1, dilated 3x3 and 1x1 convolutions, each after BatchNorm and ReLU, the last two after channel dropout."""

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(in_channels)
        self.conv_branch2a = _convolution(in_channels, out_channels // 4, 1)
        self.bn_branch2b1 = nn.BatchNorm2d(out_channels // 4)
        self.conv_branch2b1 = _convolution(out_channels // 4, out_channels // 2, 3, dilation=dilation)
        self.bn_branch2b2 = nn.BatchNorm2d(out_channels // 2)
        self.conv_branch2b2 = _convolution(out_channels // 2, out_channels, 1)
        self.conv_branch1 = _convolution(in_channels, out_channels, 1)
        self.dropout = nn.Dropout2d(_DROPOUT)

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """Output (B, C', h, w) of the block, `active` being its input `x` (B, C, h, w) after BatchNorm and ReLU."""
        y = self.conv_branch2a(active)
        y = self.conv_branch2b1(self.dropout(F.relu(self.bn_branch2b1(y))))
        y = self.conv_branch2b2(self.dropout(F.relu(self.bn_branch2b2(y))))
        output: Tensor = self.conv_branch1(active) + y
        return output


def _blocks() -> dict[str, nn.Module]:
    blocks: dict[str, nn.Module] = {}
    in_channels = 64
    for stage, num_blocks, channels in (("b2", 3, 128), ("b3", 3, 256), ("b4", 6, 512)):
        blocks[stage] = ResidualBlock(in_channels, (channels, channels), stride=2)
        for i in range(1, num_blocks):
            blocks[f"{stage}_{i}"] = ResidualBlock(channels, (channels, channels))
        in_channels = channels
    # From here on dilation instead of stride.
    blocks["b5"] = ResidualBlock(512, (512, 1024), dilations=(1, 2))
    for name in ("b5_1", "b5_2"):
        blocks[name] = ResidualBlock(1024, (512, 1024), dilations=(2, 2))
    blocks["b6"] = BottleneckBlock(1024, 2048, dilation=4)
    blocks["b7"] = BottleneckBlock(2048, 4096, dilation=4)
    return blocks


def _convolution(in_channels: int, out_channels: int, side: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (side // 2)
    return nn.Conv2d(in_channels, out_channels, side, stride, padding, dilation, bias=False)


def build_resnet38(output_stride: int, weights: str) -> ResNet38:
    """Build the trunk.

    Args:
        output_stride: what is asked for; it has 8 and no other.
        weights: `none` or the path of a weights file.
    """
    if output_stride != OUTPUT_STRIDE:
        raise ValueError(f"backbone resnet38 has output stride {OUTPUT_STRIDE}, not {output_stride}")
    if weights in ("embedded", "timm"):
        raise ValueError(f"weights: {weights} has none of backbone resnet38; give the path of a weights file, or none")
    backbone = ResNet38()
    if weights != "none":
        state = rename_released(rename_mxnet(read_weights(Path(weights))))
        trunk = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
        load_strictly(backbone, trunk, source=weights)
    return backbone
