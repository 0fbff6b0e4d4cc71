"""Did each stage help? Measurements compared with what they build on, in numbers and in one paragraph."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

from tag2mask.config import TWIN, Level
from tag2mask.report.content import METHODS
from tag2mask.report.tables import ScoreRow, ThresholdSource, notes_on_absent_classes

LEVELS: tuple[Level, ...] = get_args(Level)
"""In the order of the stages."""

Effect = Literal["helped", "unchanged", "unclear", "harmed", "threshold", "unlabelled"]
EFFECT_WORDS: dict[Effect, str] = {
    "helped": "helped", "unchanged": "no change", "unclear": "no clear difference", "harmed": "did not help",
    "threshold": "cost of the threshold", "unlabelled": "left unlabelled (255)",
}  # fmt: skip
"""As they are shown."""

# In points of mIoU: what rounds to 0.0 is no change.
_NOTHING = 0.05
# As much as another seed alone moved the scores of real photos (docs/results.md).
_CLEAR = 0.5
# What fewer photos show may be chance.
_FEW_PHOTOS = 30
# The headline is the best there is; what a threshold without masks costs is told at the pseudo-labels.
_PREFERENCE: tuple[ThresholdSource | None, ...] = ("best on this split", "estimated", "fixed", None)
_METHOD_NAMES = {
    "baseline": "the baseline", "pretrained": "the pretrained variant", "acr": "ACR", "mctformer": "MCTformer",
    "acr_vit": "ACR + ViT", TWIN: "true masks",
}  # fmt: skip
_REFINEMENTS = {"irn": "IRN", "affinity": "AffinityNet"}


class Change(NamedTuple):
    """The difference between a measurement and the one that it builds on."""

    points: float
    """Difference in points of mIoU (0 to 100)."""
    against: ScoreRow
    effect: Effect
    """What it means for whether the stage is worth its time."""


def leading_row(rows: Sequence[ScoreRow], method: str, level: Level, split: str | None = None) -> ScoreRow | None:
    """The measurement that stands for a level: at the best threshold where there are several.

    Without a split the last one that was measured counts.
    """
    found = [row for row in rows if (row.method, row.level) == (method, level) and split in (None, row.split)]
    if not found:
        return None
    of_split = [row for row in found if row.split == found[-1].split]
    return min(of_split, key=lambda row: _PREFERENCE.index(row.threshold_source))


def change(rows: Sequence[ScoreRow], row: ScoreRow, *, plain: str = "baseline") -> Change | None:
    """A measurement compared with that of what it is made of; a seed with another method's; on the same photos.

    Seeds are compared at thresholds of the same source; a fixed threshold has to be the same one. CRF and refinement
    both begin with the seeds. Maps at another threshold than the best are compared with themselves at the best,
    pseudo-labels with the maps or seeds that they are made of, at the threshold that they were made with.

    Args:
        rows: all measurements of a run.
        row: the one of them that is compared.
        plain: method of the network that learns against a reconstructor, as it is after learning tags alone.
    """
    if row.level == "seed":
        same = {other.method: other for other in rows if other.key[1:] == row.key[1:]}
        reference = same.get(_reference(row.method, plain))
        return _against(row, reference) if reference else None
    leading = leading_row(rows, row.method, row.level, row.split)
    if leading and leading != row:
        return Change(100 * (row.miou - leading.miou), leading, "threshold")
    maps = _maps_of_labels(rows, row) if row.level == "pseudo-label" else None
    if maps:
        found = _against(row, maps)
        # Made of these maps at this threshold, so only pixels left unlabelled can differ, and nothing is chance.
        return found if found.effect == "unchanged" else found._replace(effect="unlabelled")
    for level in _made_of(row.level):
        before = leading_row(rows, row.method, level, row.split)
        if before:
            return _against(row, before)
    return None


def share_of_full_supervision(rows: Sequence[ScoreRow], row: ScoreRow) -> float | None:
    """A segmenter's mIoU over that of the fully supervised one, which learned from the true masks."""
    full = leading_row(rows, TWIN, "segmenter", row.split)
    return row.miou / full.miou if full and full.miou and row.level == "segmenter" and row.method != TWIN else None


