"""A fully connected CRF on a photo's places and colours, and the labels that seeds become with it.

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS 2011,
1210.5644: mean field, Potts compatibilities, kernels with symmetric normalisation. Label maps are those of pydensecrf.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tag2mask.config import CrfPreset, CrfSettings, RefinementSettings
from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.refinement.lattice import build_lattice

LOWEST_SCORE = 1e-5
"""Lower scores count as this, for their logarithm is taken; the floor of pydensecrf's unary_from_softmax."""

# Rounds of message passing in all published settings.
_NUM_ITERATIONS = 10
# Probability that a label of a seed is right; IRN's code.
_CERTAINTY = 0.7


@dataclass(frozen=True)
class Kernels:
    """The two Gaussian kernels of Eq. (3), and what it costs to label two pixels differently."""

    gaussian_sxy: float
    """Deviation in pixels of the kernel on places alone."""
    gaussian_compat: float
    """Weight of the kernel on places alone."""
    bilateral_sxy: float
    """Deviation in pixels of the kernel on places and colours."""
    bilateral_srgb: float
    """Deviation in colour levels, of 256, of the kernel on places and colours."""
    bilateral_compat: float
    """Weight of the kernel on places and colours."""


PRESETS: dict[CrfPreset, Kernels] = {
    # Codes of PSA, SEAM, OC-CSE, AEFT and ACR, on CAMs.
    "cams": Kernels(3, 3, 80, 13, 10),
    # IRN's code, on the labels it learns from.
    "irn": Kernels(3, 3, 50, 5, 10),
    # deeplab-pytorch, on predictions of DeepLab v2.
    "deeplab": Kernels(1, 3, 67, 3, 4),
    # MCTformer's code, on predictions of its segmenter.
    "mctformer": Kernels(4, 3, 83, 5, 3),
}
"""Kernels of `CrfPreset`."""


