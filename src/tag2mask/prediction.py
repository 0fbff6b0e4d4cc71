"""What a segmenter has seen in a photo: its label map, the classes' areas, an overlay, how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.data.classes import BACKGROUND, BACKGROUND_NAME, voc_palette

_OVERLAY_OPACITY = 0.6


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a segmenter sees in a photo."""

    photo: Image.Image
    """The photo, upright, RGB, of H rows and W columns."""
    label_map: NDArray[np.uint8]
    """(H, W) class ids, 0 = background."""
    class_names: tuple[str, ...]
    """Classes that it can be, in the order of their ids, which begin at 1."""

    @property
    def areas(self) -> dict[str, int]:
        """Number of pixels of background and of each class that was found in the photo, by name."""
        return class_areas(self.label_map, self.class_names)

    @property
    def overlay(self) -> Image.Image:
        """The photo with the classes' colours over it."""
        pixels = np.array(self.photo)
        covered = self.label_map != BACKGROUND
        below = pixels[covered].astype(np.float32)
        colours = np.asarray(voc_palette(), np.float32)[self.label_map[covered]]
        pixels[covered] = np.rint(below + np.float32(_OVERLAY_OPACITY) * (colours - below))
        return Image.fromarray(pixels)


@dataclass(frozen=True, eq=False)
class ScoredPrediction(Prediction):
    """What a segmenter sees in a photo, and how sure it is."""

    scores: NDArray[np.float32]
    """(C + 1, H, W) in [0, 1], background first.

    Of every pixel the softmax of the network, joined over the settings' scales and mirror images: their mean, which
    sums to 1 over the labels, or with `fuse: max` the highest of each label, which does not. After a CRF its
    probabilities instead, which sum to 1; labels that win no pixel before it are 0 everywhere. Scores of a photo that
    was brought down to `long_side` are interpolated. The label map is their argmax.
    """


def class_areas(label_map: NDArray[np.uint8], class_names: Sequence[str]) -> dict[str, int]:
    """Number of pixels of background and of each class that a label map has, by name."""
    names = (BACKGROUND_NAME, *class_names)
    counts = np.bincount(label_map.ravel(), minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}
