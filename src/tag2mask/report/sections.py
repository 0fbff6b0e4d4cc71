"""Content of a run arranged as the sections of the page show it: tables, charts, text."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from tag2mask.config import TWIN, DataSettings, Level, Recipe
from tag2mask.data.classes import BACKGROUND_NAME
from tag2mask.dotted_names import leaves
from tag2mask.evaluation.thresholds import THRESHOLDS
from tag2mask.report.charts import Chart, level_chart, line_chart
from tag2mask.report.colours import LINE_COLOURS, METHOD_COLOURS, class_colours
from tag2mask.report.content import METHODS, Curve, ReportContent, TrainingCurves
from tag2mask.report.tables import ScoreRow
from tag2mask.report.verdict import (
    LEVELS,
    Change,
    change,
    leading_row,
    level_name,
    method_name,
    share_of_full_supervision,
    verdict,
)
from tag2mask.runs.stages import PLAIN_TRAININGS

_WIDE, _SMALL = (460, 270), (300, 170)


class LevelRow(NamedTuple):
    """One row of `scores.json`, and how it compares with others."""

    score: ScoreRow
    change: Change | None
    share: float | None
    """Share of the fully supervised segmenter's mIoU, for the other segmenters, where that is known."""
    leads: bool
    """Whether it represents its level in plots and verdict."""


class ClassRow(NamedTuple):
    """The IoU of one class at all levels."""

    class_id: int
    """0 for the background."""
    name: str
    colour: str
    iou: tuple[float | None, ...]
    """IoU in each column of the table."""
    num_photos: int | None
    together: tuple[tuple[str, int], ...]


class Mark(NamedTuple):
    """A threshold that means something."""

    name: str
    threshold: float
    method: str
    place: tuple[float, float]
    """Position in the chart, in pixels."""


class ThresholdPanel(NamedTuple):
    """Scores over the thresholds of one level."""

    level: Level
    title: str
    chart: Chart
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]
    start: int
    """Threshold in percent at which the page opens."""


class TrainingCharts(NamedTuple):
    """Losses and learning rates of one training."""

    folder: str
    num_epochs: int
    losses: tuple[tuple[str, Chart], ...]
    rates: tuple[tuple[str, Chart], ...]


class Setting(NamedTuple):
    """One value of the recipe."""

    name: str
    """Dotted, as it is typed on a command line."""
    value: str
    default: str

    @property
    def changed(self) -> bool:
        """Whether it differs from the default."""
        return self.value != self.default


def verdict_of(content: ReportContent) -> list[str]:
    """Sentences on what each stage gained or lost, or why that is not known, and on classes without labels."""
    several = len(content.unlabelled) > 1
    notes = [
        f"Warning: the pseudo-labels{f' of {method_name(method)}' if several else ''} have {note}."
        for method, note in content.unlabelled.items()
        if note
    ]
    if content.scores:
        recipe = content.recipe
        sentences = verdict(content.scores, recipe.refinement.method, plain=PLAIN_TRAININGS[recipe.acr.classifier])
        return sentences + notes
    reason = "nothing has been measured yet" if content.is_measurable else "there are no masks to measure them with"
    return [*notes, f"Whether the stages helped is not known: {reason}."]


def splits_in_effect(data: DataSettings) -> dict[str, str]:
    """Names of the splits in use: labels are made for the training split if no other is named."""
    return {
        "train split": data.train_split,
        "seed split": data.seed_split,
        "label split": data.label_split or data.train_split,
        "val split": data.val_split or "none",
    }


def level_rows(content: ReportContent) -> list[LevelRow]:
    """Every measurement, in the order of the levels and methods."""
    scores, plain = content.scores, PLAIN_TRAININGS[content.recipe.acr.classifier]
    ordered = sorted(scores, key=lambda row: (LEVELS.index(row.level), (*METHODS, TWIN).index(row.method)))
    return [
        LevelRow(
            row, change(scores, row, plain=plain),
            share_of_full_supervision(scores, row), row == leading_row(scores, row.method, row.level),
        )
        for row in ordered
    ]  # fmt: skip


def chart_of_levels(content: ReportContent) -> Chart | None:
    """The levels' mIoU, a line for each method on each split; None where it would be points only."""
    leading = [row.score for row in level_rows(content) if row.leads]
    levels = [level for level in LEVELS if any(row.level == level for row in leading)]
    if len(levels) < 2:
        return None
    keys = list(dict.fromkeys((row.method, row.split) for row in leading))
    several = len({row.split for row in leading}) > 1
    title = {key: method_name(key[0]) + (f" on {key[1]}" if several else "") for key in keys}
    curves = [
        (title[method, split], METHOD_COLOURS[method], [_percent(leading, method, split, level) for level in levels])
        for method, split in keys
    ]
    # A method has one colour on every split.
    hollow = [title[method, split] for method, split in keys if split != leading[0].split]
    names = [level_name(level, content.recipe.refinement.method) for level in levels]
    return level_chart(names, curves, title="mIoU, %", size=_WIDE, hollow=hollow)


