"""The threshold sweep against the usual loop: per threshold an argmax over channels and three masked sums per class.

Run: python benchmarks/sweep.py [--photos 2] [--classes 20]
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from tag2mask.evaluation.sweep import ThresholdSweep, sweep_photo
from tag2mask.evaluation.thresholds import THRESHOLDS

HEIGHT, WIDTH = 375, 500
PASSES = 20


def drawn_photo(
    rng: np.random.Generator, num_classes: int
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.uint8]]:
    """Hills of activation for three classes, and a label map that follows them in part."""
    class_ids = np.sort(rng.choice(np.arange(1, num_classes + 1), 3, replace=False))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] / np.array([HEIGHT, WIDTH])[:, None, None]
    cams = np.empty((3, HEIGHT, WIDTH), np.float32)
    for cam in cams:
        (y, x), spread = rng.random(2), rng.uniform(0.1, 0.3)
        cam[:] = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * spread**2))
    truth = cams + 0.3 * rng.random(cams.shape)
    label_map = np.where(truth.max(axis=0) > 0.5, class_ids[truth.argmax(axis=0)], 0).astype(np.uint8)
    label_map[rng.random(label_map.shape) < 0.05] = 255
    return cams, class_ids, label_map


def loop_counts(
    cams: NDArray[np.float32], class_ids: NDArray[np.intp], label_map: NDArray[np.uint8], num_classes: int
) -> NDArray[np.int64]:
    """Hits, predicted and true pixels of every class at every threshold: (T, 3, C + 1)."""
    counts = np.zeros((len(THRESHOLDS), 3, num_classes + 1), np.int64)
    scores = np.zeros((num_classes + 1, HEIGHT, WIDTH), np.float32)
    scores[class_ids] = cams
    counted = label_map < 255
    for index, threshold in enumerate(THRESHOLDS):
        scores[0] = threshold
        prediction = np.argmax(scores, axis=0).astype(np.uint8)
        for label in range(num_classes + 1):
            counts[index, 0, label] = np.sum((prediction == label) * (label_map == label) * counted)
            counts[index, 1, label] = np.sum((prediction == label) * counted)
            counts[index, 2, label] = np.sum((label_map == label) * counted)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=2)
    parser.add_argument("--classes", type=int, default=20)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    photos = [drawn_photo(rng, arguments.classes) for _ in range(arguments.photos)]

    start = time.perf_counter()
    expected = sum(loop_counts(*photo, arguments.classes) for photo in photos)
    loop_seconds = (time.perf_counter() - start) / len(photos)

    start = time.perf_counter()
    for _ in range(PASSES):
        sweep = ThresholdSweep(arguments.classes)
        for photo in photos:
            sweep.add(sweep_photo(*photo, num_classes=arguments.classes))
        confusion = sweep.confusion()
    sweep_seconds = (time.perf_counter() - start) / len(photos) / PASSES

    found = np.stack([np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2), confusion.sum(axis=1)], axis=1)
    if not np.array_equal(found, expected):
        raise SystemExit("the counts differ")
    print(f"{len(THRESHOLDS)} thresholds, {arguments.classes} classes, {HEIGHT}x{WIDTH} pixels, a photo:")
    print(f"loop {1000 * loop_seconds:.0f} ms, sweep {1000 * sweep_seconds:.2f} ms, equal counts")
    print(f"ratio {loop_seconds / sweep_seconds:.0f}")


if __name__ == "__main__":
    main()
