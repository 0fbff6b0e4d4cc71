"""A paper's table as a picture: our scores with their spread, the paper's beside them."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tag2mask.files import replacing
from tag2mask.report.colours import OURS, PAPER
from tag2mask.report.comparison import METRIC_NAMES, Comparison, Metric

_DOTS_PER_INCH = 130
_ROW_INCHES = 0.5
_SHIFT = 0.14
"""How far our figures are drawn above, and the paper's below, the middle of a row."""


def draw_comparison(path: Path, comparison: Comparison) -> None:
    """Draw one panel per metric: for each row our runs with mean and standard deviation, and the paper's figure."""
    metrics = comparison.metrics
    size = (3.2 + 3.2 * len(metrics), 1.5 + _ROW_INCHES * len(comparison.rows))
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        _draw_panel(panel, comparison, metric)
    panels[0].set_yticks(range(len(comparison.rows)), [row.name for row in comparison.rows], parse_math=False)
    panels[0].set_ylim(len(comparison.rows) - 0.5, -0.5)
    figure.suptitle(comparison.title, x=0.01, ha="left", fontsize=11, parse_math=False)
    handles = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower right", ncols=len(handles), frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_panel(panel: Axes, comparison: Comparison, metric: Metric) -> None:
    for place, row in enumerate(comparison.rows):
        spread = row.spread(metric)
        if spread is None:
            # From the left edge, whatever the numbers are.
            across = panel.get_yaxis_transform()
            panel.text(0.02, place - _SHIFT, "not done", transform=across, va="center", color="0.5")
        else:
            deviation = None if spread.deviation is None else 100 * spread.deviation
            panel.errorbar(
                100 * spread.mean, place - _SHIFT, xerr=deviation,
                fmt="o", color=OURS, capsize=4, label="ours, mean and standard deviation",
            )  # fmt: skip
            if deviation is not None:
                values = [100 * getattr(score, metric) for score in row.scores.values()]
                panel.plot(values, [place - _SHIFT] * len(values), ".", color=OURS, alpha=0.4, label="each run")
        value = getattr(row.paper, metric) if row.paper else None
        if value is not None:
            panel.plot(100 * value, place + _SHIFT, "D", color=PAPER, markerfacecolor="none", label="paper")
    panel.set_title(f"{METRIC_NAMES[metric]}, %", loc="left", fontsize=11)
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
