from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tag2mask.config import MctformerSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.transforms import normalise
from tag2mask.networks.mctformer import Mctformer, build_mctformer

SETTINGS = MctformerSettings(backbone="hybrid_lite0", weights="embedded", drop_path=0.0)


@pytest.fixture(scope="module")
def network() -> Mctformer:
    torch.manual_seed(0)
    return build_mctformer(SETTINGS, num_classes=2).eval()


def two_halves(network: Mctformer) -> Tensor:
    """An image of stripes on its left and of noise on its right half, normalised."""
    image = torch.rand(3, 96, 192, generator=torch.Generator().manual_seed(0))
    stripes = (torch.arange(96) // 6 % 2).float()
    image[:, :, :96] = stripes[None, :, None]
    normalisation = network.backbone.normalisation
    return ((image - normalisation.mean[0]) / normalisation.std[0])[None]


@torch.no_grad()
def test_tokens_keep_the_angles_between_standardised_features(network: Mctformer):
    patches = network.backbone.network.patch_embed
    image = two_halves(network)

    tokens = patches(image)[0, ..., :112].flatten(0, 1)

    feature = patches.cnn(image)[3][0].flatten(1).T
    blocks = patches.cnn.network.blocks[4]
    mean = sum(block.bn3.bias for block in blocks)
    variance = sum(block.bn3.weight**2 for block in blocks)
    standardised = (feature - mean) / variance.sqrt()
    torch.testing.assert_close(tokens @ tokens.T, standardised @ standardised.T, rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_features_of_photos_are_about_standardised(network: Mctformer, animals: Path):
    patches = network.backbone.network.patch_embed
    paths = sorted((animals / "JPEGImages").glob("*.jpg"))[::500]
    photos = [normalise(open_photo(path), network.backbone.normalisation)[None] for path in paths]

    tokens = torch.cat([patches(photo).flatten(0, 2) for photo in photos])

    for of_feature in (tokens[:, :112], tokens[:, 112:]):
        assert of_feature.mean(0).square().mean().sqrt() < 0.5
        assert 0.7 < of_feature.std(0).mean() < 1.4


@torch.no_grad()
def test_new_transformer_attends_to_what_looks_alike(network: Mctformer):
    affinity = network.patch_affinity(two_halves(network))[0].reshape(6, 12, 6, 12)

    # Away from the edge between the halves, which both see.
    left, right = slice(0, 5), slice(7, 12)
    for own, other in ((left, right), (right, left)):
        assert affinity[:, own, :, own].mean() > 2 * affinity[:, own, :, other].mean()


def test_class_tokens_learn_from_the_tags():
    torch.manual_seed(0)
    network = build_mctformer(SETTINGS, num_classes=2).train()

    of_tokens, _ = network(two_halves(network)).all_logits
    of_tokens[0, 0].backward()

    # With a last norm of ones the gradient is rounding: the mean over normalised channels cannot change.
    assert network.backbone.network.cls_token.grad.abs().max() > 1e-3


def test_all_but_the_cnn_learns():
    torch.manual_seed(0)
    network = build_mctformer(SETTINGS, num_classes=2).train()

    output = network(two_halves(network))
    (output.cams.sum() + sum(logits.sum() for logits in output.all_logits)).backward()

    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in network.named_parameters() if ".patch_embed.cnn." in name}
    new = {id(parameter) for parameter in network.new_parameters()}
    named = {name for name, parameter in network.named_parameters() if id(parameter) in new}
    assert named == {
        "head.weight", "head.bias", "backbone.network.cls_token", "backbone.network.norm.weight",
        "backbone.network.norm.bias",
    }  # fmt: skip


@torch.no_grad()
def test_trained_network_is_read_from_its_file(network: Mctformer, tmp_path: Path):
    save_file(network.state_dict(), tmp_path / "classifier.safetensors")
    torch.manual_seed(1)

    again = build_mctformer(
        MctformerSettings(backbone="hybrid_lite0", weights=str(tmp_path / "classifier.safetensors")), num_classes=2
    ).eval()

    image = two_halves(network)
    torch.testing.assert_close(again.patch_affinity(image), network.patch_affinity(image))


@pytest.mark.parametrize(
    ("backbone", "weights", "told"),
    [
        ("hybrid_lite0", "timm", "timm has no weights of hybrid_lite0; take weights: embedded, or a file"),
        ("deit_tiny_patch16_224", "embedded", "weights: embedded fit backbone hybrid_lite0 only"),
    ],
)
def test_weights_that_do_not_exist_are_refused(backbone: str, weights: str, told: str):
    with pytest.raises(ValueError, match=told):
        build_mctformer(MctformerSettings(backbone=backbone, weights=weights), num_classes=2)
