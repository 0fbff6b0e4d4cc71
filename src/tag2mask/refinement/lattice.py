"""Gaussian filtering of values at scattered points of a space with few dimensions, on a permutohedral lattice.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010. Rounding
and the order of the blurs are those of the dense CRF by Kraehenbuehl and Koltun, so that the sums agree with theirs.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tag2mask.refinement.compilation import compiled
from tag2mask.refinement.four_floats import add_scaled, each, four, load_four, store_four

# Points whose simplices are found together, so that what is known of them stays in the fastest cache.
_BLOCK = 128
# Up to here float32 tells an eighth of a step from the next.
_MAX_COORDINATE = 2**20
_MAX_KEY = 2**62


@dataclass(frozen=True, eq=False)
class Lattice:
    """Where N points lie between M vertices; all filtering at these points shares it."""

    vertices: NDArray[np.uint32]
    """(N, d + 1): corners of the simplex that a point lies in."""
    weights: NDArray[np.float32]
    """(N, d + 1): a point's shares in those corners."""
    neighbours: NDArray[np.uint32]
    """(d + 1, M, 2): vertices one step back and one forth along each axis, M where the lattice has none."""

    def filter(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sums over all points, its own value included, with weights of about exp(-|f - f'|^2 / 2) times a constant.

        Args:
            values: (L, N); time grows with every fourth row.

        Returns:
            (L, N).
        """
        return _filter(self.vertices, self.weights, self.neighbours, np.ascontiguousarray(values, np.float32))

    def normalised(self, factor: float) -> "Lattice":
        """The lattice that filters with factor * D^-1/2 K D^-1/2: K is this one's matrix, the diagonal D its row sums.

        Args:
            factor: at least 0.
        """
        sums = self.filter(np.ones((1, len(self.vertices)), np.float32))[0]
        return replace(self, weights=self.weights * np.sqrt(np.float32(factor) / sums)[:, None])


def build_lattice(features: NDArray[np.float32]) -> Lattice:
    """The lattice around points, its vertices numbered in the order in which the points need them.

    Args:
        features: (d, N), in units of the Gaussian's deviation.

    Raises:
        OverflowError: points too far from the origin, or from each other, to tell their vertices apart.
    """
    features = np.ascontiguousarray(features, np.float32)
    num_axes = len(features)
    axis = np.arange(1, num_axes + 1)
    # E of Adams et al., section 3.1; its last factor is the deviation of the blurs.
    scales = (1 / np.sqrt(axis * (axis + 1.0)) * np.float32(np.sqrt(2 / 3) * (num_axes + 1))).astype(np.float32)
    # How a point's first d coordinates change with its features; signs do not matter here.
    changes = (np.triu(np.ones((num_axes, num_axes))) + np.diag(axis[:-1], -1)) * scales
    reach = (changes @ np.abs(features).max(axis=1)).max()
    # These coordinates are digits of a vertex's key, the last one follows, as all sum to 0. Vertices and their
    # neighbours lie up to 2 d on either side of the points.
    spans = np.ceil(changes @ np.ptp(features, axis=1)) + 4 * (num_axes + 1)
    # Written so that NaN fails too.
    if not (reach < _MAX_COORDINATE and spans.prod() < _MAX_KEY):
        raise OverflowError(
            f"points in {num_axes} dimensions reach coordinate {reach:.0f}, too far from the origin or from each other "
            "to tell their vertices apart"
        )
    units = np.append(np.cumprod(np.append(1, spans[:-1].astype(np.int64))), 0)
    # One step forth along an axis takes d from that coordinate and adds 1 to all others.
    steps = units.sum() - (num_axes + 1) * units
    vertices, weights, keys, table = _embed(features, scales, units, steps)
    return Lattice(vertices, weights, _neighbours(keys, table, steps))


@compiled()
def _embed(
    features: NDArray[np.float32], scales: NDArray[np.float32], units: NDArray[np.int64], steps: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.int64], NDArray[np.uint32]]:
    """Vertices (N, d + 1) and weights of all points, keys (M,) of the vertices and their table."""
    num_axes, num_points = features.shape
    num_corners = num_axes + 1
    vertices = np.empty((num_points, num_corners), np.uint32)
    weights = np.empty((num_points, num_corners), np.float32)
    block = np.zeros((num_axes, _BLOCK), np.float32)
    elevated = np.empty((num_corners, _BLOCK), np.float32)
    offsets = np.empty((num_corners, _BLOCK), np.float32)
    origins = np.empty((num_corners, _BLOCK), np.float32)
    ranks = np.empty((num_corners, _BLOCK), np.int32)
    axes = np.empty(num_corners, np.int64)
    table = _empty_table(4 * num_points)
    keys = np.empty(len(table) // 2, np.int64)
    num_vertices = np.uint32(0)
    for start in range(0, num_points, _BLOCK):
        stop = min(start + _BLOCK, num_points)
        block[:, : stop - start] = features[:, start:stop]
        _elevate(block, scales, elevated)
        _find_simplices(elevated, origins, offsets, ranks)
        for place in range(stop - start):
            key = np.int64(0)
            for axis in range(num_corners):
                key += np.int64(origins[axis, place]) * units[axis]
                axes[num_axes - ranks[axis, place]] = axis
            # Corner to corner is a step forth along each axis in turn, with which its share enters.
            before = offsets[axes[num_axes], place] - np.float32(1)
            for corner in range(num_corners):
                share = offsets[axes[corner], place]
                weights[start + place, corner] = share - before
                before = share
                slot = _slot(table, keys, key)
                if table[slot] == 0:
                    keys[num_vertices] = key
                    num_vertices += np.uint32(1)
                    table[slot] = num_vertices
                vertices[start + place, corner] = table[slot] - np.uint32(1)
                key += steps[axes[corner]]
            if 2 * (num_vertices + num_corners) > len(table):
                table, keys = _grown(table, keys[:num_vertices])
    return vertices, weights, keys[:num_vertices], table


@compiled()
def _elevate(features: NDArray[np.float32], scales: NDArray[np.float32], elevated: NDArray[np.float32]) -> None:
    """Coordinates (d + 1, B) of a block of points in the space where the lattice is the plane of sum 0."""
    num_axes, size = features.shape
    sums = elevated[0]
    sums[:] = 0
    for axis in range(num_axes, 0, -1):
        for place in range(size):
            scaled = features[axis - 1, place] * scales[axis - 1]
            elevated[axis, place] = sums[place] - np.float32(axis) * scaled
            sums[place] += scaled


@compiled()
def _find_simplices(
    elevated: NDArray[np.float32], origins: NDArray[np.float32], offsets: NDArray[np.float32],
    ranks: NDArray[np.int32],
) -> None:  # fmt: skip
    """Simplices of a block of points; all arrays are (d + 1, B), and all but the first are filled.

    Args:
        elevated: coordinates.
        origins: of the corner whose coordinates are multiples of d + 1.
        offsets: from that corner, in units of d + 1.
        ranks: of each axis among the offsets, 0 = largest.
    """
    num_corners, size = elevated.shape
    side = np.float32(num_corners)
    ranks[:] = 0
    for axis in range(num_corners):
        for place in range(size):
            cells = np.rint(elevated[axis, place] * (np.float32(1) / side))
            origins[axis, place] = cells * side
            offsets[axis, place] = elevated[axis, place] - origins[axis, place]
            ranks[0, place] += np.int32(cells)
    # What rounding added to the plane's sum of 0 shifts all ranks; axes that leave 0 to d give way by one cell.
    for axis in range(1, num_corners):
        ranks[axis] = ranks[0]
    for axis in range(num_corners):
        for other in range(axis + 1, num_corners):
            for place in range(size):
                smaller = np.int32(offsets[axis, place] < offsets[other, place])
                ranks[axis, place] += smaller
                ranks[other, place] += np.int32(1) - smaller
    for axis in range(num_corners):
        for place in range(size):
            rank = ranks[axis, place]
            turn = np.int32(rank < 0) - np.int32(rank >= num_corners)
            ranks[axis, place] = rank + turn * np.int32(num_corners)
            origins[axis, place] += np.float32(turn) * side
            offsets[axis, place] = (elevated[axis, place] - origins[axis, place]) * (np.float32(1) / side)


@compiled()
def _neighbours(keys: NDArray[np.int64], table: NDArray[np.uint32], steps: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Neighbours (d + 1, M, 2) of all vertices."""
    neighbours = np.full((len(steps), len(keys), 2), len(keys), np.uint32)
    for axis in range(len(steps)):
        for vertex in range(len(keys)):
            found = table[_slot(table, keys, keys[vertex] + steps[axis])]
            if found > 0:
                neighbours[axis, vertex, 1] = found - np.uint32(1)
                neighbours[axis, found - np.uint32(1), 0] = vertex
    return neighbours


@compiled()
def _empty_table(num_slots: int) -> NDArray[np.uint32]:
    """Open addressing: a slot holds 1 + the number of its vertex, 0 where it is free; the size is a power of 2."""
    size = 64
    while size < num_slots:
        size *= 2
    return np.zeros(size, np.uint32)


@compiled()
def _grown(table: NDArray[np.uint32], keys: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Twice as many slots, half as many keys as slots."""
    grown = _empty_table(2 * len(table))
    room = np.empty(len(grown) // 2, np.int64)
    room[: len(keys)] = keys
    for vertex in range(len(keys)):
        grown[_slot(grown, keys, keys[vertex])] = vertex + 1
    return grown, room


@compiled()
def _slot(table: NDArray[np.uint32], keys: NDArray[np.int64], key: np.int64) -> np.uint64:
    """Where a key is, or the free slot that it would have."""
    # Keys differ by few patterns and crowd unless all of their bits are mixed; the factors are MurmurHash3's.
    mixed = np.uint64(key) * np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xC4CEB9FE1A85EC53)
    mixed ^= mixed >> np.uint64(32)
    last = np.uint64(len(table) - 1)
    slot = mixed & last
    while table[slot] > 0 and keys[table[slot] - np.uint32(1)] != key:
        slot = (slot + np.uint64(1)) & last
    return slot


@compiled()
def _filter(
    vertices: NDArray[np.uint32], weights: NDArray[np.float32], neighbours: NDArray[np.uint32],
    values: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """Values (L, N) spread to the vertices, blurred along each axis and gathered again, four rows at a time."""
    num_axes, num_vertices, _ = neighbours.shape
    # One more vertex stands for all that the lattice lacks, and stays 0.
    before = np.zeros((num_vertices + 1, 4), np.float32)
    after = np.zeros((num_vertices + 1, 4), np.float32)
    filtered = np.empty_like(values)
    half = np.float32(0.5)
    for row in range(0, len(values), 4):
        before[:] = 0
        _spread(vertices, weights, values[row : row + 4], before)
        for axis in range(num_axes):
            for vertex in range(num_vertices):
                total = add_scaled(load_four(before, vertex), half, load_four(before, neighbours[axis, vertex, 0]))
                total = add_scaled(total, half, load_four(before, neighbours[axis, vertex, 1]))
                store_four(after, vertex, total)
            before, after = after, before
        _gather(vertices, weights, before, filtered[row : row + 4])
    return filtered


@compiled()
def _spread(
    vertices: NDArray[np.uint32], weights: NDArray[np.float32], values: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:  # fmt: skip
    """Add at most four rows of values at points to sums at vertices."""
    num_points, num_corners = vertices.shape
    last = len(values) - 1
    first, second, third, fourth = values[0], values[min(1, last)], values[min(2, last)], values[last]
    for point in range(num_points):
        value = four(first[point], second[point], third[point], fourth[point])
        for corner in range(num_corners):
            vertex = vertices[point, corner]
            store_four(sums, vertex, add_scaled(load_four(sums, vertex), weights[point, corner], value))


@compiled()
def _gather(
    vertices: NDArray[np.uint32], weights: NDArray[np.float32], sums: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:  # fmt: skip
    """Read at most four rows of values at points from sums at vertices."""
    num_points, num_corners = vertices.shape
    last = len(values) - 1
    first, second, third, fourth = values[0], values[min(1, last)], values[min(2, last)], values[last]
    nothing = np.float32(0)
    for point in range(num_points):
        total = four(nothing, nothing, nothing, nothing)
        for corner in range(num_corners):
            total = add_scaled(total, weights[point, corner], load_four(sums, vertices[point, corner]))
        first[point], second[point], third[point], fourth[point] = each(total)
