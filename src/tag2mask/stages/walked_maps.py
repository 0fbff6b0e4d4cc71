"""The stage `3-refined/METHOD/maps`: activation maps after a random walk along relations that a network has learned."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tag2mask.cams.missing_maps import write_missing_maps
from tag2mask.cams.store import StoredCams, cams_from_stored_size, read_cams, stored_maps, stored_size, write_cams
from tag2mask.config import RefinementSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import reduce_photo, reduced_size, resize_maps
from tag2mask.data.transforms import normalise_pixels, photo_pixels
from tag2mask.networks.affinitynet import AffinityNet
from tag2mask.networks.irnet import BoundaryNet
from tag2mask.refinement.random_walk import Array, walk_from_boundaries, walk_from_features
from tag2mask.workers import Inference

Walk = Callable[[Array, Array, RefinementSettings], Array]


class _Photo(NamedTuple):
    """A photo as the network takes it, and the maps that walk."""

    name: str
    stored: StoredCams
    pixels: Tensor
    """(h, w, 3) uint8."""


class _Relations(NamedTuple):
    """What the network says of a photo."""

    photo: _Photo
    values: NDArray[np.float32]
    """Edges (h, w) or features (c, h, w)."""
    grid: tuple[int, int]
    """Rows and columns of the cells on which the maps walk."""


def write_walked_maps(
    inference: Inference, network: BoundaryNet | AffinityNet, *, cams: Path, settings: RefinementSettings
) -> None:
    """Write the activation maps after a random walk; those that are there already are left alone.

    Args:
        inference: its folder gets one file per photo; its threads do the walk while the network works on a GPU.
        network: the trained network of relations.
        cams: folder of the photos' activation maps.
        settings: settings of the random walk.
    """
    inference.fabric.to_device(network)
    network.eval()
    walk = walk_from_boundaries if isinstance(network, BoundaryNet) else walk_from_features
    write_missing_maps(
        inference, prepare=partial(_open, cams=cams, settings=settings),
        infer=partial(_relate, network, settings=settings),
        write=partial(_write, walk=walk, folder=inference.folder, settings=settings), title="random walk",
    )  # fmt: skip


def _open(record: Record, *, cams: Path, settings: RefinementSettings) -> _Photo:
    stored = read_cams(cams, record.name)
    return _Photo(record.name, stored, photo_pixels(reduce_photo(open_photo(record.image), settings.long_side)))


@torch.inference_mode()
def _relate(network: BoundaryNet | AffinityNet, photo: _Photo, *, settings: RefinementSettings) -> _Relations:
    pixels = photo.pixels.to(next(network.parameters()).device)
    image = normalise_pixels(pixels, network.backbone.normalisation)
    match network:
        case BoundaryNet():
            plain, mirrored = network(torch.stack([image, image.flip(2)])).float()
            edge = ((plain + mirrored.flip(2)) / 2).sigmoid()[0].cpu().numpy()
            width, height = reduced_size((photo.stored.width, photo.stored.height), settings.long_side)
            return _Relations(photo, edge, stored_size(height, width))
        case AffinityNet():
            # Features of a mirror image are no mirrored features: the plain ones alone decide, as in PSA.
            (features,) = network(image[None]).float().cpu().numpy()
            return _Relations(photo, features, features.shape[1:])


def _write(relations: _Relations, *, walk: Walk, folder: Path, settings: RefinementSettings) -> None:
    """Do the random walk of one photo's maps, on the grid of the photo as the network saw it, and write them."""
    name, stored, _ = relations.photo
    maps = stored_maps(stored)
    walked = resize_maps(walk(resize_maps(maps, *relations.grid), relations.values, settings), *maps.shape[1:])
    cams = cams_from_stored_size(stored.class_ids, walked, height=stored.height, width=stored.width)
    write_cams(folder, name, cams)
