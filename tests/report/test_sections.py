import pytest

from tag2mask.report.sections import class_colours, duration


def test_no_two_classes_share_a_colour():
    colours = class_colours(254)

    assert len(set(colours)) == 254
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)
    assert class_colours(3) == colours[:3]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (65.2, "1 min 05 s"),
        (3599.7, "1 h 00 min"),
        (36_000, "10 h 00 min"),
    ],
)
def test_durations_have_no_more_digits_than_matter(seconds: float, text: str):
    assert duration(seconds) == text
