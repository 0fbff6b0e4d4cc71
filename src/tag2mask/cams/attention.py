"""The stage that spreads the maps of one classifier along the attention of a vision transformer.

"ACR + ViT" of the ACR paper (CVPR 2023, section 5.4): CAMs are refined by the attention between patches, as in
MCTformer-V2 (Xu et al., CVPR 2022).
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tag2mask.cams.missing_maps import write_missing_maps
from tag2mask.cams.multiscale import inference_size
from tag2mask.cams.store import StoredCams, cams_from_stored_size, read_cams, stored_maps, write_cams
from tag2mask.config import MctformerSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.transforms import normalise_pixels, photo_pixels
from tag2mask.networks.grids import resize
from tag2mask.networks.mctformer import Mctformer, spread
from tag2mask.networks.normalisation import normalise_cams
from tag2mask.workers import Inference


class _Photo(NamedTuple):
    """A photo as the transformer takes it, and the maps to spread."""

    name: str
    stored: StoredCams
    pixels: Tensor
    """(h, w, 3) uint8."""


class _Spread(NamedTuple):
    """The maps of a photo after they were spread."""

    name: str
    stored: StoredCams
    """Before."""
    maps: NDArray[np.float32]


def infer_spread_cams(inference: Inference, network: Mctformer, *, cams: Path, settings: MctformerSettings) -> None:
    """Write the maps of photos after they were spread; those that are there already are left alone.

    Args:
        inference: its folder gets one file per photo.
        network: the trained transformer.
        cams: folder of the photos' maps.
        settings: size of the photos.
    """
    inference.fabric.to_device(network)
    network.eval()
    write_missing_maps(
        inference, prepare=partial(_open, cams=cams, settings=settings), infer=partial(_spread, network),
        write=partial(_write, folder=inference.folder), title=f"CAMs of {inference.folder.name}",
    )  # fmt: skip


def _open(record: Record, *, cams: Path, settings: MctformerSettings) -> _Photo:
    stored = read_cams(cams, record.name)
    photo = open_photo(record.image)
    size = inference_size(photo.size, settings.long_side)
    return _Photo(record.name, stored, photo_pixels(photo.resize(size, Image.Resampling.BICUBIC)))


@torch.inference_mode()
def _spread(network: Mctformer, photo: _Photo) -> _Spread:
    device = next(network.parameters()).device
    maps = torch.from_numpy(stored_maps(photo.stored)).to(device)
    image = normalise_pixels(photo.pixels.to(device), network.backbone.normalisation)
    spread_out = spread_maps(maps, network, torch.stack([image, image.flip(2)]))
    return _Spread(photo.name, photo.stored, spread_out.cpu().numpy())


def _write(spread_out: _Spread, *, folder: Path) -> None:
    before = spread_out.stored
    cams = cams_from_stored_size(before.class_ids, spread_out.maps, height=before.height, width=before.width)
    write_cams(folder, spread_out.name, cams)


def spread_maps(maps: Tensor, network: Mctformer, images: Tensor) -> Tensor:
    """Maps of one photo on the transformer's grid, each cell the sum of all cells weighted by the attention to them.

    Args:
        maps: (K, h, w) in [0, 1].
        network: in evaluation mode.
        images: (2, 3, H, W), the photo and its mirror image, normalised; the results of both are joined.

    Returns:
        (K, h, w) in [0, 1], each normalised by its own range.
    """
    if len(maps) == 0:
        return maps
    coarse = F.adaptive_avg_pool2d(torch.stack([maps, maps.flip(2)]), network.backbone.grid(images))
    plain, mirrored = spread(coarse, network.patch_affinity(images))
    fine = resize((plain + mirrored.flip(2))[None], maps.shape[1:])
    return normalise_cams(fine)[0]
