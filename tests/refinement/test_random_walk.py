import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tag2mask.config import RefinementSettings
from tag2mask.data.sizes import resize_maps
from tag2mask.refinement.random_walk import (
    Affinities,
    boundary_affinities,
    feature_affinities,
    random_walk,
    walk_from_boundaries,
    walk_from_features,
)

SETTINGS = RefinementSettings()


def dense(affinities: Affinities) -> NDArray[np.floating]:
    """The symmetric matrix (N, N) with unit diagonal, entry by entry."""
    _, height, width = affinities.values.shape
    matrix = np.eye(height * width, dtype=affinities.values.dtype)
    for (down, right), values in zip(affinities.offsets, affinities.values, strict=True):
        for (row, column), value in np.ndenumerate(values):
            if row + down < height and 0 <= column + right < width:
                here, there = row * width + column, (row + down) * width + column + right
                matrix[here, there] = matrix[there, here] = value
            else:
                assert value == 0
    return matrix


def walk_by_squaring(
    maps: NDArray[np.floating], affinities: Affinities, beta: float, log_steps: int
) -> NDArray[np.floating]:
    transitions = dense(affinities) ** beta
    transitions /= transitions.sum(axis=0)
    for _ in range(log_steps):
        transitions = transitions @ transitions
    return (maps.reshape(len(maps), -1) @ transitions).reshape(maps.shape)


@pytest.mark.parametrize("size", [(12, 17), (3, 20), (9, 1), (1, 1)])
def test_steps_on_the_grid_equal_the_dense_matrix_power(size: tuple[int, int]):
    draw = np.random.default_rng(0)
    maps, edges = draw.random((3, *size)), 0.7 * draw.random(size)
    affinities = boundary_affinities(edges, 5)

    walked = random_walk(maps, affinities, beta=8, log_steps=7)

    np.testing.assert_allclose(walked, walk_by_squaring(maps, affinities, 8, 7), atol=1e-6, rtol=0)


def test_one_precision_is_enough_for_256_steps():
    draw = np.random.default_rng(0)
    maps, edges = draw.random((2, 40, 50)), draw.random((40, 50)) ** 3
    exact = random_walk(maps, boundary_affinities(edges, 5), beta=10, log_steps=8)

    single = random_walk(maps, boundary_affinities(edges.astype(np.float32), 5), beta=10, log_steps=8)

    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, atol=1e-4, rtol=0)


def test_affinities_and_one_step_are_those_of_the_released_code(golden: Path):
    with np.load(golden / "irn.npz") as released:
        edges, matrix, step = released["edge"][0], released["r5_dense_aff"], released["r5_T_beta10_1step"]
    affinities = boundary_affinities(edges, 5)

    np.testing.assert_allclose(dense(affinities), matrix, atol=1e-6, rtol=0)
    # The walk of a map that is 1 in one cell gives a row of the transitions.
    cells = np.eye(720, dtype=np.float32)[::37].reshape(-1, *edges.shape)
    rows = random_walk(cells, affinities, beta=10, log_steps=0).reshape(len(cells), -1)
    np.testing.assert_allclose(rows, step[::37], atol=1e-5 * step.max(), rtol=0)


def test_256_steps_are_those_of_the_released_code(golden: Path):
    with np.load(golden / "irn.npz") as released:
        edges, steps = released["edge"][0], released["r5_T_beta10_256steps"]
    cells = np.eye(720, dtype=np.float32)[::37].reshape(-1, *edges.shape)

    rows = random_walk(cells, boundary_affinities(edges, 5), beta=10, log_steps=8).reshape(len(cells), -1)

    np.testing.assert_allclose(rows, steps[::37], atol=3e-4 * steps.max(), rtol=0)


def test_walk_and_labels_are_those_of_the_released_code(golden: Path):
    with np.load(golden / "irn.npz") as arrays:
        released = {name: arrays[name] for name in ("edge", "cam", "r5_rw", "r5_rw_up_normalised", "r5_label")}
        height, width = arrays["r5_image_size"]
        keys = arrays["r5_keys"]

    walked = walk_from_boundaries(released["cam"], released["edge"][0], SETTINGS)

    walk = released["r5_rw"][:, 0]
    np.testing.assert_allclose(walked, walk / walk.max(), atol=1e-4, rtol=0)
    full = resize_maps(walked, 4 * walked.shape[1], 4 * walked.shape[2])[:, :height, :width]
    np.testing.assert_allclose(full / full.max(), released["r5_rw_up_normalised"], atol=1e-4, rtol=0)
    scores = np.concatenate([np.full((1, height, width), 0.25), full / full.max()])
    np.testing.assert_array_equal(keys[scores.argmax(axis=0)], released["r5_label"])


