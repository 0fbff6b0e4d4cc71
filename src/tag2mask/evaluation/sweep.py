"""Activation maps at every background threshold, measured in one pass over the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tag2mask.data.classes import BACKGROUND
from tag2mask.evaluation.confusion import (
    ClassScores,
    Scores,
    average_scores,
    check_label_type,
    class_scores,
    foreground_mean,
    label_columns,
    mean_iou_of_shown,
    unknown_class,
)
from tag2mask.evaluation.thresholds import NUM_STEPS, THRESHOLDS
from tag2mask.files import replacing

_FILE_NAME = "sweep.npz"


@dataclass(frozen=True)
class SweepScores:
    """Scores in [0, 1] at each of the T = 101 thresholds."""

    miou: NDArray[np.float64]
    """(T,), mean over all C + 1 classes."""
    precision: NDArray[np.float64]
    """(T,), mean over the foreground classes."""
    recall: NDArray[np.float64]
    """(T,), mean over the foreground classes."""
    classes: ClassScores
    """Values of every class, arrays (T, C + 1), background first."""

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union (T, C + 1), background first."""
        return self.classes.iou

    def best(self) -> float:
        """The threshold with the highest mIoU; the lowest of several."""
        return int(self.miou.argmax()) / NUM_STEPS

    def at(self, threshold: float, class_names: Sequence[str]) -> Scores:
        """Scores at one of the thresholds, with the C foreground classes by name."""
        index = round(threshold * NUM_STEPS)
        if not 0 <= index <= NUM_STEPS or abs(threshold - index / NUM_STEPS) > 1e-6:
            raise ValueError(f"threshold {threshold} was not measured: expected one of 0, {1 / NUM_STEPS}, ... 1")
        at_index = ClassScores(*(values[index] for values in self.classes))
        return average_scores(at_index, class_names)


class PhotoSweep(NamedTuple):
    """Counts of one photo, whose sums give the confusion matrix at any threshold."""

    classes: NDArray[np.intp]
    """(K,) ids of the classes that can be predicted."""
    counts: NDArray[np.int64]
    """(T + 1, K, C + 1) by bin, predicted and true class: bin b holds the pixels that are foreground at the b lowest
    thresholds."""

    def iou(self) -> NDArray[np.float64]:
        """Mean IoU (T,) of the classes that the photo shows, at every threshold; empty where no pixel counts."""
        pixels = self.counts.sum(axis=(0, 1))
        if not pixels.any():
            return np.zeros(0)
        labels = np.union1d(np.append(BACKGROUND, self.classes), pixels.nonzero()[0])
        counts = np.zeros((len(self.counts), len(labels), len(labels)), np.int64)
        counts[:, labels.searchsorted(self.classes)] = self.counts[:, :, labels]
        return np.array([mean_iou_of_shown(confusion) for confusion in _confusion(counts)])


class ThresholdSweep:
    """Counts of all photos, whose sums give the confusion matrix at any threshold.

    At a threshold t a pixel is of the class with the highest activation if that activation is above t, else background;
    of equal activations the lowest class id wins.
    """

    def __init__(self, num_classes: int) -> None:
        num_bins, num_labels = len(THRESHOLDS) + 1, num_classes + 1
        # As in `PhotoSweep`, for all classes.
        self.counts = np.zeros((num_bins, num_labels, num_labels), np.int64)

    def add(self, photo: PhotoSweep) -> None:
        """Adds what was counted of one photo."""
        self.counts[:, photo.classes] += photo.counts

    def confusion(self) -> NDArray[np.int64]:
        """Pixels by threshold, predicted class and true class: (T, C + 1, C + 1)."""
        return _confusion(self.counts)

    def scores(self) -> SweepScores:
        """Scores at every threshold."""
        classes = class_scores(self.confusion())
        return SweepScores(
            miou=classes.iou.mean(axis=-1),
            precision=foreground_mean(classes.precision),
            recall=foreground_mean(classes.recall),
            classes=classes,
        )


