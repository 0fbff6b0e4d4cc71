"""The stage that writes the CAMs of a list of photos, batch by batch, and goes on where it was stopped."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from tag2mask.cams.multiscale import batches_of_one_size, mean_scores, multiscale_cams, raw_maps, scaled_pixels
from tag2mask.cams.store import StoredCams, cams_from_full_size, stored_names, write_cams
from tag2mask.config import CamSettings
from tag2mask.data.photos import open_photo, photo_size
from tag2mask.data.records import Record
from tag2mask.data.sizes import Size
from tag2mask.memory import giving_back
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.progress import track
from tag2mask.workers import around_network, num_threads_beside, refused_together, share_of


class _Photos(NamedTuple):
    """B photos of one size as the network takes them."""

    records: Sequence[Record]
    size: Size
    scaled: list[Tensor]
    """(B, h, w, 3) uint8, one per scale."""


class _Cams(NamedTuple):
    """Maps of one photo and what they are of."""

    record: Record
    class_ids: list[int]
    """K of them."""
    maps: NDArray[np.float32]
    """(K, H, W) in [0, 1]."""


def infer_cams(
    fabric: Fabric, classifier: PhotoClassifier, records: Sequence[Record], *, settings: CamSettings, folder: Path
) -> None:
    """Write the CAMs of `records` below `folder`; those that are there already are left alone.

    A batch of which a part is there is done again whole, so that a stopped and an unbroken run give the same digits.

    Args:
        fabric: launched; the processes share the batches.
        classifier: trained.
        records: their tags are the classes of the maps, unless the settings ask for predicted ones.
        settings: scales and classes.
        folder: gets one file per photo.
    """
    fabric.to_device(classifier)
    classifier.eval().to(memory_format=torch.channels_last)
    sizes = [photo_size(record.image) for record in records]
    batches = [[records[index] for index in indices] for indices in batches_of_one_size(sizes, settings)]
    done = stored_names(folder)
    waiting = [batch for batch in batches if not done.issuperset(record.name for record in batch)]
    share = share_of(fabric, waiting)
    written = around_network(
        share, prepare=partial(_open, settings=settings), infer=partial(_infer, classifier, settings=settings),
        finish=partial(_write, folder=folder), num_threads=num_threads_beside(fabric.device),
    )  # fmt: skip
    with refused_together(fabric):
        photos_done = (record for batch, _ in zip(share, written, strict=True) for record in batch)
        total, title = sum(map(len, share)), f"CAMs of {folder.name}"
        for _ in giving_back(track(photos_done, total, title, shown=fabric.is_global_zero)):
            pass


def cams_of_batch(classifier: PhotoClassifier, batch: Sequence[Record], settings: CamSettings) -> list[StoredCams]:
    """The CAMs of photos of one size.

    Args:
        classifier: in evaluation mode.
        batch: records of photos of the same size.
        settings: scales and classes.
    """
    cams = _infer(classifier, _open(batch, settings=settings), settings=settings)
    return [cams_from_full_size(each.class_ids, each.maps) for each in cams]


def _open(batch: Sequence[Record], *, settings: CamSettings) -> _Photos:
    photos = [open_photo(record.image) for record in batch]
    size = photos[0].size
    for record, photo in zip(batch, photos, strict=True):
        assert photo.size == size, f"{record.image}: {photo.size}, but {batch[0].image}: {size}"
    return _Photos(batch, size, scaled_pixels(photos, settings))


def _infer(classifier: PhotoClassifier, photos: _Photos, *, settings: CamSettings) -> list[_Cams]:
    outputs = raw_maps(classifier, photos.scaled)
    width, height = photos.size
    cams = []
    for index, record in enumerate(photos.records):
        match settings.classes:
            case "tags":
                class_ids = list(record.tags)
            case "predicted":
                scores = mean_scores(outputs)[index]
                class_ids = [int(place) + 1 for place in torch.nonzero(scores >= settings.predicted_score)]
        channels = [class_id - 1 for class_id in class_ids]
        fused = multiscale_cams([scale.maps[:, index, channels] for scale in outputs], height, width)
        cams.append(_Cams(record, class_ids, fused.cpu().numpy()))
    return cams


def _write(cams: Sequence[_Cams], *, folder: Path) -> None:
    for each in cams:
        write_cams(folder, each.record.name, cams_from_full_size(each.class_ids, each.maps))
