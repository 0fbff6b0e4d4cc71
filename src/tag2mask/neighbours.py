"""Which cells of a grid are related to which, and the cells on the path between two of them."""

from functools import cache

Offset = tuple[int, int]
"""Rows down and columns to the right."""


@cache
def half_plane_offsets(radius: int) -> tuple[Offset, ...]:
    """Offsets of the neighbours nearer than `radius`, one of each opposite two: from shorter to longer paths.

    In the order of the released code of IRN (Ahn et al., CVPR 2019); 34 at radius 5, 152 at radius 10.
    """
    to_the_right = [(0, column) for column in range(1, radius)]
    below = [(row, column) for row in range(1, radius) for column in range(1 - radius, radius)]
    near = [(row, column) for row, column in to_the_right + below if row**2 + column**2 < radius**2]
    return tuple(sorted(near, key=lambda offset: len(path_cells(offset))))


def path_cells(offset: Offset) -> list[Offset]:
    """Cells between a cell and its neighbour at `offset`, both included, that far from the first cell.

    They are those nearer than one cell to the straight line, the farthest first as in the released code of IRN.
    """
    row, column = offset
    rows = range(min(row, 0), max(row, 0) + 1)
    columns = range(min(column, 0), max(column, 0) + 1)
    squared_length = row**2 + column**2
    cells = [(y, x) for y in rows for x in columns if (row * x - column * y) ** 2 < squared_length]
    return sorted(cells, key=lambda cell: -abs(cell[0]) - abs(cell[1]))
