from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor

from tag2mask.cams.attention import infer_spread_cams, spread_maps
from tag2mask.cams.store import StoredCams, cams_from_stored_size, read_cams, stored_maps, write_cams
from tag2mask.config import MctformerSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.networks.mctformer import Mctformer, build_mctformer
from tag2mask.networks.normalisation import normalise_cams
from tag2mask.workers import Inference

# Patches of 16 pixels: a grid of 3 x 4.
HEIGHT, WIDTH = 48, 64
SETTINGS = MctformerSettings(backbone="test_vit", weights="none", long_side=64)


@pytest.fixture
def network() -> Mctformer:
    torch.manual_seed(0)
    network = build_mctformer(SETTINGS, num_classes=2).eval()
    for block in network.backbone.network.blocks:
        # Attention of new weights is even.
        block.attn.qkv.weight.data.mul_(20)
    return network


@pytest.fixture
def images() -> Tensor:
    photo = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return torch.stack([photo, photo.flip(2)])


@pytest.fixture
def records(tmp_path: Path) -> Sequence[Record]:
    """Two photos of which the second one has no tag, and their maps in `before`."""
    generator = np.random.default_rng(0)
    for name, tags in (("both", (2, 1)), ("none", ())):
        pixels = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        maps = generator.random((len(tags), HEIGHT // 4, WIDTH // 4), dtype=np.float32)
        write_cams(tmp_path / "before", name, cams_from_stored_size(tags, maps, height=HEIGHT, width=WIDTH))
    return [Record("both", tmp_path / "both.png", (2, 1)), Record("none", tmp_path / "none.png", ())]


def test_every_patch_takes_all_others_by_its_attention_to_them(network: Mctformer, images: Tensor):
    maps = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1))
    affinity = network.patch_affinity(images)
    assert affinity.std() > 0.01

    found = spread_maps(maps, network, images)

    expected = torch.zeros_like(maps)
    for place in range(12):
        row, column = divmod(place, 4)
        for other in range(12):
            other_row, other_column = divmod(other, 4)
            expected[:, row, column] += affinity[0, place, other] * maps[:, other_row, other_column]
            # In the mirror image both patches lie as far from the other edge.
            mirrored = (row * 4 + 3 - column, other_row * 4 + 3 - other_column)
            expected[:, row, column] += affinity[1, mirrored[0], mirrored[1]] * maps[:, other_row, other_column]
    torch.testing.assert_close(found, normalise_cams(expected[None])[0])


def test_mirrored_photo_and_maps_give_the_mirrored_result(network: Mctformer, images: Tensor):
    maps = torch.rand(1, 12, 16, generator=torch.Generator().manual_seed(1))

    found, of_mirrored = spread_maps(maps, network, images), spread_maps(maps.flip(2), network, images.flip(0))

    torch.testing.assert_close(of_mirrored, found.flip(2))


@pytest.mark.parametrize("long_side", [64, 128])
def test_every_photo_gets_the_spread_maps_of_its_classes(
    long_side: int, fabric: Fabric, network: Mctformer, records: Sequence[Record], tmp_path: Path
):
    settings = replace(SETTINGS, long_side=long_side)

    inference = Inference(fabric, records, tmp_path / "after", 1)
    infer_spread_cams(inference, network, cams=tmp_path / "before", settings=settings)

    before, after = (read_cams(tmp_path / folder, "both") for folder in ("before", "after"))
    assert after.class_ids.tolist() == [2, 1]
    photo = open_photo(records[0].image).resize((long_side, long_side * 3 // 4), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255
    # The network's mean and deviation.
    image = (pixels - 0.5) / 0.5
    expected = spread_maps(torch.from_numpy(stored_maps(before)), network, torch.stack([image, image.flip(2)]))
    assert np.abs(stored_maps(after) - expected.detach().numpy()).max() < 0.51 / 255
    assert read_cams(tmp_path / "after", "none").maps.shape == (0, HEIGHT // 4, WIDTH // 4)


def test_maps_beside_a_gpu_are_those_of_a_cpu_to_the_digit(
    fabric: Fabric, gpu_fabric: Fabric, network: Mctformer, records: Sequence[Record], tmp_path: Path
):
    for folder, each in (("cpu", fabric), ("gpu", gpu_fabric)):
        inference = Inference(each, records, tmp_path / folder, 2)
        infer_spread_cams(inference, network, cams=tmp_path / "before", settings=SETTINGS)

    for record in records:
        name = f"{record.name}.npz"
        assert (tmp_path / "gpu" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()


def test_maps_that_are_there_are_left_alone(
    fabric: Fabric, network: Mctformer, records: Sequence[Record], tmp_path: Path
):
    there = StoredCams(np.array([1], np.uint8), np.full((1, HEIGHT // 4, WIDTH // 4), 7, np.uint8), HEIGHT, WIDTH)
    write_cams(tmp_path / "after", "both", there)

    inference = Inference(fabric, records, tmp_path / "after", 1)
    infer_spread_cams(inference, network, cams=tmp_path / "before", settings=SETTINGS)

    assert read_cams(tmp_path / "after", "both").maps.tolist() == there.maps.tolist()
    assert read_cams(tmp_path / "after", "none").height == HEIGHT
