from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tag2mask.networks.backbones.timm_vit import ClassTokenTransformer, build_class_token_transformer

# Six blocks of two heads, tokens of 64 channels, patches of 16 pixels, a grid of 10 x 10 for its positions.
SMALL = "test_vit"
NUM_BLOCKS = 6


def built(name: str = SMALL, *, num_classes: int = 3, weights: str | Path = "none") -> ClassTokenTransformer:
    torch.manual_seed(0)
    return build_class_token_transformer(name, num_classes, weights=str(weights), drop_path=0.0).eval()


def images(height: int = 48, width: int = 80) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def saved(path: Path, name: str = SMALL, **arguments: int) -> nn.Module:
    """A network of timm with a head for 5 classes, whose class token and positions do matter, and its file."""
    network = timm.create_model(name, num_classes=5, dynamic_img_size=True, **arguments).eval()
    nn.init.normal_(network.cls_token)
    nn.init.normal_(network.pos_embed)
    save_file(network.state_dict(), path)
    return network


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "size"),
    [
        (SMALL, (160, 160)),
        (SMALL, (48, 80)),
        ("deit_tiny_patch16_224", (224, 224)),
        ("deit3_small_patch16_224", (48, 80)),
    ],
)
def test_with_one_class_the_logits_are_those_of_timm(name: str, size: tuple[int, int], tmp_path: Path):
    reference = saved(tmp_path / "timm.safetensors", name)

    tokens = built(name, num_classes=1, weights=tmp_path / "timm.safetensors")(images(*size))

    torch.testing.assert_close(reference.head(tokens.classes[:, 0]), reference(images(*size)))
    together = torch.cat([tokens.classes, tokens.patches.flatten(2).mT], dim=1)
    torch.testing.assert_close(together, reference.forward_features(images(*size)))


@torch.no_grad()
def test_every_class_token_and_its_position_begin_as_the_one_of_timm(tmp_path: Path):
    reference = saved(tmp_path / "timm.safetensors")

    network = built(weights=tmp_path / "timm.safetensors").network

    assert torch.equal(network.cls_token, reference.cls_token.expand(1, 3, 64))
    assert torch.equal(network.pos_embed[:, :3], reference.pos_embed[:, :1].expand(1, 3, 64))
    assert torch.equal(network.pos_embed[:, 3:], reference.pos_embed[:, 1:])


@torch.no_grad()
def test_positions_without_one_for_the_class_token_stay_as_they_are(tmp_path: Path):
    reference = saved(tmp_path / "timm.safetensors", "deit3_small_patch16_224")

    network = built("deit3_small_patch16_224", weights=tmp_path / "timm.safetensors").network

    assert torch.equal(network.pos_embed, reference.pos_embed)
    assert network.cls_token.shape == (1, 3, 384)


@torch.no_grad()
@pytest.mark.parametrize("qk_norm", [False, True])
def test_queries_and_keys_that_are_shown_give_the_attention_of_timm(qk_norm: bool):
    transformer = built()
    blocks = timm.create_model(SMALL, qk_norm=qk_norm).eval().blocks
    transformer.network.blocks = blocks
    expected: list[Tensor] = []
    shown: list[Tensor] = []
    for block in blocks:
        # Only without its fused kernel does timm hold the matrix.
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _module, _inputs, output: expected.append(output))
        for norm in (block.attn.q_norm, block.attn.k_norm):
            for parameter in norm.parameters():
                nn.init.normal_(parameter)

    with transformer.watched(range(NUM_BLOCKS), lambda q, k: shown.append((q @ k.mT / 32**0.5).softmax(-1))):
        transformer(images())

    assert len(shown) == len(expected) == NUM_BLOCKS
    for ours, theirs in zip(shown, expected, strict=True):
        assert ours.shape == (2, 2, 3 + 15, 3 + 15)
        torch.testing.assert_close(ours, theirs)


def test_watching_ends_with_its_context_even_by_an_error():
    transformer = built()
    outer: list[Tensor] = []
    inner: list[Tensor] = []

    with transformer.watched(range(NUM_BLOCKS), lambda queries, _: outer.append(queries)):
        with transformer.watched([-1], lambda queries, _: inner.append(queries)):
            transformer(images())
        with pytest.raises(ZeroDivisionError), transformer.watched([0], lambda *_: 1 / 0):
            transformer(images())
        transformer(images())
    transformer(images())

    assert len(inner) == 1
    # The failed pass went as far as its first block.
    assert len(outer) == NUM_BLOCKS + 1 + NUM_BLOCKS


