from array import array
from pathlib import Path

import numpy as np

from tag2mask.data.drawn_masks import DrawnMask, Outline
from tag2mask.data.label_maps import open_label_map


def drawn(*outlines: Outline) -> DrawnMask:
    return DrawnMask(Path("outlines.json"), 9, 3, 4, outlines)


def polygon(*corners: float) -> bytes:
    return array("d", corners).tobytes()


def test_label_map_is_drawn_on_opening():
    left = Outline(5, (polygon(0, 0, 2, 0, 2, 3, 0, 3),))
    row = Outline(254, (polygon(1, 1, 4, 1, 4, 2, 1, 2),))

    label_map = open_label_map(drawn(left, row))

    assert label_map.dtype == np.uint8
    assert label_map.tolist() == [[5, 5, 0, 0], [5, 254, 254, 254], [5, 5, 0, 0]]
    assert open_label_map(drawn(row, left)).tolist() == [[5, 5, 0, 0], [5, 5, 254, 254], [5, 5, 0, 0]]


def test_run_lengths_are_drawn_as_polygons_are():
    # COCO's code of 3 pixels without, 6 with and 3 without: small numbers are the letters of their digits.
    middle = Outline(1, run_lengths=b"363")

    assert np.array_equal(drawn(middle).draw(), drawn(Outline(1, (polygon(1, 0, 3, 0, 3, 3, 1, 3),))).draw())


def test_masks_of_the_same_outlines_are_equal_and_hashable():
    first, second = (drawn(Outline(1, (polygon(0, 0, 2, 0, 2, 3),))) for _ in range(2))

    assert first == second
    assert hash(first) == hash(second)


def test_messages_name_file_and_image():
    assert str(drawn()) == "outlines.json image 9"
