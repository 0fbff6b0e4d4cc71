from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import tag2mask.networks.mctformer
from tag2mask.config import MctformerSettings
from tag2mask.networks.mctformer import (
    Mctformer,
    add_patch_attention,
    build_mctformer,
    class_attention,
    fuse_attention_with_cams,
    spread,
)

# Six blocks of two heads, tokens of 64 channels, patches of 16 pixels, a grid of 10 x 10 for its positions.
SETTINGS = MctformerSettings(backbone="test_vit", weights="none", drop_path=0.0)
NUM_BLOCKS = 6
NUM_CLASSES = 3

Golden = Mapping[str, Tensor]


def built(settings: MctformerSettings = SETTINGS, num_classes: int = NUM_CLASSES) -> Mctformer:
    """A transformer whose positions and class tokens, near 0 in timm's drawing, do matter."""
    torch.manual_seed(0)
    network = build_mctformer(settings, num_classes).eval()
    for parameter in network.undecayed_parameters():
        nn.init.normal_(parameter, std=0.5)
    return network


def images(height: int = 48, width: int = 80, num: int = 2) -> Tensor:
    return torch.randn(num, 3, height, width, generator=torch.Generator().manual_seed(1))


def blocks(network: Mctformer) -> list[nn.Module]:
    return list(network.backbone.network.blocks)


def matrices_of_timm(network: Mctformer, inputs: Tensor) -> list[Tensor]:
    """Attention of every block (B, heads, C + N, C + N) as timm computes it when it does not fuse it."""
    matrices: list[Tensor] = []
    handles = []
    for block in blocks(network):
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(lambda _m, _i, output: matrices.append(output)))
    with torch.no_grad():
        network.backbone(inputs)
    for block, handle in zip(blocks(network), handles, strict=True):
        block.attn.fused_attn = True
        handle.remove()
    return matrices


@pytest.fixture(params=["sq", "rect"])
def released(golden: Path, request: pytest.FixtureRequest) -> dict[str, Tensor]:
    """Attention and maps of MCTformer's code for 20 classes, on a square grid and on another one."""
    with np.load(golden / "mct.npz") as values:
        names = [name for name in values if name.startswith(f"{request.param}/")]
        return {name.partition("/")[2]: torch.from_numpy(values[name]) for name in names}


def queries_and_keys(attention: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (B, heads, T, T) whose attention is the given one."""
    num_tokens = attention.shape[-1]
    return attention.log() * num_tokens**0.5, torch.eye(num_tokens).expand_as(attention)


def golden_class_attention(released: Golden) -> Tensor:
    """Per block, of class tokens to patches (12, B, C, N)."""
    return torch.stack([class_attention(*queries_and_keys(block), 20) for block in released["attention"]])


def golden_affinity(released: Golden) -> Tensor:
    num_patches = released["x_patch"].shape[1]
    affinity = torch.zeros(1, num_patches, num_patches)
    for block in released["attention"]:
        add_patch_attention(affinity, *queries_and_keys(block))
    return affinity


def test_attention_of_class_tokens_is_that_of_the_released_code(released: Golden):
    attention = golden_class_attention(released)[-3:].sum(0)

    torch.testing.assert_close(attention.flatten(), released["cams_attention_only"].flatten(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("num_blocks", "name"), [(3, "cams_fused"), (12, "fused_12_layers")])
def test_fused_maps_are_those_of_the_released_code(released: Golden, num_blocks: int, name: str):
    attention = golden_class_attention(released)[-num_blocks:].sum(0)

    fused = fuse_attention_with_cams(attention, released["patch_cam"])

    torch.testing.assert_close(fused, released[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        fuse_attention_with_cams(torch.ones_like(attention), released["patch_cam"]), released["cams_patchcam"]
    )


@pytest.mark.parametrize("entries_at_once", [1, 3 * 55 * 10, 2**22])
def test_affinity_and_refined_maps_are_those_of_the_released_code(
    released: Golden, entries_at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tag2mask.networks.mctformer, "_ENTRIES_AT_ONCE", entries_at_once)

    affinity = golden_affinity(released)

    torch.testing.assert_close(affinity[0], released["patch_affinity_sum"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(spread(released["cams_fused"], affinity), released["refined"], rtol=1e-5, atol=1e-5)


def test_head_and_logits_are_those_of_the_released_code(released: Golden):
    rows, columns = (int(side) for side in released["grid"])
    network = built(num_classes=20)
    # The golden values begin with the tokens that leave the transformer.
    network.backbone.network.norm = Fixed(torch.cat([released["x_cls"], released["x_patch"]], dim=1))
    network.head = nn.Conv2d(16, 20, 3, padding=1)
    network.head.load_state_dict({"weight": released["head_weight"], "bias": released["head_bias"]})

    class_tokens, patches = network(images(16 * rows, 16 * columns, num=1)).all_logits

    torch.testing.assert_close(class_tokens, released["class_token_logits"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(patches, released["patch_logits"], rtol=1e-5, atol=1e-6)


class Fixed(nn.Module):
    """Gives what it was made with."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, _tokens: Tensor) -> Tensor:
        return self.output


@torch.no_grad()
def test_fused_maps_are_attention_of_the_last_blocks_times_the_positive_maps_of_patches():
    network = built()
    matrices = matrices_of_timm(network, images())
    attention = sum(matrix[:, :, :NUM_CLASSES, NUM_CLASSES:].mean(1) for matrix in matrices[-3:])

    output = network(images())

    patch_cams = F.conv2d(network.backbone(images()).patches, network.head.weight, network.head.bias, padding=1)
    torch.testing.assert_close(output.cams, attention.view(2, NUM_CLASSES, 3, 5) * patch_cams.clamp(min=0))
    torch.testing.assert_close(output.all_logits[1], patch_cams.mean((2, 3)))


@torch.no_grad()
def test_affinity_sums_the_attention_between_patches_over_all_blocks():
    network = built()

    affinity = network.patch_affinity(images())

    expected = sum(matrix[:, :, NUM_CLASSES:, NUM_CLASSES:].mean(1) for matrix in matrices_of_timm(network, images()))
    torch.testing.assert_close(affinity, expected)
    assert affinity.min() >= 0
    assert 0 < affinity.sum(2).max() < NUM_BLOCKS


@torch.no_grad()
def test_seeds_are_spread_along_the_affinity_where_the_settings_ask_for_it():
    plain = built(replace(SETTINGS, patch_affinity=False))
    spreading = built()

    output = spreading.seed_maps(images())

    expected = spread(plain(images()).cams, plain.patch_affinity(images()))
    torch.testing.assert_close(output.cams, expected)
    assert torch.equal(plain.seed_maps(images()).cams, plain(images()).cams)
    torch.testing.assert_close(output.logits, plain(images()).logits)


def test_spreading_weighs_by_how_much_a_patch_attends_to_each():
    maps = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])
    affinity = torch.tensor([[[1.0, 0.5], [0.25, 2.0]]])

    assert spread(maps, affinity).tolist() == [[[[1 + 1.5, 0.25 + 6]], [[1.0, 4.0]]]]


