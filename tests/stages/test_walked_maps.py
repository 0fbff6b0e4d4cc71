from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import (
    StoredCams,
    cams_from_stored_size,
    read_cams,
    stored_maps,
    stored_names,
    write_cams,
)
from tag2mask.config import RefinementSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import resize_maps
from tag2mask.data.transforms import normalise
from tag2mask.networks.affinitynet import AffinityNet, build_affinity_net
from tag2mask.networks.irnet import BoundaryNet, build_boundary_net
from tag2mask.refinement.random_walk import walk_from_boundaries
from tag2mask.stages.walked_maps import write_walked_maps
from tag2mask.workers import Inference

SETTINGS = RefinementSettings(backbone="test_resnet", weights="none", output_stride=8, log_steps=4)


def network_of(method: Literal["irn", "affinity"]) -> BoundaryNet | AffinityNet:
    torch.manual_seed(0)
    settings = replace(SETTINGS, method=method)
    return build_boundary_net(settings) if method == "irn" else build_affinity_net(settings)


@pytest.mark.parametrize("method", ["irn", "affinity"])
def test_camera_photo_walks_as_the_photo_brought_down_and_keeps_its_size(
    method: Literal["irn", "affinity"], fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path
):
    def walked(name: str, long_side: int) -> StoredCams:
        settings = replace(SETTINGS, method=method, long_side=long_side)
        inference = Inference(fabric, [records[name]], tmp_path, 1)
        write_walked_maps(inference, network_of(method), cams=cams, settings=settings)
        return read_cams(tmp_path, name)

    large, small = walked("large", 200), walked("small", 0)

    assert (large.width, large.height) == (3000, 2000)
    assert large.class_ids.tolist() == [2, 5]
    # Maps are kept in steps of 1/255, before the walk and after it, and the small ones are sampled once more.
    np.testing.assert_allclose(stored_maps(large), resize_maps(stored_maps(small), 500, 750), atol=0.02)
    assert np.abs(stored_maps(large) - stored_maps(read_cams(cams, "large"))).max() > 0.1


@pytest.mark.parametrize("method", ["irn", "affinity"])
def test_photo_that_is_not_larger_walks_as_ever(
    method: Literal["irn", "affinity"], fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path
):
    def walked(long_side: int) -> NDArray[np.float32]:
        settings = replace(SETTINGS, method=method, long_side=long_side)
        folder = tmp_path / str(long_side)
        inference = Inference(fabric, [records["small"]], folder, 1)
        write_walked_maps(inference, network_of(method), cams=cams, settings=settings)
        return stored_maps(read_cams(folder, "small"))

    assert np.array_equal(walked(200), walked(0))


def test_edges_are_the_mean_of_those_of_the_photo_and_of_its_mirror_image(fabric: Fabric, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.NEAREST).save(tmp_path / "a.png")
    maps = np.linspace(0, 1, 16, dtype=np.float32) * np.ones((1, 12, 1), np.float32)
    write_cams(tmp_path, "a", cams_from_stored_size([1], maps, height=48, width=64))
    network = network_of("irn").eval()
    # Edges of new weights are even.
    network.fusion.weight.data.mul_(20)

    inference = Inference(fabric, [Record("a", tmp_path / "a.png", (1,))], tmp_path / "walked", 1)
    write_walked_maps(inference, network, cams=tmp_path, settings=SETTINGS)

    image = normalise(open_photo(tmp_path / "a.png"), network.backbone.normalisation)
    with torch.no_grad():
        plain, mirrored = (network(each[None])[0, 0].numpy() for each in (image, image.flip(2)))
    edges = 1 / (1 + np.exp(-(plain + mirrored[:, ::-1]) / 2))
    assert np.abs(plain - mirrored[:, ::-1]).max() > 1
    expected = walk_from_boundaries(stored_maps(read_cams(tmp_path, "a")), edges, SETTINGS)
    np.testing.assert_allclose(stored_maps(read_cams(tmp_path / "walked", "a")), expected, atol=0.51 / 255)


@pytest.mark.parametrize("method", ["irn", "affinity"])
def test_maps_walk_beside_a_gpu_as_on_a_cpu_to_the_digit(
    method: Literal["irn", "affinity"], fabric: Fabric, gpu_fabric: Fabric, records: dict[str, Record], cams: Path,
    tmp_path: Path,
):  # fmt: skip
    settings = replace(SETTINGS, method=method, long_side=200)

    for folder, each in (("cpu", fabric), ("gpu", gpu_fabric)):
        inference = Inference(each, list(records.values()), tmp_path / folder, 2)
        write_walked_maps(inference, network_of(method), cams=cams, settings=settings)

    for name in ("large.npz", "small.npz"):
        assert (tmp_path / "gpu" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()


@pytest.mark.parametrize("on_gpu", [False, True])
def test_photo_without_maps_is_told_once_those_before_it_have_walked(
    fabric: Fabric, gpu_fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path, on_gpu: bool
):
    photos = [records["small"], replace(records["small"], name="none"), records["large"]]
    inference = Inference(gpu_fabric if on_gpu else fabric, photos, tmp_path, 2)

    with pytest.raises(ValueError, match=r"none\.npz: no such file"):
        write_walked_maps(inference, network_of("irn"), cams=cams, settings=SETTINGS)

    assert stored_names(tmp_path) == {"small"}
