from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from tag2mask.cams.store import StoredCams, read_cams, stored_maps, stored_names
from tag2mask.config import RefinementSettings
from tag2mask.data.records import Record
from tag2mask.data.sizes import resize_maps
from tag2mask.networks.affinitynet import AffinityNet, build_affinity_net
from tag2mask.networks.irnet import BoundaryNet, build_boundary_net
from tag2mask.stages.walked_maps import write_walked_maps

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
        network = network_of(method)
        write_walked_maps(
            fabric, network, [records[name]], cams=cams, folder=tmp_path, settings=settings, num_threads=1
        )
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
        write_walked_maps(
            fabric, network_of(method), [records["small"]], cams=cams, folder=folder, settings=settings, num_threads=1
        )
        return stored_maps(read_cams(folder, "small"))

    assert np.array_equal(walked(200), walked(0))


@pytest.mark.parametrize("method", ["irn", "affinity"])
def test_maps_walk_beside_a_gpu_as_on_a_cpu_to_the_digit(
    method: Literal["irn", "affinity"], fabric: Fabric, gpu_fabric: Fabric, records: dict[str, Record], cams: Path,
    tmp_path: Path,
):  # fmt: skip
    settings = replace(SETTINGS, method=method, long_side=200)

    for folder, each in (("cpu", fabric), ("gpu", gpu_fabric)):
        write_walked_maps(
            each, network_of(method), list(records.values()), cams=cams, folder=tmp_path / folder, settings=settings,
            num_threads=2,
        )  # fmt: skip

    for name in ("large.npz", "small.npz"):
        assert (tmp_path / "gpu" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()


@pytest.mark.parametrize("on_gpu", [False, True])
def test_photo_without_maps_is_told_once_those_before_it_have_walked(
    fabric: Fabric, gpu_fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path, on_gpu: bool
):
    photos = [records["small"], replace(records["small"], name="none"), records["large"]]
    used = gpu_fabric if on_gpu else fabric

    with pytest.raises(ValueError, match=r"none\.npz: no such file"):
        write_walked_maps(used, network_of("irn"), photos, cams=cams, folder=tmp_path, settings=SETTINGS, num_threads=2)

    assert stored_names(tmp_path) == {"small"}
