"""The stage of `3-refined/METHOD/maps`: activation maps that walk along the relations that a network has learned."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric

from tag2mask.cams.missing import write_missing_maps
from tag2mask.cams.store import StoredCams, cams_from_stored_size, read_cams, stored_maps, stored_size
from tag2mask.config import RefinementSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import reduce_photo, reduced_size, resize_maps
from tag2mask.data.transforms import normalise
from tag2mask.networks.affinitynet import AffinityNet
from tag2mask.networks.irnet import BoundaryNet
from tag2mask.refinement.random_walk import walk_from_boundaries, walk_from_features


def write_walked_maps(
    fabric: Fabric, network: BoundaryNet | AffinityNet, records: Sequence[Record], *, cams: Path, folder: Path,
    settings: RefinementSettings,
) -> None:  # fmt: skip
    """Write the activation maps after their walk; those that are there already are left alone.

    Args:
        fabric: launched; the processes share the photos.
        network: trained.
        records: photos.
        cams: folder of their activation maps.
        folder: one file a photo.
        settings: of the walk.
    """
    fabric.to_device(network)
    network.eval()
    make = partial(_walk, network, cams=cams, settings=settings)
    write_missing_maps(fabric, make, records, folder=folder, title="random walk")


@torch.inference_mode()
def _walk(
    network: BoundaryNet | AffinityNet, record: Record, *, cams: Path, settings: RefinementSettings
) -> StoredCams:
    """Maps of one photo after their walk, on the cells of the photo as it is brought down."""
    stored = read_cams(cams, record.name)
    maps = stored_maps(stored)
    width, height = reduced_size((stored.width, stored.height), settings.long_side)
    reduced = reduce_photo(open_photo(record.image), settings.long_side)
    photo = normalise(reduced, network.backbone.mean, network.backbone.std)
    photo = photo.to(next(network.parameters()).device)
    match network:
        case BoundaryNet():
            plain, mirrored = network(torch.stack([photo, photo.flip(2)])).float()
            edge = ((plain + mirrored.flip(2)) / 2).sigmoid()[0].cpu().numpy()
            walked = walk_from_boundaries(resize_maps(maps, *stored_size(height, width)), edge, settings)
        case AffinityNet():
            # Features of a mirror image are no mirrored features: the plain ones alone decide, as in PSA.
            (features,) = network(photo[None]).float().cpu().numpy()
            walked = walk_from_features(resize_maps(maps, *features.shape[1:]), features, settings)
    walked = resize_maps(walked, *maps.shape[1:])
    return cams_from_stored_size(stored.class_ids, walked, height=stored.height, width=stored.width)
