"""Adversarial learning of a classifier and a reconstructor (ACR).

Kweon, Yoon and Yoon, "Weakly Supervised Semantic Segmentation via Adversarial Learning of Classifier and
Reconstructor", CVPR 2023. The target CAM A cuts a photo's features X into the target segment A X and the rest,
(1 - A) X. The reconstructor learns to restore each segment of the photo from the features of the other one; the
classifier learns maps that make it fail.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.config import AcrSettings, ClassifierLoss, ReconstructorLoss
from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import ClassifierOutput, PhotoClassifier
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.classification import classification_loss
from tag2mask.training.learner import Learner, Lender, has_dropout
from tag2mask.training.segments import draw_remnants, erase, masked_l1, resize_to_side, scored_masks, target_cam


def photo_to_restore(network: Reconstructor, images: Tensor, settings: AcrSettings) -> Tensor:
    """The photo that the decoder should restore: at the decoder's side, in the `image_space` of the settings."""
    photo = network.photos_to_restore(images)
    match settings.image_space:
        case "normalised":
            return photo
        case "unit":
            return photo * network.std + network.mean


def feed_side_of(cams: Tensor, side: int, settings: AcrSettings) -> int:
    """Side of the grid on which features are cut into segments."""
    match settings.masking:
        case "upsampled":
            return side
        case "feature_grid":
            return int(cams.shape[-1])


class Updated(NamedTuple):
    """What the reconstructor-updating phase leaves for the next one."""

    losses: dict[str, Tensor]
    """By their logged names."""
    depths: list[Tensor] | None
    """Backbone features of the batch; None where the backbone has learned since."""


def update_reconstructor(
    reconstructor: Learner[Reconstructor], batch: Batch, cams: Tensor, *, settings: AcrSettings, epoch: int
) -> Updated:
    """Reconstructor-updating (RU) phase, section 4.2, with the terms that the released code adds.

    Args:
        reconstructor: the network that learns.
        batch: photos, each with a target class.
        cams: raw maps (B, C, h, w) without gradient.
        settings: weights of the loss terms, and the remnants.
        epoch: number of the epoch, from 0.
    """
    weights = settings.reconstructor_loss
    cam = target_cam(cams, batch.targets)
    remnants = draw_remnants(batch.grid_draws, settings.remnants, epoch)
    side = reconstructor.network.side(batch.images)
    feed_side = feed_side_of(cams, side, settings)
    # What each segment lacks, by the segment's name: the target segment lacks 1 - A.
    lacking = {
        name: lacked
        for name, weight, lacked in (("target", weights.target, 1 - cam), ("non_target", weights.non_target, cam))
        if weight
    }
    left_in = _cells(remnants, feed_side)
    fed = [1 - erase(resize_to_side(lacked, feed_side), left_in) for lacked in lacking.values()]
    output = reconstructor(batch.images, fed, bool(weights.whole))

    photo = photo_to_restore(reconstructor.network, batch.images, settings)
    losses: dict[str, Tensor] = {}
    if weights.classification:
        losses["classification"] = F.binary_cross_entropy_with_logits(output.logits.float(), batch.tags)
    if weights.whole:
        losses["whole"] = F.l1_loss(output.whole.float(), photo)
    for (name, lacked), restored in zip(lacking.items(), output.segments, strict=True):
        # Cells of the feeding, which a grid need not divide: what was left in is no feat to restore.
        scored = erase(resize_to_side(lacked, side), _cells(left_in, side))
        losses[name] = masked_l1(restored.float(), photo, scored)
    reconstructor.step(_weighted_sum(losses, weights))
    depths = None if reconstructor.network.backbone_learns else output.depths
    return Updated({f"reconstructor/{name}": loss.detach() for name, loss in losses.items()}, depths)


