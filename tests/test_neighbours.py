from pathlib import Path

import numpy as np
import pytest

from tag2mask.neighbours import half_plane_offsets, path_cells


def test_neighbours_within_two_cells_are_the_two_beside_and_below():
    assert half_plane_offsets(2) == ((0, 1), (1, 0), (1, -1), (1, 1))


@pytest.mark.parametrize(("radius", "number"), [(1, 0), (5, 34), (10, 152)])
def test_every_near_offset_or_its_opposite_is_there_once(radius: int, number: int):
    offsets = half_plane_offsets(radius)

    reach = range(-radius, radius + 1)
    near = {(row, column) for row in reach for column in reach if 0 < row**2 + column**2 < radius**2}
    assert len(offsets) == number
    assert {*offsets, *((-row, -column) for row, column in offsets)} == near


def test_path_has_the_cells_nearer_than_one_to_the_line():
    assert path_cells((0, 3)) == [(0, 3), (0, 2), (0, 1), (0, 0)]
    assert path_cells((2, -2)) == [(2, -2), (1, -2), (2, -1), (1, -1), (0, -1), (1, 0), (0, 0)]


def test_offsets_and_paths_are_those_of_the_released_code(golden: Path):
    with np.load(golden / "irn.npz") as released:
        offsets = {radius: released[f"r{radius}_search_dst"].tolist() for radius in (5, 10)}
        paths = [[tuple(cell) for cell in path if cell[0] != -999] for path in released["r5_paths"].tolist()]

    assert [list(offset) for offset in half_plane_offsets(5)] == offsets[5]
    assert [list(offset) for offset in half_plane_offsets(10)] == offsets[10]
    assert [path_cells(offset) for offset in half_plane_offsets(5)] == paths


def test_offsets_are_worked_out_once():
    assert half_plane_offsets(10) is half_plane_offsets(10)