@pytest.mark.parametrize("relations", ["boundaries", "features"])
@pytest.mark.parametrize("power", [1, 1.3])
def test_maps_walk_from_their_power_and_not_from_boundaries(relations: str, power: float):
    draw = np.random.default_rng(0)
    maps, edges, settings = draw.random((2, 6, 7)), draw.random((6, 7)), replace(SETTINGS, power=power, log_steps=2)
    starting = np.zeros_like(maps)
    for (index, row, column), value in np.ndenumerate(maps):
        spreads = 1 - edges[row, column] if relations == "boundaries" else 1
        starting[index, row, column] = value**power * spreads

    if relations == "boundaries":
        walked, affinities = walk_from_boundaries(maps, edges, settings), boundary_affinities(edges, 5)
    else:
        walked, affinities = walk_from_features(maps, edges[None], settings), feature_affinities(edges[None], 5)

    expected = walk_by_squaring(starting, affinities, settings.beta, settings.log_steps)
    np.testing.assert_allclose(walked, expected / expected.max(), atol=1e-12, rtol=0)


def test_this_thread_goes_on_while_maps_walk_in_another():
    affinities = boundary_affinities(np.zeros((40, 60), np.float32), 5)
    maps = np.ones((2, 40, 60), np.float32)
    random_walk(maps, affinities, beta=10, log_steps=0)

    num_times = 0
    with ThreadPoolExecutor(1) as pool:
        walk = pool.submit(random_walk, maps, affinities, beta=10, log_steps=11)
        while not walk.done():
            time.sleep(0.001)
            num_times += 1

    assert num_times > 20


def test_a_constant_map_stays_as_it_is():
    edges = np.random.default_rng(0).random((15, 11)) ** 2

    walked = random_walk(np.ones((1, 15, 11)), boundary_affinities(edges, 5), beta=10, log_steps=8)

    np.testing.assert_allclose(walked, 1, atol=1e-12)


def test_a_closed_boundary_stops_the_walk():
    edges = np.zeros((10, 20), np.float32)
    edges[:, 9] = 1
    maps = np.zeros((1, 10, 20), np.float32)
    maps[0, 4, 2] = 1

    walked = walk_from_boundaries(maps, edges, SETTINGS)

    assert walked.max() == 1
    assert walked[0, :, :9].min() > 0.5
    assert not walked[0, :, 9:].any()


def test_a_step_reaches_the_neighbours_within_the_radius():
    maps = np.zeros((1, 9, 9))
    maps[0, 4, 4] = 1

    walked = random_walk(maps, boundary_affinities(np.zeros((9, 9)), 2), beta=1, log_steps=0)

    assert {tuple(cell) for cell in np.argwhere(walked[0])} == {(y, x) for y in (3, 4, 5) for x in (3, 4, 5)}
    assert walked[0, 4, 4] == pytest.approx(1 / 9)


def test_features_relate_cells_by_their_mean_absolute_difference():
    features = np.array([[[0.0, 1.0], [0.0, 3.0]], [[0.0, 3.0], [0.0, 0.0]]])

    affinities = feature_affinities(features, 2)

    expected = {(0, 1): [[2, None], [1.5, None]], (1, 0): [[0, 2.5], [None, None]]}
    for offset, distances in expected.items():
        values = affinities.values[affinities.offsets.index(offset)]
        np.testing.assert_allclose(values, [[0 if d is None else np.exp(-d) for d in row] for row in distances])


def test_maps_spread_over_what_looks_alike():
    features = np.zeros((4, 8, 12), np.float32)
    features[:, :, 6:] = 5
    maps = np.zeros((2, 8, 12), np.float32)
    maps[0, 3, 2] = 0.2

    walked = walk_from_features(maps, features, replace(SETTINGS, beta=8))

    assert walked[0, :, :6].min() > 0.5
    assert walked[0, :, 6:].max() < 0.01
    assert not walked[1].any()


@pytest.mark.parametrize("num_maps", [0, 2])
def test_maps_of_zeros_stay_zero(num_maps: int):
    maps, edges = np.zeros((num_maps, 6, 7), np.float32), np.full((6, 7), 0.5, np.float32)

    for walked in (walk_from_boundaries(maps, edges, SETTINGS), walk_from_features(maps, edges[None], SETTINGS)):
        assert walked.shape == maps.shape
        assert not walked.any()


def test_grids_that_differ_are_refused():
    with pytest.raises(ValueError, match="maps have 6x7 cells, but what relates them has 6x8"):
        walk_from_boundaries(np.zeros((1, 6, 7)), np.zeros((6, 8)), SETTINGS)
