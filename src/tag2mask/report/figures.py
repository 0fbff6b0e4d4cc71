"""Pictures of results as PNG files: scores over the thresholds, and activation maps of methods side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.evaluation.sweep import SweepScores
from tag2mask.evaluation.thresholds import NUM_STEPS, THRESHOLDS
from tag2mask.files import replacing
from tag2mask.report.colours import MASK_COLOUR, METHOD_COLOURS, class_colours

_DOTS_PER_INCH = 130
_PANEL_INCHES = 2.6
_HIGHEST_PANEL = 0.85
PANEL_SIDE = round(2 * _PANEL_INCHES * _DOTS_PER_INCH)
"""Pixels of a picture's side that a panel can use: twice what it has, so that edges stay smooth."""

_MARGIN_INCHES = 0.34
_PLAIN_GREY = 150


@dataclass(frozen=True, eq=False)
class ComparisonRow:
    """One photo and one of its classes, as every method sees it."""

    photo: NDArray[np.uint8]
    """(H, W, 3)."""
    class_name: str
    """The class that is shown."""
    cams: dict[str, NDArray[np.float32]]
    """Method name to activation map (H, W) in [0, 1]; the same methods in every row."""
    mask: NDArray[np.bool_] | None
    """True pixels of the class (H, W); None where no truth is known."""


@dataclass(frozen=True, eq=False)
class LevelRow:
    """One photo at every level."""

    photo: NDArray[np.uint8]
    """(H, W, 3)."""
    class_name: str
    """The class whose activations are shown."""
    pictures: dict[str, NDArray[np.uint8]]
    """Level to picture (H, W, 3); the same levels in every row."""


