"""How the cost of a photo grows with its pixels and its classes, for every stage that works without a network.

    python benchmarks/stage_cost.py voc12-animals/JPEGImages

A photo is shown at several sizes and with several classes, whose maps are blurred discs. The slope is that of the
logarithms, from first to last: 1 = linear. The stages take photos one by one, so their cost is linear in photos.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from clocks import best_seconds
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import stored_size
from tag2mask.config import CrfSettings, RefinementSettings
from tag2mask.data.sizes import resize_maps
from tag2mask.evaluation.sweep import sweep_photo
from tag2mask.pseudo_labels import estimate_threshold, label_map_from_maps
from tag2mask.refinement.crf import irn_relations, seed_labels
from tag2mask.refinement.random_walk import walk_from_boundaries

SIDES = (128, 256, 512)
CLASSES = (1, 2, 4)
Stage = Callable[[NDArray[np.uint8], NDArray[np.float32]], object]


def discs(num_classes: int, side: int) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:side, :side] / side
    centres = [(0.3 + 0.4 * (index % 2), 0.3 + 0.4 * (index // 2)) for index in range(num_classes)]
    maps = [np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 0.02) for y, x in centres]
    return np.stack(maps).astype(np.float32)


def ids(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.arange(1, len(maps) + 1, dtype=np.uint8)


def small(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    return resize_maps(maps, *stored_size(*maps.shape[1:]))


def edges(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = stored_size(*photo.shape[:2])
    grey = np.asarray(Image.fromarray(photo).convert("L").resize((width, height)), np.float32) / 255
    return np.clip(4 * np.hypot(*np.gradient(grey)), 0, 1).astype(np.float32)


def count(photo: NDArray[np.uint8], maps: NDArray[np.float32]) -> None:
    truth = label_map_from_maps(maps, ids(maps), threshold=0.5, uncertain=0)
    sweep_photo(maps, ids(maps), truth, num_classes=max(CLASSES))


STAGES: dict[str, Stage] = {
    "crf": lambda photo, maps: seed_labels(photo, maps, ids(maps), settings=CrfSettings(), threshold=0.3),
    "relations": lambda photo, maps: irn_relations(photo, maps, ids(maps), settings=RefinementSettings()),
    "random walk": lambda photo, maps: walk_from_boundaries(small(maps), edges(photo), RefinementSettings()),
    "label map": lambda photo, maps: label_map_from_maps(maps, ids(maps), threshold=0.3, uncertain=0),
    "threshold estimate": lambda photo, maps: estimate_threshold([(photo, small(maps))]),
    "counts of 101 thresholds": count,
}


def slope(values: Sequence[float], sizes: Sequence[float]) -> float:
    return math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    first = Image.open(min(options.photos.glob("*.jpg"))).convert("RGB")
    photos = {side: np.asarray(first.resize((side, side))) for side in SIDES}
    for stage in STAGES.values():
        # Compiles what is compiled.
        stage(photos[SIDES[0]], discs(1, SIDES[0]))
    print(f"{'stage':26}{'seconds a photo at ' + ', '.join(f'{side}x{side}' for side in SIDES):48}slope"
          f"   {'with ' + ', '.join(map(str, CLASSES)) + ' classes':34}slope")  # fmt: skip
    for name, stage in STAGES.items():
        by_size = [best_seconds(partial(stage, photos[side], discs(2, side)), options.rounds) for side in SIDES]
        by_class = [best_seconds(partial(stage, photos[256], discs(number, 256)), options.rounds) for number in CLASSES]
        told = "  ".join(f"{value:.4f}" for value in by_size), "  ".join(f"{value:.4f}" for value in by_class)
        pixels = [side**2 for side in SIDES]
        print(f"{name:26}{told[0]:48}{slope(by_size, pixels):.2f}    {told[1]:34}{slope(by_class, CLASSES):.2f}")


if __name__ == "__main__":
    main()
