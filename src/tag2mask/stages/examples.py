"""A few photos kept while classifiers learn: their CAMs after each epoch, and what the reconstructor restores."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from PIL import Image, ImageOps

from tag2mask.cams.inference import cams_of_batch
from tag2mask.cams.store import write_cams
from tag2mask.config import CamSettings, Recipe
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.transforms import normalise
from tag2mask.files import replacing
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.restorations import restore_segments
from tag2mask.training.training import AfterEpoch, Networks

_MAX_EXAMPLES = 6


def one_a_class(records: Sequence[Record], num_classes: int) -> list[Record]:
    """A photo for each of the first six classes that have one, with the class as its only tag.

    Of those with no other tag, or else of all with the tag, the middle one; a photo stands for one class only.
    """
    examples: dict[str, Record] = {}
    for class_id in range(1, num_classes + 1):
        tagged = [record for record in records if class_id in record.tags and record.name not in examples]
        fitting = [record for record in tagged if record.tags == (class_id,)] or tagged
        if fitting:
            record = fitting[len(fitting) // 2]
            examples[record.name] = replace(record, tags=(class_id,))
    return list(examples.values())[:_MAX_EXAMPLES]


def keep_epochs(fabric: Fabric, records: Sequence[Record], folder: Path, settings: CamSettings) -> AfterEpoch:
    """A callback that writes the CAMs of `records`, at one scale, after each epoch: the paper's figure 5.

    Args:
        fabric: already launched; only its first process writes.
        records: photos, with the tags whose CAMs are written.
        folder: folder of the training; the maps go to `epochs/NN`, NN from 1.
        settings: settings of the CAMs, but for scales (always 1) and classes (always the tags).
    """
    at_one_scale = replace(settings, scales=(1.0,), classes="tags")

    def keep_epoch(epoch: int, networks: Networks) -> None:
        if not fabric.is_global_zero:
            return
        classifier = networks["classifier"]
        assert isinstance(classifier, PhotoClassifier)
        classifier.eval()
        for record in records:
            with fabric.autocast():
                (cams,) = cams_of_batch(classifier, [record], at_one_scale)
            write_cams(folder / "epochs" / f"{epoch + 1:02}", record.name, cams)
        classifier.train()

    return keep_epoch


def keep_restorations(
    classifier: PhotoClassifier, reconstructor: Reconstructor, records: Sequence[Record], *, folder: Path,
    recipe: Recipe,
) -> None:  # fmt: skip
    """Write what the reconstructor restores of photos from each segment of their class: the paper's figure 3.

    Three PNGs per photo, cut to a square: `NAME.photo`, and restored from the features of the target segment
    (`NAME.target`) and of the rest (`NAME.rest`).

    Args:
        classifier: trained, in evaluation mode.
        reconstructor: trained against it, likewise.
        records: photos, each with one tag.
        folder: gets the PNGs.
        recipe: recipe of the training.
    """
    device = next(classifier.parameters()).device
    side = recipe.data.crop
    for record in records:
        square = ImageOps.fit(open_photo(record.image), (side, side), Image.Resampling.BICUBIC)
        image = normalise(square, classifier.backbone.normalisation)[None].to(device)
        targets = torch.tensor([record.tags[0] - 1], device=device)
        restored = restore_segments(classifier, reconstructor, image, targets=targets, settings=recipe.acr)
        for name, picture in zip(("photo", "target", "rest"), restored, strict=True):
            pixels = (picture[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
            with replacing(folder / f"{record.name}.{name}.png") as path:
                Image.fromarray(pixels).save(path, format="PNG")