@torch.no_grad()
def test_maps_of_sides_that_no_patch_divides_cover_the_whole_image():
    # Without positions and attention, a patch's token tells its own colour alone.
    transformer = built()
    nn.init.zeros_(transformer.network.pos_embed)
    transformer.network.blocks = nn.Identity()
    inputs = torch.zeros(1, 3, 55, 55)
    inputs[..., 50:] = 1

    patches = transformer(inputs).patches

    assert patches.shape[2:] == (3, 3)
    dark, last = patches[0, :, 0, 0], patches[0, :, 0, 2]
    assert torch.allclose(patches[0, :, 0, 1], dark, atol=1e-5)
    assert not torch.allclose(last, dark, atol=0.1)
    mirrored = transformer(inputs.flip(3)).patches
    assert torch.allclose(mirrored[0, :, 0, 2], dark, atol=1e-5)
    assert not torch.allclose(mirrored[0, :, 0, 0], dark, atol=0.1)


@torch.no_grad()
def test_positions_of_another_image_size_are_resized(tmp_path: Path):
    larger = saved(tmp_path / "larger.safetensors", img_size=192)

    network = built(num_classes=1, weights=tmp_path / "larger.safetensors").network

    expected = timm.layers.resample_abs_pos_embed(larger.pos_embed, [10, 10])
    torch.testing.assert_close(network.pos_embed.data, expected)


def test_files_of_pytorch_are_read_too(tmp_path: Path):
    reference = saved(tmp_path / "timm.safetensors")
    torch.save({"state_dict": reference.state_dict()}, tmp_path / "timm.pth")

    one, other = (built(weights=tmp_path / name) for name in ("timm.safetensors", "timm.pth"))

    assert all(torch.equal(one.state_dict()[name], tensor) for name, tensor in other.state_dict().items())


def test_normalisation_is_that_of_timm():
    assert built().normalisation.mean == (0.5, 0.5, 0.5)
    assert built("deit_tiny_patch16_224").normalisation.std == (0.229, 0.224, 0.225)


def test_drop_path_grows_towards_the_last_block():
    transformer = build_class_token_transformer(SMALL, 3, weights="none", drop_path=0.1)

    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in transformer.network.blocks]
    assert rates == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08, 0.1])


@pytest.mark.parametrize(
    ("name", "weights", "told"),
    [
        ("resnet18", "none", "resnet18 is no plain vision transformer with one class token, such as deit_small"),
        ("test_vit2", "none", "test_vit2 is no plain vision transformer"),
        ("deit_tiny_distilled_patch16_224", "none", "distilled_patch16_224 is no plain vision transformer"),
        ("vit_tiny_r_s16_p8_224", "none", "vit_tiny_r_s16_p8_224 is no plain vision transformer"),
        ("deit_smal_patch16_224", "none", "called deit_smal_patch16_224; did you mean deit_small_patch16_224 or"),
        ("qqq", "none", "no backbone is called qqq; take deit_small_patch16_224 or a name of timm.list_models"),
        (SMALL, "embedded", "weights: embedded fit backbone hybrid_lite0 only, not test_vit"),
        (SMALL, "/nowhere/weights.pth", "/nowhere/weights.pth: no such file"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(name: str, weights: str, told: str):
    with pytest.raises(ValueError, match=told) as refusal:
        built(name, weights=weights)

    assert "\n" not in str(refusal.value)


def test_without_network_one_line_names_the_alternatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    with pytest.raises(ValueError, match=r"could not be downloaded .* use weights: none, or the path") as refusal:
        built("deit_tiny_patch16_224", weights="timm")

    assert "\n" not in str(refusal.value)


def test_files_of_other_classes_or_networks_are_refused(tmp_path: Path):
    ours = {f"backbone.{name}": tensor for name, tensor in built().state_dict().items()}
    save_file(ours, tmp_path / "three.safetensors")
    torch.save(timm.create_model("deit_tiny_distilled_patch16_224").state_dict(), tmp_path / "distilled.pth")

    with pytest.raises(ValueError, match=r"cls_token is \(1, 3, 64\), but \(1, 4, 64\) is needed"):
        built(num_classes=4, weights=tmp_path / "three.safetensors")
    with pytest.raises(ValueError, match=r"pos_embed is \(1, 198, 192\), but \(1, 197, 192\) is needed"):
        built("deit_tiny_patch16_224", weights=tmp_path / "distilled.pth")
