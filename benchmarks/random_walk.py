"""The random walk by steps on the grid against squaring the dense matrix of transitions, at equal results.

    python benchmarks/random_walk.py [--height 150] [--width 200] [--classes 2]

They are compared on a small photo, as the matrix of a photo of 375x500 pixels has 552 MB and is multiplied by itself
eight times; the steps alone are timed on that one too. Seconds are those of the processor.
"""

import argparse
import time
import tracemalloc
from functools import partial

import numpy as np
from clocks import best_seconds
from numpy.typing import NDArray

from tag2mask.cams.store import stored_size
from tag2mask.refinement.random_walk import Affinities, boundary_affinities, random_walk

BETA, LOG_STEPS, RADIUS = 10, 8, 5
PASSES = 5

Maps = NDArray[np.floating]


def drawn_photo(height: int, width: int, classes: int) -> tuple[Maps, Maps]:
    """Noise for maps, and sparse edges, at the grid of a photo."""
    draw = np.random.default_rng(0)
    size = stored_size(height, width)
    return draw.random((classes, *size), dtype=np.float32), draw.random(size, dtype=np.float32) ** 4


def steps(maps: Maps, edges: Maps) -> Maps:
    """Ours."""
    return random_walk(maps, boundary_affinities(edges, RADIUS), beta=BETA, log_steps=LOG_STEPS)


def squaring(maps: Maps, affinities: Affinities) -> Maps:
    """The dense way; the matrix is filled before, in whole rows."""
    _, height, width = affinities.values.shape
    matrix = np.eye(height * width, dtype=maps.dtype)
    cells = np.arange(height * width).reshape(height, width)
    for (down, right), values in zip(affinities.offsets, affinities.values, strict=True):
        left = max(-right, 0)
        here = cells[: height - down, left : left + width - abs(right)].ravel()
        there = here + down * width + right
        matrix[here, there] = matrix[there, here] = values.ravel()[here]
    transitions = matrix**BETA
    transitions /= transitions.sum(axis=0)
    for _ in range(LOG_STEPS):
        transitions = transitions @ transitions
    return (maps.reshape(len(maps), -1) @ transitions).reshape(maps.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=150)
    parser.add_argument("--width", type=int, default=200)
    parser.add_argument("--classes", type=int, default=2)
    arguments = parser.parse_args()
    maps, edges = drawn_photo(arguments.height, arguments.width, arguments.classes)

    steps(maps, edges)
    step_seconds = best_seconds(partial(steps, maps, edges), PASSES)
    start = time.process_time()
    squaring(maps, boundary_affinities(edges, RADIUS))
    dense_seconds = time.process_time() - start

    # Compared in float64, for squaring in float32 drifts by 4e-4.
    double_maps, double_edges = maps.astype(np.float64), edges.astype(np.float64)
    expected = squaring(double_maps, boundary_affinities(double_edges, RADIUS))
    difference = np.abs(steps(double_maps, double_edges) - expected).max()
    single_difference = np.abs(steps(maps, edges) - expected).max()
    if difference > 1e-6:
        raise SystemExit(f"the maps differ by {difference:.1e}")
    print(f"{arguments.height}x{arguments.width}, {arguments.classes} classes, {2**LOG_STEPS} steps:")
    print(
        f"squaring {dense_seconds:.2f} s, steps {1000 * step_seconds:.0f} ms, ratio {dense_seconds / step_seconds:.0f}"
    )
    print(f"largest difference {difference:.1e} in float64, {single_difference:.1e} of steps in float32")
    for height, width in ((375, 500), (750, 1000)):
        maps, edges = drawn_photo(height, width, arguments.classes)
        seconds = best_seconds(partial(steps, maps, edges), PASSES)
        tracemalloc.start()
        steps(maps, edges)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(f"{height}x{width}: steps {seconds:.2f} s, at most {peak / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
