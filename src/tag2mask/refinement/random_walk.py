"""A random walk of activation maps over the grid, along affinities between near cells.

Ahn and Kwak (PSA), CVPR 2018, 1803.10464, and Ahn, Cho and Kwak (IRN), CVPR 2019, 1904.05044. Their codes square the
matrix of transitions between all cells; here the maps take the same steps one by one, each a sum over neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from tag2mask.config import RefinementSettings
from tag2mask.neighbours import Offset, half_plane_offsets, path_cells
from tag2mask.refinement.compilation import compiled

Array = NDArray[np.floating]
"""float32 as networks give it, or float64."""


@dataclass(frozen=True)
class Affinities:
    """How alike near cells of a grid (h, w) are."""

    offsets: Sequence[Offset]
    """D offsets, one of each opposite two."""
    values: Array
    """(D, h, w) in [0, 1]: of each cell and the one at that offset from it, 0 where that is outside the grid."""


def boundary_affinities(edges: Array, radius: int) -> Affinities:
    """1 - the highest edge on the path between two cells (IRN).

    Args:
        edges: (h, w) in [0, 1].
        radius: cells nearer than this are related, in cells.
    """

    def affinity(offset: Offset) -> Array:
        return 1 - reduce(np.maximum, (_shifted(edges, cell, offset) for cell in path_cells(offset)))

    return _affinities(edges, radius, affinity)


def feature_affinities(features: Array, radius: int) -> Affinities:
    """exp(-|f - f'|) of the features of two cells, absolute differences averaged over channels (PSA).

    Args:
        features: (c, h, w).
        radius: cells nearer than this are related, in cells.
    """

    def affinity(offset: Offset) -> Array:
        difference = _shifted(features, offset, offset) - _shifted(features, (0, 0), offset)
        alike: Array = np.exp(-np.abs(difference).mean(axis=0))
        return alike

    return _affinities(features, radius, affinity)


def random_walk(maps: Array, affinities: Affinities, *, beta: float, log_steps: int) -> Array:
    """Maps after 2 ** `log_steps` steps; each value becomes a mean of its neighbours', weighed by affinity ** `beta`.

    Args:
        maps: (K, h, w), any range; constant ones stay as they are.
        affinities: on the same grid.
        beta: exponent that sharpens affinities.
        log_steps: logarithm to base 2 of the number of steps.

    Returns:
        (K, h, w) in the precision of the affinities.
    """
    num_maps, height, width = maps.shape
    offsets, weights = _transitions(affinities, beta)
    reach = int(np.abs(offsets).max())
    # Borders of zeros, so that no step asks where the grid ends.
    walking = np.zeros((num_maps, height + 2 * reach, width + 2 * reach), weights.dtype)
    inside = np.s_[:, reach : reach + height, reach : reach + width]
    walking[inside] = maps
    return _walk(walking, weights, offsets + reach, 2**log_steps)[inside]


def walk_from_boundaries(maps: Array, edges: Array, settings: RefinementSettings) -> Array:
    """Maps that have spread up to the boundaries, as IRN makes pseudo-labels of them.

    Args:
        maps: (K, h, w), not negative.
        edges: (h, w) in [0, 1].
        settings: of power, radius and walk.

    Returns:
        (K, h, w) in [0, 1], the highest value of all classes being 1 unless all are 0.
    """
    _check_grid(maps, edges)
    affinities = boundary_affinities(edges, settings.walk_radius)
    # What lies on a boundary belongs to neither side, so it does not spread.
    starting = maps**settings.power * (1 - edges)
    return _scaled(random_walk(starting, affinities, beta=settings.beta, log_steps=settings.log_steps))


def walk_from_features(maps: Array, features: Array, settings: RefinementSettings) -> Array:
    """Maps that have spread to what looks alike, as PSA refines them.

    Args:
        maps: (K, h, w), not negative.
        features: (c, h, w).
        settings: of power, radius and walk.

    Returns:
        (K, h, w) in [0, 1], the highest value of all classes being 1 unless all are 0.
    """
    _check_grid(maps, features)
    affinities = feature_affinities(features, settings.walk_radius)
    starting = maps**settings.power
    return _scaled(random_walk(starting, affinities, beta=settings.beta, log_steps=settings.log_steps))


def _affinities(maps: Array, radius: int, affinity: Callable[[Offset], Array]) -> Affinities:
    """Affinities of every half-plane offset, where both cells are in the grid."""
    height, width = maps.shape[-2:]
    offsets = half_plane_offsets(radius)
    values = np.zeros((len(offsets), height, width), maps.dtype)
    for value, (row, column) in zip(values, offsets, strict=True):
        if row < height and abs(column) < width:
            _shifted(value, (0, 0), (row, column))[:] = affinity((row, column))
    return Affinities(offsets, values)


def _shifted(maps: Array, cell: Offset, offset: Offset) -> Array:
    """A view of maps (..., h, w): what is at `cell` from each cell that has one at `offset` in the grid."""
    height, width = maps.shape[-2] - offset[0], maps.shape[-1] - abs(offset[1])
    top, left = cell[0], cell[1] + max(-offset[1], 0)
    return maps[..., top : top + height, left : left + width]


def _transitions(affinities: Affinities, beta: float) -> tuple[NDArray[np.int64], Array]:
    """All offsets (N, 2), that of no move included, and their shares (h, N, w) in a step to each cell."""
    num_offsets, height, width = affinities.values.shape
    offsets = np.zeros((2 * num_offsets + 1, 2), np.int64)
    # A row of the grid with all its shares fits in the processor's cache.
    shares = np.zeros((height, len(offsets), width), affinities.values.dtype)
    by_offset = shares.transpose(1, 0, 2)
    for index, (offset, value) in enumerate(zip(affinities.offsets, affinities.values, strict=True)):
        there, back = 2 * index, 2 * index + 1
        offsets[there], offsets[back] = offset, (-offset[0], -offset[1])
        by_offset[there] = value**beta
        if offset[0] < height and abs(offset[1]) < width:
            _shifted(by_offset[back], offset, offset)[:] = _shifted(by_offset[there], (0, 0), offset)
    # Staying is the last and mostly the largest share: after it, small ones would be lost in rounding at every step.
    by_offset[-1] = 1
    # In float64: an error of the sum would grow with every step.
    by_offset /= by_offset.sum(axis=0, dtype=np.float64)
    return offsets, shares


@compiled(fastmath={"contract"}, nogil=True)
def _walk(maps: Array, shares: Array, places: NDArray[np.int64], num_steps: int) -> Array:
    """Maps (K, h + 2r, w + 2r) after the steps; `places` (N, 2) are offsets counted from the corner (-r, -r)."""
    height, num_places, width = shares.shape
    reach = (maps.shape[1] - height) // 2
    after = np.zeros_like(maps)
    for _ in range(num_steps):
        for row in range(height):
            for index in range(maps.shape[0]):
                total = after[index, row + reach, reach : reach + width]
                total[:] = 0
                for place in range(num_places):
                    share = shares[row, place]
                    left = places[place, 1]
                    neighbour = maps[index, row + places[place, 0], left : left + width]
                    for column in range(width):
                        total[column] += share[column] * neighbour[column]
        maps, after = after, maps
    return maps


def _check_grid(maps: Array, relations: Array) -> None:
    if maps.shape[-2:] != relations.shape[-2:]:
        raise ValueError(
            f"maps have {maps.shape[-2]}x{maps.shape[-1]} cells, but what relates them has "
            f"{relations.shape[-2]}x{relations.shape[-1]}"
        )


def _scaled(maps: Array) -> Array:
    highest = maps.max(initial=0)
    return maps / highest if highest > 0 else maps
