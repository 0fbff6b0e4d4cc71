"""The stage that writes the CAMs of a list of photos, batch by batch, and goes on where it was stopped."""

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric

from tag2mask.cams.multiscale import batches_of_one_size, mean_scores, multiscale_cams, raw_maps
from tag2mask.cams.store import StoredCams, cams_from_full_size, stored_names, write_cams
from tag2mask.config import CamSettings
from tag2mask.data.photos import open_photo, photo_size
from tag2mask.data.records import Record
from tag2mask.memory import give_back_free
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.progress import track
from tag2mask.workers import refused_together, share_of

# Photos of many sizes at several scales: without it the process grows with their number, by gigabytes.
_BATCHES_BETWEEN_GIVING_BACK = 10


def infer_cams(
    fabric: Fabric, classifier: PhotoClassifier, records: Sequence[Record], *, settings: CamSettings, folder: Path
) -> None:
    """Write the CAMs of `records` below `folder`; those that are there already are left alone.

    A batch of which a part is there is done again whole, so that a stopped and an unbroken run give the same digits.

    Args:
        fabric: launched; the processes share the batches.
        classifier: trained.
        records: photos.
        settings: scales and classes.
        folder: one file a photo.
    """
    fabric.to_device(classifier)
    classifier.eval().to(memory_format=torch.channels_last)
    sizes = [photo_size(record.image) for record in records]
    batches = [[records[index] for index in indices] for indices in batches_of_one_size(sizes, settings)]
    done = stored_names(folder)
    waiting = [batch for batch in batches if not done.issuperset(record.name for record in batch)]
    share = share_of(fabric, waiting)
    with refused_together(fabric):
        batches_at_hand = track(share, len(share), f"CAMs of {folder.name}", shown=fabric.is_global_zero)
        for number, batch in enumerate(batches_at_hand, start=1):
            if number % _BATCHES_BETWEEN_GIVING_BACK == 0:
                give_back_free()
            cams = cams_of_batch(classifier, batch, settings)
            for record, stored in zip(batch, cams, strict=True):
                write_cams(folder, record.name, stored)


def cams_of_batch(classifier: PhotoClassifier, batch: Sequence[Record], settings: CamSettings) -> list[StoredCams]:
    """The CAMs of photos of one size.

    Args:
        classifier: in evaluation mode.
        batch: photos.
        settings: scales and classes.
    """
    photos = [open_photo(record.image) for record in batch]
    width, height = photos[0].size
    for record, photo in zip(batch, photos, strict=True):
        assert photo.size == (width, height), f"{record.image}: {photo.size}, but {batch[0].image}: {(width, height)}"
    backbone = classifier.backbone
    outputs = raw_maps(classifier, photos, settings, mean=backbone.mean, std=backbone.std)
    stored = []
    for index, record in enumerate(batch):
        match settings.classes:
            case "tags":
                class_ids = list(record.tags)
            case "predicted":
                scores = mean_scores(outputs)[index]
                class_ids = [int(place) + 1 for place in torch.nonzero(scores >= settings.predicted_score)]
        channels = [class_id - 1 for class_id in class_ids]
        fused = multiscale_cams([scale.maps[:, index, channels] for scale in outputs], height, width)
        stored.append(cams_from_full_size(class_ids, fused.cpu().numpy()))
    return stored
