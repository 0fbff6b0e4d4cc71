"""How good label maps are: pixel counts of predicted against true classes, and IoU, precision and recall from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tag2mask.data.classes import BACKGROUND, BACKGROUND_NAME, IGNORE

# As in the released code: a class without any pixel gets 0, and no division is by zero.
_EPSILON = 1e-10


class ClassScores(NamedTuple):
    """One value per class, background first: arrays (..., C + 1), scores in [0, 1]."""

    iou: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    is_shown: NDArray[np.bool_]
    """Whether any true pixel is of the class."""


@dataclass(frozen=True)
class Scores:
    """What one set of label maps is worth, each value in [0, 1]."""

    miou: float
    """Mean of `iou` over all classes, background among them."""
    precision: float
    """Share of the pixels predicted as a class that are of it; mean over the foreground classes."""
    recall: float
    """Share of the true pixels of a class that are predicted as it; mean over the foreground classes."""
    iou: dict[str, float | None]
    """Intersection over union by class name, background first; None where no true pixel is of the class, which then
    counts as 0 in the averages."""


def confusion_matrix(
    prediction: NDArray[np.uint8], label_map: NDArray[np.uint8], *, num_classes: int
) -> NDArray[np.int64]:
    """Pixels by predicted class (row) and true class (column); add the matrices of several photos.

    A true 255 does not count. A predicted 255 finds nothing: it counts as a pixel of its true class that was missed.

    Args:
        prediction: class ids (H, W) 0 to C, or 255.
        label_map: true class ids (H, W) 0 to C, or 255.
        num_classes: C, foreground classes.

    Returns:
        Counts (C + 2, C + 1); the last row holds predictions of 255.

    Raises:
        ValueError: the two are not uint8, of different shapes, or have a class beyond C.
    """
    check_label_type(prediction)
    check_label_type(label_map)
    if prediction.shape != label_map.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, but its label map has {label_map.shape}")
    rows = label_columns(num_classes)[prediction]
    columns = label_columns(num_classes)[label_map]
    width = num_classes + 3
    counts = np.bincount((rows * width + columns).ravel(), minlength=width * width).reshape(width, width)
    if counts[-1].any() or counts[:, -1].any():
        raise ValueError(unknown_class(prediction if counts[-1].any() else label_map, num_classes))
    return counts[: num_classes + 2, : num_classes + 1].astype(np.int64)


def scores_from_confusion(confusion: NDArray[np.int64], class_names: Sequence[str]) -> Scores:
    """Averages and IoU by name.

    A class that is in no mask counts as 0 in every average, as in the released code: compare figures only between runs
    on the same photos, and leave classes out of the data set that no photo has.

    Args:
        confusion: counts (C + 1 or C + 2, C + 1) as `confusion_matrix` gives them.
        class_names: the C foreground classes in the order of their ids.

    Raises:
        ValueError: there is not one name per foreground class.
    """
    return average_scores(class_scores(confusion), class_names)


def class_scores(confusion: NDArray[np.int64]) -> ClassScores:
    """IoU, precision and recall of every class.

    Args:
        confusion: counts (..., C + 1 or C + 2, C + 1), predicted by true; a last extra row is predictions of 255.
    """
    num_labels = confusion.shape[-1]
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    predicted = confusion[..., :num_labels, :].sum(axis=-1)
    true = confusion.sum(axis=-2)
    return ClassScores(
        iou=hits / (true + predicted - hits + _EPSILON),
        precision=hits / (predicted + _EPSILON),
        recall=hits / (true + _EPSILON),
        is_shown=true > 0,
    )


def mean_iou_of_shown(confusion: NDArray[np.int64]) -> float:
    """Mean IoU in [0, 1] of the classes with a true or a predicted pixel, of which there is one.

    Args:
        confusion: counts as for `class_scores`, of one photo.
    """
    shown = confusion[: confusion.shape[1]].any(axis=1) | confusion.any(axis=0)
    return float(class_scores(confusion).iou[shown].mean())


def average_scores(scores: ClassScores, class_names: Sequence[str]) -> Scores:
    """The averages of arrays (C + 1,), with the C foreground classes by name."""
    if len(class_names) + 1 != len(scores.iou):
        raise ValueError(f"found {len(class_names)} class names, expected {len(scores.iou) - 1} without the background")
    of_classes = zip((BACKGROUND_NAME, *class_names), scores.iou.tolist(), scores.is_shown.tolist(), strict=True)
    return Scores(
        miou=float(scores.iou.mean()),
        precision=float(foreground_mean(scores.precision)),
        recall=float(foreground_mean(scores.recall)),
        iou={name: value if is_shown else None for name, value, is_shown in of_classes},
    )


def foreground_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of (..., C + 1) over all classes but the background."""
    mean: NDArray[np.float64] = values[..., BACKGROUND + 1 :].mean(axis=-1)
    return mean


def label_columns(num_classes: int) -> NDArray[np.int32]:
    """Row or column that counts each label value, (256,): ids 0 to C stay, 255 goes to C + 1, unknown ids to C + 2."""
    columns = np.full(256, num_classes + 2, np.int32)
    columns[: num_classes + 1] = np.arange(num_classes + 1)
    columns[IGNORE] = num_classes + 1
    return columns


def check_label_type(label_map: NDArray[np.generic]) -> None:
    """Refuse ids of a type that may hold -1 or a probability."""
    if label_map.dtype != np.uint8:
        raise ValueError(f"label map is {label_map.dtype}, expected uint8 class ids")


def unknown_class(label_map: NDArray[np.uint8], num_classes: int) -> str:
    """One line on a label map that has a class beyond the data set's."""
    top = int(label_map[label_map != IGNORE].max())
    return f"label map has class {top}, but expected 0 to {num_classes} or {IGNORE} (ignored)"