class DenseCrf:
    """A CRF between all pixels of one photo; every inference shares the lattices that are built once."""

    def __init__(self, photo: NDArray[np.uint8], kernels: Kernels) -> None:
        """Place the pixels on their lattices.

        Args:
            photo: (H, W, 3) of at least one pixel, RGB from 0 to 255.
            kernels: how near and alike pixels share a label.

        Raises:
            ValueError: the photo is of another type or shape.
            OverflowError: the photo is too long, by hundreds of thousands of pixels, for float32 to tell them apart.
        """
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise ValueError(f"photo is {photo.dtype} {photo.shape}, expected uint8 (height, width, 3) from 0 to 255")
        self._size = photo.shape[:2]
        places = np.indices(self._size, np.float32)[::-1].reshape(2, -1)
        colours = photo.reshape(-1, 3).T / np.float32(kernels.bilateral_srgb)
        near = build_lattice(places / np.float32(kernels.gaussian_sxy))
        alike = build_lattice(np.concatenate([places / np.float32(kernels.bilateral_sxy), colours]))
        self._near = near.normalised(kernels.gaussian_compat)
        self._alike = alike.normalised(kernels.bilateral_compat)

    def infer(self, unary: NDArray[np.float32]) -> NDArray[np.float32]:
        """Approximate marginals (L, H, W), summing to 1 over the labels, by mean field: algorithm 1.

        Args:
            unary: -log p (L, H, W).

        Raises:
            ValueError: the potentials are not as large as the photo, or not finite.
        """
        return self.infer_each([unary])[0]

    def infer_each(self, unaries: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """What `infer` gives for each of several label sets; small ones take hardly longer together than one alone."""
        for unary in unaries:
            if unary.shape[1:] != self._size:
                height, width = self._size
                raise ValueError(f"unary potentials have shape {unary.shape}, expected (labels, {height}, {width})")
            if not np.isfinite(unary).all():
                raise ValueError("unary potentials have NaN or infinity, expected finite -log p: clip p above 0")
        evidence = -np.concatenate([unary.reshape(len(unary), -1) for unary in unaries]).astype(np.float32, copy=False)
        ends = np.cumsum([len(unary) for unary in unaries])[:-1]
        marginals = _softmax(evidence.copy(), ends)
        for _ in range(_NUM_ITERATIONS):
            # With Potts compatibilities a label gains what its own marginals send, and no other label's.
            logits = self._near.filter(marginals)
            logits += self._alike.filter(marginals)
            logits += evidence
            marginals = _softmax(logits, ends)
        return [part.reshape(-1, *self._size) for part in np.split(marginals, ends)]


def background_by_power(maps: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Score of the background (H, W): (1 - highest map) ** alpha (PSA); the larger alpha, the less background.

    Args:
        maps: (K, H, W) in [0, 1], K at least 1.
        alpha: above 0.
    """
    # Rounding may leave a map above 1 by a little, where a fraction's power is not a number.
    background: NDArray[np.float32] = (1 - maps.max(axis=0)).clip(0) ** np.float32(alpha)
    return background


def unary_from_maps(maps: NDArray[np.float32], background: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unary potentials (K + 1, H, W), the background's first: -log of the scores, which are left unnormalised.

    Args:
        maps: (K, H, W) in [0, 1].
        background: (H, W) in [0, 1].
    """
    scores = np.concatenate([background[None], maps]).astype(np.float32, copy=False)
    unary: NDArray[np.float32] = -np.log(scores.clip(LOWEST_SCORE, 1))
    return unary


def unary_from_labels(labels: NDArray[np.integer], num_labels: int) -> NDArray[np.float32]:
    """Unary potentials (L, H, W) of labels that are right with probability 0.7, all others being equally likely.

    Args:
        labels: (H, W) from 0 to L - 1.
        num_labels: L.
    """
    others = (1 - _CERTAINTY) / max(num_labels - 1, 1)
    chosen = labels == np.arange(num_labels)[:, None, None]
    return np.where(chosen, np.float32(-np.log(_CERTAINTY)), np.float32(-np.log(others)))


def seed_labels(
    photo: NDArray[np.uint8], maps: NDArray[np.float32], class_ids: NDArray[np.uint8], *, settings: CrfSettings,
    threshold: float,
) -> NDArray[np.uint8]:  # fmt: skip
    """Class ids (H, W) of seeds after the CRF, each one of the photo's own or the background.

    Args:
        photo: (H, W, 3).
        maps: (K, H, W) in [0, 1]; without a class all is background.
        class_ids: (K,) of the maps.
        settings: kernels, and how the background is scored.
        threshold: score of a constant background.
    """
    if not len(maps):
        return np.zeros(photo.shape[:2], np.uint8)
    match settings.background:
        case "power":
            background = background_by_power(maps, settings.alpha)
        case "constant":
            background = np.full(maps.shape[1:], threshold, np.float32)
    crf = DenseCrf(photo, PRESETS[settings.preset])
    (labels,) = _class_ids(crf, [unary_from_maps(maps, background)], class_ids)
    return labels


def irn_relations(
    photo: NDArray[np.uint8], maps: NDArray[np.float32], class_ids: NDArray[np.uint8], *, settings: RefinementSettings
) -> NDArray[np.uint8]:
    """Labels (H, W) that IRN learns relations from: confident classes and background, 255 (unlabelled) elsewhere.

    Seeds above `foreground` and those above `uncertain` go through the CRF: the first pass gives the confident
    classes, and what is background in both is confident background.

    Args:
        photo: (H, W, 3).
        maps: (K, H, W) in [0, 1]; without a class all is background.
        class_ids: (K,) of the maps.
        settings: both thresholds.
    """
    if not len(maps):
        return np.zeros(photo.shape[:2], np.uint8)
    unaries = [
        unary_from_labels(_winners(maps, threshold), len(maps) + 1)
        for threshold in (settings.foreground, settings.uncertain)
    ]
    sure, possible = _class_ids(DenseCrf(photo, PRESETS["irn"]), unaries, class_ids)
    return np.where(sure != BACKGROUND, sure, np.where(possible == BACKGROUND, BACKGROUND, IGNORE)).astype(np.uint8)


def affinity_relations(
    photo: NDArray[np.uint8], maps: NDArray[np.float32], class_ids: NDArray[np.uint8], *, settings: RefinementSettings
) -> NDArray[np.uint8]:
    """Labels (H, W) that PSA learns affinities from: confident classes and background, 255 (unlabelled) elsewhere.

    Two CRFs differ in the background's score, (1 - highest map) ** alpha. It is large with `low_alpha`, so classes that
    win against it are confident; it is small with `high_alpha`, so what is background even then is confident
    background. Where both hold, background counts.

    Args:
        photo: (H, W, 3).
        maps: (K, H, W) in [0, 1]; without a class all is background.
        class_ids: (K,) of the maps.
        settings: both exponents.
    """
    if not len(maps):
        return np.zeros(photo.shape[:2], np.uint8)
    unaries = [
        unary_from_maps(maps, background_by_power(maps, alpha)) for alpha in (settings.low_alpha, settings.high_alpha)
    ]
    sure, possible = _class_ids(DenseCrf(photo, PRESETS["cams"]), unaries, class_ids)
    return np.where(possible == BACKGROUND, BACKGROUND, np.where(sure != BACKGROUND, sure, IGNORE)).astype(np.uint8)


def _class_ids(
    crf: DenseCrf, unaries: list[NDArray[np.float32]], class_ids: NDArray[np.uint8]
) -> list[NDArray[np.uint8]]:
    """Most likely class ids (H, W) for each of the potentials, whose first label is the background."""
    label_ids = np.append(BACKGROUND, class_ids).astype(np.uint8)
    return [label_ids[marginals.argmax(axis=0)] for marginals in crf.infer_each(unaries)]


def _winners(maps: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Label (H, W) of the highest map plus one, 0 where it is not above the threshold."""
    winners: NDArray[np.intp] = np.where(maps.max(axis=0) > np.float32(threshold), maps.argmax(axis=0) + 1, 0)
    return winners


def _softmax(logits: NDArray[np.float32], ends: NDArray[np.intp]) -> NDArray[np.float32]:
    """Over the rows of each label set, in the memory of the logits."""
    for part in np.split(logits, ends):
        part -= part.max(axis=0)
        np.exp(part, out=part)
        part /= part.sum(axis=0)
    return logits
