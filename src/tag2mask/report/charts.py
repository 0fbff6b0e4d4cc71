"""Line charts as numbers from which an SVG can be written: positions in pixels, ticks at round values."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tag2mask.report.colours import LINE_COLOURS

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 40
_LABEL_ROOM = 10
_NUM_TICKS = 5
# Rounding error of a quotient of two values, in steps.
_ROUNDING = 1e-6


class Tick(NamedTuple):
    """A marked place of an axis."""

    place: float
    text: str


class Label(NamedTuple):
    """Words at a place of the chart."""

    x: float
    y: float
    text: str


class Line(NamedTuple):
    """One curve."""

    name: str
    colour: str
    points: tuple[tuple[float, float], ...]
    labels: tuple[Label, ...] = ()
    """Labels of its points, if they have any."""
    hollow: bool = False
    """Whether its points are rings."""

    @property
    def svg(self) -> str:
        """Points as a polyline wants them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` laid from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    title: str
    ticks: tuple[Tick, ...]

    def place(self, value: float) -> float:
        """Pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Chart:
    """Curves over two axes."""

    width: int
    height: int
    x: Axis
    y: Axis
    lines: tuple[Line, ...]


def line_chart(
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    titles: tuple[str, str],
    size: tuple[int, int],
    y_range: tuple[float, float] | None = None,
    colours: Sequence[str] = LINE_COLOURS,
) -> Chart:
    """A chart of curves over the same positions.

    Args:
        x: horizontal positions of all curves.
        curves: values at these positions, by the curve's name.
        titles: titles of the horizontal and the vertical axis.
        size: width and height in pixels.
        y_range: smallest range of the vertical axis; that of the values if it is not given.
        colours: colours of the curves, in their order.
    """
    width, height = size
    values = [value for curve in curves.values() for value in curve] + list(y_range or ())
    # Epochs are whole: no tick between them.
    least_step = 1.0 if all(value == int(value) for value in x) else 0.0
    x_axis = _tight_axis(min(x), max(x), (_LEFT, width - _RIGHT), titles[0], least_step)
    y_axis = _loose_axis(min(values), max(values), (height - _BOTTOM, _TOP), titles[1])
    lines = tuple(
        Line(
            name,
            colours[number % len(colours)],
            tuple((x_axis.place(at), y_axis.place(value)) for at, value in zip(x, curve, strict=True)),
        )
        for number, (name, curve) in enumerate(curves.items())
    )
    return Chart(width, height, x_axis, y_axis, lines)


def level_chart(
    names: Sequence[str],
    curves: Sequence[tuple[str, str, Sequence[float | None]]],
    *,
    title: str,
    size: tuple[int, int],
    hollow: Collection[str] = (),
) -> Chart:
    """A chart over named steps, with the value beside every point.

    Args:
        names: names of the steps.
        curves: name, colour and one value per step, None where there is none.
        title: title of the vertical axis.
        size: width and height in pixels.
        hollow: names of the curves whose points are rings.
    """
    width, height = size
    values = [value for _, _, curve in curves for value in curve if value is not None]
    blank = Axis(-0.5, len(names) - 0.5, _LEFT, width - _RIGHT, "", ())
    x_axis = replace(blank, ticks=tuple(Tick(blank.place(step), name) for step, name in enumerate(names)))
    y_axis = _loose_axis(min(values), max(values), (height - _BOTTOM, _TOP + _LABEL_ROOM), title)
    highest = [max((curve[step] or 0 for _, _, curve in curves), default=0) for step in range(len(names))]
    lines = []
    for name, colour, curve in curves:
        known = [(step, value) for step, value in enumerate(curve) if value is not None]
        points = tuple((x_axis.place(step), y_axis.place(value)) for step, value in known)
        labels = tuple(
            Label(*_beside(point, value == highest[step], y_axis.start), f"{value:.1f}")
            for point, (step, value) in zip(points, known, strict=True)
        )
        lines.append(Line(name, colour, points, labels, name in hollow))
    return Chart(width, height, x_axis, y_axis, tuple(lines))


def _beside(point: tuple[float, float], is_highest: bool, floor: float) -> tuple[float, float]:
    """Place of a label: above the highest point of a step, below the others, or right of them where no room is left."""
    x, y = point
    if is_highest:
        return x, y - _LABEL_ROOM
    below = y + _LABEL_ROOM + 8
    return (x, below) if below < floor else (x + 3 * _LABEL_ROOM, y - 3)


def _tight_axis(low: float, high: float, span: tuple[float, float], title: str, least_step: float) -> Axis:
    """An axis that ends at the lowest and the highest value."""
    low, high = _apart(low, high)
    step = max(least_step, _round_step((high - low) / _NUM_TICKS))
    return _with_ticks(Axis(low, high, *span, title, ()), step)


def _loose_axis(low: float, high: float, span: tuple[float, float], title: str) -> Axis:
    """An axis that ends at the ticks around the values."""
    low, high = _apart(low, high)
    step = _round_step((high - low) / _NUM_TICKS)
    low, high = (math.floor(low / step + _ROUNDING) * step, math.ceil(high / step - _ROUNDING) * step)
    return _with_ticks(Axis(low, high, *span, title, ()), step)


def _apart(low: float, high: float) -> tuple[float, float]:
    room = 0.0 if high > low else abs(low) / 2 or 0.5
    return low - room, high + room


def _with_ticks(axis: Axis, step: float) -> Axis:
    numbers = range(math.ceil(axis.low / step - _ROUNDING), math.floor(axis.high / step + _ROUNDING) + 1)
    ticks = tuple(Tick(axis.place(number * step), _as_text(number * step, step)) for number in numbers)
    return replace(axis, ticks=ticks)


def _round_step(step: float) -> float:
    """The next larger of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _as_text(value: float, step: float) -> str:
    if abs(value) < step / 2:
        return "0"
    if step < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-").replace("-", "−")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{decimals}f}".replace("-", "−")