def sweep_photo(
    cams: NDArray[np.float32], class_ids: ArrayLike, label_map: NDArray[np.uint8], *, num_classes: int
) -> PhotoSweep:
    """Counts one photo.

    Args:
        cams: activation maps (K, H, W) of the photo's K classes at full size.
        class_ids: (K,) distinct ids between 1 and C; may be empty.
        label_map: true class ids (H, W), 255 where it does not count.
        num_classes: C.

    Raises:
        ValueError: shapes, types or classes do not fit.
    """
    classes = np.asarray(class_ids, np.intp)
    _check(cams, classes, label_map, num_classes)
    if not len(classes):
        cams, classes = np.zeros((1, *label_map.shape), np.float32), np.array([BACKGROUND])
    order = np.argsort(classes)
    highest, winner = _highest(cams, order)
    num_columns = num_classes + 3
    index = (_num_thresholds_below(highest) * np.int32(len(order)) + winner) * np.int32(num_columns)
    index += label_columns(num_classes)[label_map]
    shape = len(THRESHOLDS) + 1, len(order), num_columns
    counts = np.bincount(index.ravel(), minlength=int(np.prod(shape))).reshape(shape)
    if counts[..., -1].any():
        raise ValueError(unknown_class(label_map, num_classes))
    return PhotoSweep(classes[order], counts[..., : num_classes + 1])


def write_sweep(folder: Path, sweep: ThresholdSweep) -> None:
    """Keep the counts, from which every score follows."""
    with replacing(folder / _FILE_NAME) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, counts=sweep.counts)


def read_sweep(folder: Path) -> ThresholdSweep:
    """The sweep that `write_sweep` kept."""
    with np.load(folder / _FILE_NAME, allow_pickle=False) as arrays:
        sweep = ThresholdSweep(arrays["counts"].shape[-1] - 1)
        sweep.counts = arrays["counts"]
    return sweep


def _check(
    cams: NDArray[np.float32], classes: NDArray[np.intp], label_map: NDArray[np.uint8], num_classes: int
) -> None:
    check_label_type(label_map)
    if cams.shape != (len(classes), *label_map.shape):
        expected = len(classes), *label_map.shape
        raise ValueError(f"activation maps have shape {cams.shape}, but tags and label map ask for {expected}")
    known = (classes > BACKGROUND) & (classes <= num_classes)
    if not known.all() or len(np.unique(classes)) != len(classes):
        raise ValueError(
            f"activation maps are of classes {classes.tolist()}, expected distinct ids from 1 to {num_classes}"
        )


def _confusion(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels by threshold, predicted and true label, background first: (T, L, L) of counts (T + 1, L, L)."""
    # Summed from the top: entry t has the bins above t, which are foreground at threshold t.
    above = counts[:0:-1].cumsum(axis=0)[::-1]
    above[:, BACKGROUND] = counts.sum(axis=(0, 1)) - above[:, BACKGROUND + 1 :].sum(axis=1)
    return above


def _highest(cams: NDArray[np.float32], order: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Highest activation of each pixel (H, W) and its place in `order`, the first of equals."""
    highest = cams[order[0]]
    winner = np.zeros(highest.shape, np.int32)
    for place, channel in enumerate(order[1:], start=1):
        np.copyto(winner, place, where=cams[channel] > highest)
        highest = np.maximum(highest, cams[channel])
    return highest, winner


def _num_thresholds_below(activation: NDArray[np.float32]) -> NDArray[np.int32]:
    """For each activation the number of thresholds that it is above, 0 to T, exact at the float32 edges."""
    nearest: NDArray[np.int32] = np.rint(activation * np.float32(NUM_STEPS)).clip(0, NUM_STEPS).astype(np.int32)
    # All thresholds before the nearest one are lower, all after it are higher, whatever the product's rounding.
    nearest += activation > THRESHOLDS[nearest]
    return nearest