def verdict(rows: Sequence[ScoreRow], refinement: str = "", *, plain: str = "baseline") -> list[str]:
    """Sentences on what each stage gained or lost, the most important first.

    Args:
        rows: measurements of a run, one or more.
        refinement: method of the refinement, as the recipe names it.
        plain: as for `change`.
    """
    sentences = [_on_seed(rows, method, plain) for method in METHODS if method != "baseline"]
    if not any(sentences):
        sentences.append(_on_baseline(rows))
    for method in METHODS:
        sentences += _on_stages(rows, method, refinement)
    told = [sentence for sentence in sentences if sentence]
    told = told or ["Whether the stages helped is not known: no two of them were measured on the same photos."]
    return _note_on_few_photos(rows) + told + _note_on_chance(rows, plain) + notes_on_absent_classes(rows)


def level_name(level: str, refinement: str) -> str:
    """Name of a level in the terms of the field."""
    return {"cam": "CAM", "crf": "CRF", "refined": _REFINEMENTS.get(refinement, "refined")}.get(level, level)


def method_name(method: str) -> str:
    """Short name of a method."""
    return _METHOD_NAMES[method].removeprefix("the ").removesuffix(" variant") if method in _METHOD_NAMES else method


def _reference(method: str, plain: str) -> str:
    """The method that a method's training began with, whose seeds its own are compared with; empty if there is none."""
    match method:
        case "pretrained" | "acr":
            return plain
        case "acr_vit":
            return "acr"
    return ""


def _made_of(level: Level) -> Sequence[Level]:
    """What a level is made of: the first of these that was measured."""
    match level:
        case "crf" | "refined":
            return ("seed",)
        case _:
            return LEVELS[: LEVELS.index(level)][::-1]


def _maps_of_labels(rows: Sequence[ScoreRow], labels: ScoreRow) -> ScoreRow | None:
    """The refined maps, or seeds, at the threshold that made pseudo-labels of them; None for labels of other origin."""
    by_key = {row.key: row for row in rows}
    levels: tuple[Level, ...] = ("refined", "seed")
    found = (by_key.get(replace(labels, level=level).key) for level in levels)
    return next((row for row in found if row), None)


def _against(row: ScoreRow, before: ScoreRow) -> Change:
    points = 100 * (row.miou - before.miou)
    effect: Effect
    if abs(points) < _NOTHING:
        effect = "unchanged"
    # As it is shown, with one digit.
    elif round(abs(points), 1) < _CLEAR:
        effect = "unclear"
    elif points > 0:
        effect = "helped"
    else:
        effect = "harmed"
    return Change(points, before, effect)


def _on_seed(rows: Sequence[ScoreRow], method: str, plain: str) -> str:
    row = leading_row(rows, method, "seed")
    if row is None:
        return ""
    name, after = _METHOD_NAMES[method], f"{100 * row.miou:.1f}"
    gain = change(rows, row, plain=plain)
    if gain is None:
        return f"{_capital(name)} gives a seed of {after} mIoU."
    of_whom = "" if gain.against.method == "baseline" else f" ({method_name(gain.against.method)})"
    before = f"{100 * gain.against.miou:.1f}{of_whom}"
    match gain.effect:
        case "helped":
            return f"{_capital(name)} raised the seed from {before} to {after} mIoU ({gain.points:+.1f})."
        case "unchanged":
            return f"{_capital(name)} left the seed at {after} mIoU."
        case "unclear":
            return (
                f"{_capital(name)} made no clear difference: the seed went from {before} to {after} mIoU "
                f"({_signed(gain.points)})."
            )
    return f"{_capital(name)} did not help: the seed fell from {before} to {after} mIoU ({_signed(gain.points)})."


def _on_baseline(rows: Sequence[ScoreRow]) -> str:
    row = leading_row(rows, "baseline", "seed")
    return f"The baseline gives a seed of {100 * row.miou:.1f} mIoU." if row else ""


