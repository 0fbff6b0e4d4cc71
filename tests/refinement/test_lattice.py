from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray

from tag2mask.refinement.lattice import build_lattice

Vertex = tuple[int, ...]


def plain_corners(feature: NDArray[np.float64]) -> dict[Vertex, float]:
    """Weights of the corners around one point, by the definition of the lattice."""
    num_axes = len(feature)
    elevation = np.zeros((num_axes + 1, num_axes))
    for axis in range(num_axes):
        elevation[: axis + 1, axis] = 1
        elevation[axis + 1, axis] = -(axis + 1)
        elevation[:, axis] *= np.sqrt(2 / 3) * (num_axes + 1) / np.sqrt((axis + 1) * (axis + 2))
    elevated = elevation @ feature
    # Of all vertices whose coordinates are multiples of d + 1, the nearest one.
    cells = np.rint(elevated / (num_axes + 1))
    while cells.sum() != 0:
        miss = elevated / (num_axes + 1) - cells
        if cells.sum() > 0:
            cells[miss.argmin()] -= 1
        else:
            cells[miss.argmax()] += 1
    offsets = elevated / (num_axes + 1) - cells
    order = np.argsort(offsets)
    corner = (cells * (num_axes + 1)).astype(int)
    corners = {}
    previous = offsets[order[-1]] - 1
    for axis in order:
        corners[tuple(corner)] = offsets[axis] - previous
        previous = offsets[axis]
        corner = corner + 1
        corner[axis] -= num_axes + 1
    return corners


def plain_filter(features: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spread, blur and gather with a dictionary of vertices."""
    num_axes = len(features)
    points = [plain_corners(feature) for feature in features.T.astype(float)]
    sums: dict[Vertex, NDArray[np.float64]] = defaultdict(lambda: np.zeros(len(values)))
    for corners, value in zip(points, values.T, strict=True):
        for corner, weight in corners.items():
            sums[corner] = sums[corner] + weight * value
    for axis in range(num_axes + 1):
        step = np.ones(num_axes + 1, int)
        step[axis] -= num_axes + 1
        before = dict(sums)
        for vertex in before:
            for other in (tuple(np.add(vertex, step)), tuple(np.subtract(vertex, step))):
                if other in before:
                    sums[vertex] = sums[vertex] + before[other] / 2
    return np.array([sum(weight * sums[corner] for corner, weight in corners.items()) for corners in points]).T


def dense_gaussian(features: NDArray[np.floating]) -> NDArray[np.floating]:
    """exp(-|f - f'|^2 / 2) between all points."""
    difference = features[:, :, None] - features[:, None, :]
    weights: NDArray[np.floating] = np.exp(-(difference**2).sum(axis=0) / 2)
    return weights


@pytest.mark.parametrize("num_axes", [1, 2, 5])
@pytest.mark.parametrize("spread", [1, 30])
def test_filter_equals_a_plain_lattice_with_a_dictionary(num_axes: int, spread: float):
    rng = np.random.default_rng(num_axes)
    features = (spread * rng.standard_normal((num_axes, 300))).astype(np.float32)
    values = rng.random((3, 300), np.float32)

    filtered = build_lattice(features).filter(values)

    assert filtered == pytest.approx(plain_filter(features, values), rel=2e-4)


def test_filter_is_a_dense_gaussian_within_the_lattices_approximation():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :32]
    colours = np.stack([40 * np.sin(rows / 9), 50 * np.cos(columns / 7), rows + columns]) + rng.normal(
        0, 3, (3, 24, 32)
    )
    features = np.concatenate([[columns / 8, rows / 8], colours / 13]).reshape(5, -1).astype(np.float32)
    values = np.stack([columns > 12, rows / 24, rng.random((24, 32))]).reshape(3, -1).astype(np.float32)
    weights = dense_gaussian(features)

    lattice = build_lattice(features)
    average = lattice.filter(values) / lattice.filter(np.ones_like(values))

    # A blur of 1/2, 1, 1/2 between simplices is no exact Gaussian: averages of values in [0, 1] differ by hundredths.
    error = np.abs(average - values @ weights / weights.sum(axis=0))
    assert error.mean() < 0.02
    assert error.max() < 0.1


def test_equal_points_share_one_sum_and_far_points_none():
    # 60 along the second axis is a whole number of simplices further, so all lie alike in theirs.
    features = np.float32([[0, 0, 0, 0], [0, 0, 0, 60]])
    values = np.float32([[1, 2, 3, 10]])

    (filtered,) = build_lattice(features).filter(values)

    alone = filtered[3] / 10
    assert filtered[:3] == pytest.approx(6 * alone)
    assert alone > 0


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 9])
def test_rows_are_filtered_as_if_alone(num_rows: int):
    rng = np.random.default_rng(0)
    lattice = build_lattice(rng.random((2, 40), np.float32))
    values = rng.random((num_rows, 40), np.float32)

    together = lattice.filter(values)

    assert np.array_equal(together, np.concatenate([lattice.filter(row[None]) for row in values]))


def test_normalised_divides_by_the_roots_of_both_points_row_sums():
    rng = np.random.default_rng(0)
    lattice = build_lattice(2 * rng.random((3, 30), np.float32))
    values = rng.random((2, 30), np.float32)

    filtered = lattice.normalised(7).filter(values)

    sums = lattice.filter(np.ones((1, 30), np.float32))
    assert filtered == pytest.approx(7 * lattice.filter(values / np.sqrt(sums)) / np.sqrt(sums), rel=1e-5)


def test_all_vertices_around_far_more_places_than_the_table_began_with_are_told_apart():
    features = (200 * np.random.default_rng(0).standard_normal((5, 500))).astype(np.float32).clip(-90, 90)

    lattice = build_lattice(features)

    assert lattice.neighbours.shape[1] == len({corner for point in features.T for corner in plain_corners(point)})


def test_points_as_far_as_those_of_the_longest_jpeg_share_no_vertex_by_mistake():
    # Places and colours as in the CRF for DeepLab's predictions.
    rng = np.random.default_rng(0)
    features = (rng.random((5, 500)) * np.float32([[65500 / 67], [1], [85], [85], [85]])).astype(np.float32)

    lattice = build_lattice(features)

    assert lattice.neighbours.shape[1] == len({corner for point in features.T for corner in plain_corners(point)})
    values = rng.random((1, 500), np.float32)
    # float32 tells places so far out to some thousandths.
    assert lattice.filter(values) == pytest.approx(plain_filter(features, values), abs=5e-3)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [1e6, np.inf, np.nan])
def test_points_too_far_to_tell_apart_are_refused(value: float):
    with pytest.raises(OverflowError, match=r"points in 5 dimensions reach coordinate .*, too far"):
        build_lattice(np.full((5, 3), value, np.float32))


def test_points_too_far_apart_in_all_directions_are_refused():
    with pytest.raises(OverflowError, match=r"points in 5 dimensions reach coordinate .*, too far"):
        build_lattice(np.float32(5e4 * np.eye(5)))