@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [(48, 80, (3, 5)), (160, 160, (10, 10)), (100, 140, (6, 9)), (41, 39, (3, 2)), (5, 300, (1, 19))],
)
def test_maps_have_a_cell_for_every_patch_of_any_size(height: int, width: int, grid: tuple[int, int]):
    network = built()

    output = network.seed_maps(images(height, width))

    assert output.cams.shape == (2, NUM_CLASSES, *grid)
    assert torch.isfinite(output.cams).all()


def test_gradient_of_fused_maps_reaches_queries_and_keys_of_every_block():
    network = built()
    # The maps of patches, which come from every block too, shall not carry the gradient.
    nn.init.zeros_(network.head.weight)
    nn.init.ones_(network.head.bias)
    network.head.requires_grad_(False)

    network(images()).cams.square().sum().backward()

    for block in blocks(network):
        queries, keys, _values = block.attn.qkv.weight.grad.chunk(3)
        assert queries.abs().max() > 0
        assert keys.abs().max() > 0


def test_every_parameter_learns_from_the_logits_and_the_maps_in_training():
    network = built(replace(SETTINGS, drop_path=0.1)).train()

    output = network(images())
    (output.logits.square().sum() + output.cams.square().sum()).backward()

    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_attention_is_of_full_precision_where_the_network_is_not():
    queries, keys = torch.randn(2, 1, 2, 18, 32, generator=torch.Generator().manual_seed(0)).unbind(0)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention = class_attention(queries, keys, NUM_CLASSES)
        affinity = torch.zeros(1, 15, 15)
        add_patch_attention(affinity, queries, keys)
        spread_maps = spread(torch.eye(15).view(1, 15, 3, 5), affinity)
        output = built()(images())

    matrix = torch.softmax(queries @ keys.mT / 32**0.5, dim=-1).mean(1)
    torch.testing.assert_close(attention, matrix[:, :NUM_CLASSES, NUM_CLASSES:])
    torch.testing.assert_close(affinity, matrix[:, NUM_CLASSES:, NUM_CLASSES:])
    torch.testing.assert_close(spread_maps.flatten(2), affinity.mT)
    assert output.cams.dtype == torch.float32


def test_new_parameters_are_the_head_and_those_without_decay_the_biases_norms_tokens_and_positions():
    network = built()
    names = {id(parameter): name for name, parameter in network.named_parameters()}

    assert [names[id(p)] for p in network.new_parameters()] == ["head.weight", "head.bias"]
    undecayed = {names[id(p)] for p in network.undecayed_parameters()}
    decayed = set(names.values()) - undecayed
    assert {"backbone.network.cls_token", "backbone.network.pos_embed", "backbone.network.norm.weight"} < undecayed
    assert all(name.endswith(".weight") and ".norm" not in name for name in decayed)
    assert len(decayed) == 1 + 4 * NUM_BLOCKS + 1


@torch.no_grad()
def test_own_weights_are_read_again_all_but_the_head(tmp_path: Path):
    trained = built()
    save_file(trained.state_dict(), tmp_path / "mctformer.safetensors")

    again = build_mctformer(replace(SETTINGS, weights=str(tmp_path / "mctformer.safetensors")), NUM_CLASSES).eval()

    for name, tensor in again.backbone.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[f"backbone.{name}"])
    again.load_state_dict(load_file(tmp_path / "mctformer.safetensors"))
    assert torch.equal(again.seed_maps(images()).cams, trained.seed_maps(images()).cams)


def test_more_fused_blocks_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"mctformer\.fused_blocks is 7, but backbone test_vit has 6 blocks"):
        build_mctformer(replace(SETTINGS, fused_blocks=7), NUM_CLASSES)
