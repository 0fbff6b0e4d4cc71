"""Colours of reports and of pictures of results: Okabe and Ito's, which colour-blind readers tell apart."""

import colorsys

from tag2mask.config import TWIN

_BLUE, _VERMILION, _GREEN, _PURPLE, _SKY, _ORANGE, _YELLOW = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442",
)  # fmt: skip
_GREY = "#777777"
_GOLDEN = 0.618034

LINE_COLOURS = (_BLUE, _VERMILION, _GREEN, _PURPLE, _SKY, _ORANGE, _GREY)
"""Colours of the curves of a chart, dark ones first; yellow is left out, as it is hardly visible on white."""
METHOD_COLOURS = {
    "baseline": _BLUE, "acr": _VERMILION, "pretrained": _GREEN, "mctformer": _PURPLE, "acr_vit": _SKY, TWIN: _GREY,
}  # fmt: skip
OURS, PAPER = _BLUE, _VERMILION
"""Colours of our scores and of the paper's beside them."""
MASK_COLOUR = _GREEN
"""Colour of the true mask of a single class."""

_CLASS_COLOURS = (_ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILION, _PURPLE)


def class_colours(num_classes: int) -> list[str]:
    """One colour per class, no two alike: Okabe and Ito's, then hues that lie far from their neighbours."""
    colours = list(_CLASS_COLOURS[:num_classes])
    for number in range(len(_CLASS_COLOURS), num_classes):
        lightness = (0.45, 0.6, 0.72)[number % 3]
        channels = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.65)
        colours.append("#" + "".join(f"{round(255 * channel):02X}" for channel in channels))
    return colours
