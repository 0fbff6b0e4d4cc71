"""Photos restored from the features of one segment alone, to look at: what the reconstructor can, and the maps hide."""

from typing import NamedTuple

import torch
from torch import Tensor

from tag2mask.config import AcrSettings
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.acr import feed_side_of, photo_to_restore
from tag2mask.training.segments import resize_to_side, target_cam


class SegmentRestorations(NamedTuple):
    """What the reconstructor makes of photos, each (B, 3, S, S) in [0, 1]."""

    photo: Tensor
    """What it should restore."""
    from_target: Tensor
    """Restored from the features of the target segment."""
    from_rest: Tensor
    """Restored from the features of the rest."""


@torch.no_grad()
def restore_segments(
    classifier: PhotoClassifier, reconstructor: Reconstructor, images: Tensor, *, targets: Tensor, settings: AcrSettings
) -> SegmentRestorations:
    """The restorations of the classifier-updating phase as pictures: the paper's figure 3.

    Args:
        classifier: in evaluation mode.
        reconstructor: in evaluation mode.
        images: (B, 3, H, H), normalised.
        targets: class indices (B,).
        settings: settings of the training: how features are cut into segments.
    """
    cams = classifier(images).cams
    cam = resize_to_side(target_cam(cams, targets), feed_side_of(cams, reconstructor.side(images), settings))
    features = reconstructor.encode(reconstructor.depths(images)).features
    pictures = [photo_to_restore(reconstructor, images, settings), *reconstructor.restore(features, [cam, 1 - cam])]
    if settings.image_space == "normalised":
        pictures = [picture.float() * reconstructor.std + reconstructor.mean for picture in pictures]
    return SegmentRestorations(*(picture.float().clamp(0, 1) for picture in pictures))