def class_table(content: ReportContent) -> tuple[list[tuple[str, str]], list[ClassRow]]:
    """Headings (level, method) and rows of the IoU of each class, the background last."""
    leading = [row.score for row in level_rows(content) if row.leads]
    refinement = content.recipe.refinement.method
    headings = [(level_name(row.level, refinement), method_name(row.method)) for row in leading]
    rows = [
        ClassRow(
            class_id, name, colour, tuple(row.iou.get(name) for row in leading),
            content.data.num_of_class[class_id - 1], content.data.together[class_id - 1],
        )
        for class_id, (name, colour) in enumerate(
            zip(content.class_names, class_colours(len(content.class_names)), strict=True), start=1
        )
    ]  # fmt: skip
    if leading:
        background = tuple(row.iou.get(BACKGROUND_NAME) for row in leading)
        rows.append(ClassRow(0, BACKGROUND_NAME, "#FFFFFF", background, None, ()))
    return headings, rows


def threshold_panels(content: ReportContent) -> list[ThresholdPanel]:
    """A panel for each level whose maps were measured at every threshold."""
    levels = list(dict.fromkeys(curve.level for curve in content.curves))
    return [_panel(content, level) for level in levels]


def start_threshold(content: ReportContent, level: str) -> float:
    """Where the slider of a level starts: at the best threshold of the last method, without masks at the one in use."""
    best = [curve.scores.best() for curve in content.curves if curve.level == level]
    columns = [column for gallery in content.galleries for column in gallery.columns]
    shown_last = sorted(columns, key=lambda column: column.shown)
    used = [content.used[column.key] for column in shown_last if column.kind == "maps" and column.level == level]
    return (best or used)[-1]


def training_charts(training: TrainingCurves) -> TrainingCharts:
    """A small chart for each loss and each learning rate."""

    def charts(curves: dict[str, tuple[float, ...]], title: str, colour: str) -> tuple[tuple[str, Chart], ...]:
        return tuple(
            (_in_words(name), line_chart(training.epochs, {name: values}, titles=("epoch", title), size=_SMALL,
                                         colours=(colour,)))
            for name, values in curves.items()
        )  # fmt: skip

    return TrainingCharts(
        training.folder,
        len(training.epochs),
        charts(training.losses, "loss, mean over the epoch", LINE_COLOURS[0]),
        charts(training.rates, "learning rate at the end of the epoch", LINE_COLOURS[2]),
    )


def setting_rows(recipe: Recipe) -> list[Setting]:
    """Every setting of the recipe with its value as text."""
    values, defaults = (leaves(dataclasses.asdict(settings)) for settings in (recipe, Recipe()))
    return [
        Setting(name, _as_text(value), _as_text(defaults[name])) for name, value in values.items() if name != "extends"
    ]


def duration(seconds: float) -> str:
    """A duration as text, with no more digits than matter."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _percent(rows: Sequence[ScoreRow], method: str, split: str, level: Level) -> float | None:
    found = [row.miou for row in rows if (row.method, row.split, row.level) == (method, split, level)]
    return 100 * found[0] if found else None


def _panel(content: ReportContent, level: Level) -> ThresholdPanel:
    curves = tuple(curve for curve in content.curves if curve.level == level)
    top = max(float(curve.scores.iou.max()) for curve in curves)
    chart = line_chart(
        [float(threshold) for threshold in THRESHOLDS],
        {curve.method: [100 * float(value) for value in curve.scores.miou] for curve in curves},
        titles=("background threshold", "mIoU, %"),
        size=_WIDE,
        # Room for the IoU of every class, which is drawn instead of the mIoU when a class is chosen.
        y_range=(0, 100 * top),
        colours=[METHOD_COLOURS[curve.method] for curve in curves],
    )
    marks = tuple(
        Mark(name, threshold, curve.method, (
            chart.x.place(threshold), chart.y.place(100 * float(curve.scores.miou[round(100 * threshold)]))
        ))
        for curve in curves
        for name, threshold in _marked_thresholds(content, curve).items()
    )  # fmt: skip
    title = "Seeds" if level == "seed" else f"Maps after {level_name(level, content.recipe.refinement.method)}"
    return ThresholdPanel(level, title, chart, curves, marks, round(100 * start_threshold(content, level)))


def _marked_thresholds(content: ReportContent, curve: Curve) -> dict[str, float]:
    """Thresholds to mark, by name; an estimated one has no name of its own if it is the one that is used."""
    marked = {"best": curve.scores.best(), "used": content.used[f"{curve.level}-{curve.method}"]}
    for row in content.scores:
        is_estimate = (row.method, row.level, row.threshold_source) == (curve.method, curve.level, "estimated")
        if is_estimate and row.threshold is not None and row.threshold != marked["used"]:
            marked["estimated"] = row.threshold
    return marked


def _as_text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(_as_text(part) for part in value)
        case float():
            # A YAML file may hold 384.0 where the default is written 384.
            return f"{value:.10g}"
    return str(value)


def _in_words(name: str) -> str:
    return name.replace("/", ": ").replace("non_target", "non-target").replace("_", " ")
