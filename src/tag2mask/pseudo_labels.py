"""From activation maps to pseudo-labels, and a background threshold for them that needs no mask.

The estimate is Fisher's linear discriminant ("The use of multiple measurements in taxonomic problems", 1936), asked of
each photo at every threshold: how well do colours and textures tell what the label map calls foreground? It is asked of
the seeds. Maps that were made of these, which may be of quite another distribution, take over the foreground's share.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.evaluation.thresholds import NUM_STEPS, THRESHOLDS

# Cells from the centre of the window in which texture is seen: about 20 pixels across at the maps' stride of 4.
_REACH = 2
# Variance of a level that was rounded to one of 256: a photo that varies less says nothing.
_ROUNDING = 1 / 12


def label_map_from_maps(
    maps: NDArray[np.float32], class_ids: ArrayLike, *, threshold: float, uncertain: float
) -> NDArray[np.uint8]:
    """The class with the highest activation where that is above the threshold, else background.

    Args:
        maps: activation maps (K, H, W) in [0, 1]; without a class all is background.
        class_ids: (K,) distinct ids from 1; of equal activations the lowest id wins.
        threshold: the background's score.
        uncertain: pixels whose highest activation is nearer than this to the threshold become 255.

    Returns:
        Class ids (H, W), 0 = background, 255 = ignored.

    Raises:
        ValueError: there is not one map per class.
    """
    classes = np.asarray(class_ids, np.uint8)
    if len(maps) != len(classes):
        raise ValueError(f"found {len(maps)} activation maps for {len(classes)} classes, expected one map per class")
    if not len(classes):
        return np.full(maps.shape[1:], BACKGROUND, np.uint8)
    order = np.argsort(classes)
    highest = maps.max(axis=0)
    label_map: NDArray[np.uint8] = classes[order][maps[order].argmax(axis=0)]
    # In float32 like the maps, so that an activation that equals the threshold is not above it.
    label_map[highest <= np.float32(threshold)] = BACKGROUND
    label_map[np.abs(highest - np.float32(threshold)) < np.float32(uncertain)] = IGNORE
    return label_map


def estimate_threshold(photos: Iterable[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> float:
    """Estimate the threshold at which colours and textures tell foreground from background best; no mask is read.

    At each threshold and in each photo a cell is foreground where its highest activation is above the threshold. The
    share of the variance of these labels that a linear function of the cell's surroundings explains (mean and deviation
    of red, green and blue in a window) is averaged over photos, and the threshold with the highest average is taken.

    It assumes that objects differ from their surroundings in colour or texture, that the maps order cells roughly from
    object to surroundings, and that one threshold serves all photos. Any rising function of the maps gives the same
    label maps, so the scale of the activations does not matter. It fails where objects look like what is around them,
    where something that always stands with an object (water below a boat) looks more distinct than the object and is
    activated with it, and where a part of an object (a head) is more distinct than the whole. The window widens objects
    with sharp borders by up to its reach of two cells. Fifty photos or fewer may mislead it, hundreds seldom do.

    Args:
        photos: pairs of photo (H, W, 3), RGB, at its own or the maps' size, and activation maps (K, h, w) in [0, 1],
            such as those stored at a quarter of its sides; a photo without maps counts for nothing.

    Returns:
        One of 0, 0.01, ... 1; the lowest of several.

    Raises:
        ValueError: no photo tells one threshold from another.
    """
    total = np.zeros(len(THRESHOLDS))
    num_photos = 0
    for photo, maps in photos:
        num_photos += 1
        if len(maps):
            total += _explained_shares(_surroundings(_resized(photo, *maps.shape[1:])), maps.max(axis=0))
    if not total.any():
        raise ValueError(
            f"no threshold follows from {num_photos} photos: none has a map whose foreground differs from its "
            "background in colour or texture; set labels.threshold_source to fixed"
        )
    return int(total.argmax()) / NUM_STEPS


def foreground_shares(maps: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Share of the photos that is foreground at each of the T thresholds.

    Args:
        maps: activation maps (K, h, w) in [0, 1] of each photo; a photo without maps is all background.

    Returns:
        (T,) in [0, 1], falling; every photo weighs the same.
    """
    total = np.zeros(len(THRESHOLDS))
    num_photos = 0
    for of_photo in maps:
        num_photos += 1
        if len(of_photo):
            bins = THRESHOLDS.searchsorted(of_photo.max(axis=0).ravel())
            total += _sums_above(bins, np.ones(len(bins))) / len(bins)
    return total / max(num_photos, 1)


def threshold_of_share(maps: Iterable[NDArray[np.float32]], share: float) -> float:
    """The threshold at which the foreground's share of the photos is nearest to `share`.

    Args:
        maps: as for `foreground_shares`.
        share: in [0, 1].

    Returns:
        One of 0, 0.01, ... 1; the lowest of several.
    """
    return int(np.abs(foreground_shares(maps) - share).argmin()) / NUM_STEPS


def _resized(photo: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The photo at the maps' size, each cell the mean of its pixels."""
    if photo.shape[:2] == (height, width):
        return photo
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BOX))


def _surroundings(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation (h, w, 6) of each channel in the window around each cell."""
    levels = photo.astype(np.float64)
    mean = _window_mean(levels)
    variance = _window_mean(levels**2) - mean**2
    # Rounding takes the difference of equal numbers below 0.
    return np.concatenate([mean, np.sqrt(variance.clip(0))], axis=-1)


def _window_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of (h, w, C) over the square window around each cell; beyond the border its cells are repeated."""
    (height, width), side = values.shape[:2], 2 * _REACH + 1
    padded = np.pad(values, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), "edge")
    total = np.zeros_like(values)
    for row, column in np.ndindex(side, side):
        total += padded[row : row + height, column : column + width]
    return total / side**2


def _explained_shares(features: NDArray[np.float64], highest: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share in [0, 1] of the labels' variance that is linear in the features, at each of the T thresholds.

    Args:
        features: (h, w, F).
        highest: activations (h, w).

    Returns:
        (T,), 0 where all cells are of one label.
    """
    features = features.reshape(-1, features.shape[-1])
    features = features - features.mean(axis=0)
    num_cells = len(features)
    # A cell is foreground at as many of the lowest thresholds as its activation is above.
    bins = THRESHOLDS.searchsorted(highest.ravel())
    num_foreground = _sums_above(bins, np.ones(num_cells))
    sums = np.stack([_sums_above(bins, feature) for feature in features.T], axis=1)
    scatter = features.T @ features + np.eye(features.shape[1]) * (num_cells * _ROUNDING)
    # Least squares of the labels on the features: s S^-1 s, of their own variance n_f * n_b / n.
    explained = (sums * np.linalg.solve(scatter, sums.T).T).sum(axis=1)
    variance = num_foreground * (num_cells - num_foreground) / num_cells
    shares: NDArray[np.float64] = np.divide(explained, variance, out=np.zeros_like(explained), where=variance > 0)
    return shares


def _sums_above(bins: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (T,) of the values of the cells that are foreground at each threshold."""
    sums = np.bincount(bins, values, len(THRESHOLDS) + 1)
    # Summed from the top: entry t has the bins above t.
    return sums[:0:-1].cumsum()[::-1]