def _on_stages(rows: Sequence[ScoreRow], method: str, refinement: str) -> list[str]:
    """Sentences on CRF, refinement, pseudo-labels and segmenter of one method."""
    several = len({row.method for row in rows if row.level != "seed" and row.method != TWIN}) > 1
    of_method = f" of {_METHOD_NAMES[method]}" if several else ""
    sentences = _on_sharpening(rows, method, refinement, of_method)
    labels = leading_row(rows, method, "pseudo-label")
    sentences.append(_on_labels(rows, labels) if labels else "")
    segmenter = leading_row(rows, method, "segmenter")
    sentences.append(_on_segmenter(rows, segmenter, of_method) if segmenter else "")
    return sentences


def _on_sharpening(rows: Sequence[ScoreRow], method: str, refinement: str, of_method: str) -> list[str]:
    """Sentences on what CRF and refinement made of the seeds, and whether an unused CRF is better."""
    crf, refined = (leading_row(rows, method, level) for level in ("crf", "refined"))
    of_crf, of_refined = (change(rows, row) if row else None for row in (crf, refined))
    name = _REFINEMENTS.get(refinement, "the refinement")
    sentences = [_on_gain("the CRF" + of_method, of_crf), _on_gain(name + of_method, of_refined)]
    is_harmful = of_crf is not None and of_crf.effect == "harmed"
    if crf and refined and not is_harmful and _against(refined, crf).effect == "harmed":
        sentences.append(
            f"The CRF's labels{of_method} are the better level to use: {100 * crf.miou:.1f} mIoU against "
            f"{100 * refined.miou:.1f} for {name}."
        )
    return sentences


def _on_gain(name: str, gain: Change | None) -> str:
    if gain is None:
        return ""
    points = f"{_signed(gain.points)} against the {gain.against.level}"
    match gain.effect:
        case "helped":
            return f"{_capital(name)} helped ({points})."
        case "unchanged":
            return f"{_capital(name)} changed nothing."
        case "unclear":
            return f"{_capital(name)} made no clear difference ({points})."
    return f"{_capital(name)} did not help ({points})."


def _on_labels(rows: Sequence[ScoreRow], row: ScoreRow) -> str:
    """Sentences on how good pseudo-labels are, what their threshold costs, and what unlabelled pixels do."""
    maps = _maps_of_labels(rows, row)
    best = leading_row(rows, maps.method, maps.level, maps.split) if maps else None
    price = 100 * (best.miou - maps.miou) if maps and best else 0.0
    found = change(rows, row)
    parts = []
    if price >= _NOTHING:
        parts.append(f"the threshold, set without masks, costs {price:.1f}")
    if found and found.effect == "unlabelled":
        verb = "gain" if found.points > 0 else "cost"
        parts.append(f"pixels left unlabelled (255, counted as missed) {verb} {abs(found.points):.1f}")
    causes = f": {', and '.join(parts)}" if parts else ""
    return f"The pseudo-labels reach {100 * row.miou:.1f} mIoU{causes}."


def _on_segmenter(rows: Sequence[ScoreRow], row: ScoreRow, of_method: str) -> str:
    share = share_of_full_supervision(rows, row)
    full = f", {100 * share:.0f} % of what the same network reaches with true masks" if share else ""
    return f"The segmenter{of_method} reaches {100 * row.miou:.1f} mIoU on {row.split}{full}."


def _note_on_chance(rows: Sequence[ScoreRow], plain: str) -> list[str]:
    """What "no clear difference" means, if that is said of a measurement."""
    changes = [change(rows, row, plain=plain) for row in rows]
    if not any(found and found.effect == "unclear" for found in changes):
        return []
    return [f"A difference below {_CLEAR} points is not clear: another random seed alone can make one as large."]


def _note_on_few_photos(rows: Sequence[ScoreRow]) -> list[str]:
    """A warning that what follows may be chance, if the first measured level was measured on few photos."""
    first = min(rows, key=lambda row: LEVELS.index(row.level))
    if first.num_photos >= _FEW_PHOTOS:
        return []
    photos, were, these = ("photo", "was", "it") if first.num_photos == 1 else ("photos", "were", "these")
    measured = f"Only {first.num_photos} {photos} of {first.split} {were} measured"
    return [f"{measured}, too few to tell what helped: what follows holds for {these} alone."]


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