def threshold_curves(path: Path, sweeps: dict[str, SweepScores]) -> None:
    """Draw mIoU, precision and recall over the background threshold: one line per method, highest mIoU marked."""
    figure = Figure(figsize=(10, 3.6), dpi=_DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(1, 3, sharex=True)
    for panel, heading in zip(panels, ("mIoU", "precision", "recall"), strict=True):
        _set_up_panel(panel, heading)
    for method, scores in sweeps.items():
        colour = METHOD_COLOURS[method]
        best = round(scores.best() * NUM_STEPS)
        label = f"{method}: best mIoU {100 * scores.miou[best]:.1f} % at {THRESHOLDS[best]:.2f}"
        for panel, curve in zip(panels, (scores.miou, scores.precision, scores.recall), strict=True):
            panel.plot(THRESHOLDS, 100 * curve, color=colour, linewidth=1.8, label=label)
            panel.plot(THRESHOLDS[best], 100 * curve[best], "o", color=colour, markeredgecolor="white", markersize=8)
    for panel in panels:
        # Only now: a limit that is set before there are lines keeps the upper end of an empty panel.
        panel.set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    _save(figure, path)


def cam_comparison(path: Path, rows: Sequence[ComparisonRow]) -> None:
    """Draw one row per photo: the photo, the activations of each method over it, and the true mask if it is known."""
    headings = ["photo", *rows[0].cams, *_mask_heading(rows)]
    _draw_rows(path, headings, [(row.class_name, [row.photo, *_over_ground(row, row.photo)]) for row in rows])


def map_comparison(path: Path, rows: Sequence[ComparisonRow]) -> None:
    """Draw `cam_comparison` on plain grey instead of the photos, for places where these may not be published."""
    pictures = [(row.class_name, _over_ground(row, np.full_like(row.photo, _PLAIN_GREY))) for row in rows]
    _draw_rows(path, [*rows[0].cams, *_mask_heading(rows)], pictures)


def _mask_heading(rows: Sequence[ComparisonRow]) -> list[str]:
    return ["true mask"] * any(row.mask is not None for row in rows)


def _over_ground(row: ComparisonRow, ground: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Activations of each method over a picture (H, W, 3), and the true mask if it is known."""
    pictures = [overlay_cam(ground, cam) for cam in row.cams.values()]
    return pictures if row.mask is None else [*pictures, overlay_mask(ground, row.mask)]


def _draw_rows(path: Path, headings: Sequence[str], rows: Sequence[tuple[str, list[NDArray[np.uint8]]]]) -> None:
    """Draw rows of pictures, those of a row of one size, with a name beside each row and headings above the columns."""
    shapes = [pictures[0].shape for _, pictures in rows]
    heights = [_PANEL_INCHES * min(height / width, _HIGHEST_PANEL) for height, width, _ in shapes]
    width, height = _MARGIN_INCHES + len(headings) * _PANEL_INCHES, _MARGIN_INCHES + sum(heights)
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH)
    left, top = _MARGIN_INCHES / width, 1 - _MARGIN_INCHES / height
    grid = figure.add_gridspec(
        len(rows), len(headings), height_ratios=heights, left=left, right=1, bottom=0, top=top, wspace=0.02, hspace=0.03
    )
    panels = grid.subplots(squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, heading in zip(panels[0], headings, strict=True):
        panel.set_title(heading, pad=5, parse_math=False)
    for (name, pictures), row_panels in zip(rows, panels, strict=True):
        for panel, picture in zip(row_panels, pictures, strict=False):
            panel.imshow(picture, interpolation="antialiased")
        box = row_panels[0].get_position(original=True)
        middle = (box.y0 + box.y1) / 2
        figure.text(left / 2, middle, name, rotation=90, ha="center", va="center", size="large", parse_math=False)
    _save(figure, path)


def level_comparison(path: Path, rows: Sequence[LevelRow]) -> None:
    """Draw one row per photo: the photo and what each level makes of it, under the levels' names."""
    headings = ["photo", *rows[0].pictures]
    _draw_rows(path, headings, [(row.class_name, [row.photo, *row.pictures.values()]) for row in rows])


def overlay_cam(photo: NDArray[np.uint8], cam: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photo in grey where the activation is low, and warm colours over it where it is high.

    Args:
        photo: (H, W, 3).
        cam: (H, W) in [0, 1].

    Returns:
        (H, W, 3).
    """
    grey = _grey(photo)
    colours = 255 * matplotlib.colormaps["inferno"](0.15 + 0.8 * cam)[..., :3]
    # Never opaque: the photo always shows through a little.
    opacity = 0.78 * np.clip(cam / 0.6, 0, 1)[..., None]
    blended: NDArray[np.uint8] = np.rint(grey + opacity * (colours - grey)).astype(np.uint8)
    return blended


def overlay_labels(photo: NDArray[np.uint8], label_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo in grey with one colour per class over it, and black where the label is 255.

    Args:
        photo: (H, W, 3).
        label_map: class ids (H, W), 0 = background, 255 = ignored.

    Returns:
        (H, W, 3).
    """
    # Class 1 has the first colour, 255 the last one; the background's is not shown.
    colours = np.stack([_channels(colour) for colour in (*class_colours(IGNORE - 1), "black")])
    chosen = colours[label_map.astype(np.intp) - 1]
    grey = _grey(photo)
    shown = (label_map != BACKGROUND)[..., None]
    return np.rint(np.where(shown, 0.35 * grey + 0.65 * chosen, grey)).astype(np.uint8)


def overlay_mask(photo: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photo in grey with the mask in colour over it.

    Args:
        photo: (H, W, 3).
        mask: (H, W).

    Returns:
        (H, W, 3).
    """
    grey = _grey(photo)
    return np.rint(np.where(mask[..., None], 0.35 * grey + 0.65 * _channels(MASK_COLOUR), grey)).astype(np.uint8)


def _channels(colour: str) -> NDArray[np.float32]:
    """Red, green and blue (3,) of a colour, 0 to 255."""
    return np.array([round(255 * channel) for channel in to_rgb(colour)], np.float32)


def _grey(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luminance (H, W, 1), a little brighter, so that colours laid over it stand out."""
    luminance = photo.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return (40 + luminance[..., None] * (215 / 255)).astype(np.float32)


def _set_up_panel(panel: Axes, heading: str) -> None:
    panel.set_title(f"{heading}, %", loc="left", fontsize=11)
    panel.set_xlabel("background threshold")
    panel.set_xlim(0, 1)
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