def update_classifier(
    classifier: Learner[PhotoClassifier], reconstructor: Lender[Reconstructor], batch: Batch, *,
    output: ClassifierOutput, settings: AcrSettings, depths: Sequence[Tensor] | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Classifier-updating (CU) phase, section 4.3: no remnants, and signs that reward a failing reconstructor.

    Args:
        classifier: the network that learns.
        reconstructor: used as a fixed function.
        batch: photos, each with a target class.
        output: the classifier's output for this batch, with gradient.
        settings: weights of the loss terms, and the masks.
        depths: the reconstructor's backbone features of the batch, if they are known.
    """
    weights = settings.classifier_loss
    losses: dict[str, Tensor] = {}
    if weights.classification:
        losses["classification"] = classification_loss(output, batch.tags)
    if weights.target or weights.non_target:
        with reconstructor.frozen() as network:
            with torch.no_grad():
                features = network.encode(depths or network.depths(batch.images)).features
            losses |= _adversarial_terms(network, features, batch, cams=output.cams, settings=settings)
    classifier.step(_weighted_sum(losses, weights))
    return {f"classifier/{name}": loss.detach() for name, loss in losses.items()}


class Acr:
    """Both networks learn, one after the other on each batch (section 4.1)."""

    def __init__(
        self, classifier: Learner[PhotoClassifier], reconstructor: Learner[Reconstructor], settings: AcrSettings
    ) -> None:
        self.learners: dict[str, Learner[Any]] = {"classifier": classifier, "reconstructor": reconstructor}
        self._classifier = classifier
        self._reconstructor = reconstructor
        self._settings = settings
        self._same_in_both_phases = not has_dropout(classifier.network)

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Update first the reconstructor, then the classifier, on one batch."""
        if self._same_in_both_phases:
            output = self._classifier(batch.images)
            cams = output.cams.detach()
        else:
            with self._classifier.frozen() as fixed, torch.no_grad():
                cams = fixed(batch.images).cams
        losses, depths = update_reconstructor(self._reconstructor, batch, cams, settings=self._settings, epoch=epoch)
        if not self._same_in_both_phases:
            output = self._classifier(batch.images)
        return losses | update_classifier(
            self._classifier, self._reconstructor, batch, output=output, settings=self._settings, depths=depths
        )


class ReconstructorAlone:
    """The reconstructor learns on the maps of a classifier that does not."""

    def __init__(
        self, classifier: Lender[PhotoClassifier], reconstructor: Learner[Reconstructor], settings: AcrSettings
    ) -> None:
        self.learners = {"reconstructor": reconstructor}
        self._classifier = classifier
        self._reconstructor = reconstructor
        self._settings = settings

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Update the reconstructor on one batch."""
        with self._classifier.frozen() as fixed, torch.no_grad():
            cams = fixed(batch.images).cams
        return update_reconstructor(self._reconstructor, batch, cams, settings=self._settings, epoch=epoch).losses


class ClassifierAlone:
    """The classifier learns against a reconstructor that does not: the pre-trained variant of table 1."""

    def __init__(
        self, classifier: Learner[PhotoClassifier], reconstructor: Lender[Reconstructor], settings: AcrSettings
    ) -> None:
        self.learners = {"classifier": classifier}
        self._classifier = classifier
        self._reconstructor = reconstructor
        self._settings = settings

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Update the classifier on one batch."""
        output = self._classifier(batch.images)
        return update_classifier(self._classifier, self._reconstructor, batch, output=output, settings=self._settings)


def _adversarial_terms(
    network: Reconstructor, features: Tensor, batch: Batch, *, cams: Tensor, settings: AcrSettings
) -> dict[str, Tensor]:
    """Eqs. (12) and (13), those of weight 0 left out."""
    weights = settings.classifier_loss
    side = network.side(batch.images)
    feed_side = feed_side_of(cams, side, settings)
    cam = target_cam(cams, batch.targets)
    fed_cam = resize_to_side(cam, feed_side)
    masks = scored_masks(resize_to_side(cam, side), cams, batch.targets, weights)
    terms = [
        ("target", fed_cam, masks.target, weights.target),
        ("non_target", 1 - fed_cam, masks.non_target, weights.non_target),
    ]
    terms = [term for term in terms if term[3]]
    restored = network.restore(features, [fed for _, fed, _, _ in terms])
    photo = photo_to_restore(network, batch.images, settings)
    return {
        name: -masked_l1(image.float(), photo, scored)
        for (name, _, scored, _), image in zip(terms, restored, strict=True)
    }


def _cells(grid: Tensor, side: int) -> Tensor:
    """A coarse grid drawn at `side`, each cell a block."""
    return F.interpolate(grid, size=(side, side), mode="nearest")


def _weighted_sum(losses: dict[str, Tensor], weights: ClassifierLoss | ReconstructorLoss) -> Tensor:
    """Eqs. (7) and (14): each term times the weight of its name."""
    return torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
