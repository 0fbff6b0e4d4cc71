from typing import get_args

from tag2mask.config import TWIN, Method
from tag2mask.report.colours import METHOD_COLOURS, class_colours


def test_no_two_classes_share_a_colour():
    colours = class_colours(254)

    assert len(set(colours)) == 254
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)
    assert class_colours(3) == colours[:3]


def test_every_method_has_a_colour_of_its_own():
    assert METHOD_COLOURS.keys() == {*get_args(Method), TWIN}
    assert len(set(METHOD_COLOURS.values())) == len(METHOD_COLOURS)
