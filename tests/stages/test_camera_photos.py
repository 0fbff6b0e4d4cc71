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
    resize,
    stored_maps,
    stored_size,
    write_cams,
)
from tag2mask.config import RefinementSettings
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.records import Record
from tag2mask.data.sizes import reduce_photo
from tag2mask.networks.affinitynet import AffinityNet, build_affinity_net
from tag2mask.networks.irnet import BoundaryNet, build_boundary_net
from tag2mask.stages.crf_labels import write_relations
from tag2mask.stages.walked_maps import write_walked_maps

LARGE, SMALL = (3000, 2000), (200, 133)
SETTINGS = RefinementSettings(backbone="test_resnet", weights="none", output_stride=8, log_steps=4)


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """A photo of a disc, large and brought down, and in `cams` its maps at both sizes."""
    root = tmp_path_factory.mktemp("photos")
    row, column = np.mgrid[-1:1:2000j, -1.5:1.5:3000j]
    pixels = np.full((2000, 3000, 3), 70, np.uint8)
    pixels[row**2 + column**2 < 0.4] = (200, 90, 40)
    photo = Image.fromarray(pixels)
    photo.save(root / "large.bmp")
    reduce_photo(photo, SMALL[0]).save(root / "small.bmp")
    row, column = np.mgrid[-1:1:500j, -1.5:1.5:750j]
    hill = np.exp(-3 * (row**2 + column**2)).astype(np.float32)
    maps = np.stack([hill, hill[:, ::-1] * 0.5])
    for name, (width, height) in {"large": LARGE, "small": SMALL}.items():
        coarse = resize(maps, *stored_size(height, width))
        write_cams(root / "cams", name, cams_from_stored_size([2, 5], coarse, height=height, width=width))
    return {name: Record(name, root / f"{name}.bmp", (2, 5)) for name in ("large", "small")}


@pytest.fixture
def cams(records: dict[str, Record]) -> Path:
    return records["large"].image.parent / "cams"


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
        write_walked_maps(fabric, network, [records[name]], cams=cams, folder=tmp_path, settings=settings)
        return read_cams(tmp_path, name)

    large, small = walked("large", 200), walked("small", 0)

    assert (large.width, large.height) == LARGE
    assert large.class_ids.tolist() == [2, 5]
    # Maps are kept in steps of 1/255, before the walk and after it, and the small ones are sampled once more.
    np.testing.assert_allclose(stored_maps(large), resize(stored_maps(small), 500, 750), atol=0.02)
    assert np.abs(stored_maps(large) - stored_maps(read_cams(cams, "large"))).max() > 0.1


@pytest.mark.parametrize("method", ["irn", "affinity"])
def test_photo_that_is_not_larger_walks_as_ever(
    method: Literal["irn", "affinity"], fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path
):
    def walked(long_side: int) -> NDArray[np.float32]:
        settings = replace(SETTINGS, method=method, long_side=long_side)
        folder = tmp_path / str(long_side)
        write_walked_maps(fabric, network_of(method), [records["small"]], cams=cams, folder=folder, settings=settings)
        return stored_maps(read_cams(folder, "small"))

    assert np.array_equal(walked(200), walked(0))


def test_sure_labels_of_a_camera_photo_are_those_of_the_photo_brought_down(
    fabric: Fabric, records: dict[str, Record], cams: Path, tmp_path: Path
):
    def labels(name: str, long_side: int) -> NDArray[np.uint8]:
        settings = replace(SETTINGS, long_side=long_side)
        write_relations(fabric, [records[name]], cams=cams, folder=tmp_path, settings=settings, num_processes=1)
        return open_label_map(tmp_path / f"{name}.png")

    large, small = labels("large", 200), labels("small", 0)

    assert large.shape == (2000, 3000)
    assert len(np.unique(small)) > 1
    # Rows and columns in the middle of each pixel of the small one.
    rows, columns = (np.arange(133) * 2 + 1) * 2000 // 266, np.arange(200) * 15 + 7
    assert (large[np.ix_(rows, columns)] == small).mean() > 0.995
