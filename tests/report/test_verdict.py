from dataclasses import replace

import pytest

from tag2mask.config import Level
from tag2mask.report.tables import ScoreRow, ThresholdSource
from tag2mask.report.verdict import change, leading_row, share_of_full_supervision, verdict


def row(
    level: Level, miou: float, *, method: str = "acr", source: ThresholdSource | None = None, split: str = "train"
) -> ScoreRow:
    threshold = None if source is None else 0.3
    return ScoreRow(method, level, split, miou, 0.5, 0.5, {}, threshold, source, 30, 1.0)


BASELINE = row("seed", 0.41, method="baseline", source="best on this split")
SEED = row("seed", 0.492, source="best on this split")
CRF = row("crf", 0.523)
REFINED = row("refined", 0.519, source="best on this split")


def test_verdict_tells_what_every_stage_gained_and_which_level_is_better():
    refined = row("refined", 0.515, source="best on this split")
    rows = [BASELINE, SEED, CRF, refined, row("refined", 0.501, source="estimated")]
    rows.append(row("pseudo-label", 0.501, source="estimated"))

    assert verdict(rows, "irn") == [
        "ACR raised the seed from 41.0 to 49.2 mIoU (+8.2).",
        "The CRF helped (+3.1 against the seed).",
        "IRN helped (+2.3 against the seed).",
        "The CRF's labels are the better level to use: 52.3 mIoU against 51.5 for IRN.",
        "The pseudo-labels reach 50.1 mIoU: the threshold, set without masks, costs 1.4.",
    ]


@pytest.mark.parametrize(
    ("miou", "told"),
    [
        (0.540, "54.0 mIoU: the threshold, set without masks, costs 0.5, and {unlabelled} cost 4.2."),
        (0.590, "59.0 mIoU: the threshold, set without masks, costs 0.5, and {unlabelled} gain 0.8."),
        (0.582, "58.2 mIoU: the threshold, set without masks, costs 0.5."),
    ],
)
def test_what_labels_lose_is_told_apart_into_threshold_and_unlabelled_pixels(miou: float, told: str):
    best, fixed, estimated = (
        row("refined", value, source=source)
        for value, source in ((0.587, "best on this split"), (0.4, "fixed"), (0.582, "estimated"))
    )
    rows = [SEED, best, fixed, estimated, row("pseudo-label", miou, source="estimated")]

    found = change(rows, rows[-1])

    unlabelled = "pixels left unlabelled (255, counted as missed)"
    assert verdict(rows, "irn")[-1] == "The pseudo-labels reach " + told.format(unlabelled=unlabelled)
    assert found is not None
    assert found.against == estimated
    assert found.points == pytest.approx(100 * miou - 58.2)
    assert found.effect == ("unchanged" if miou == 0.582 else "unlabelled")


def test_unlabelled_pixels_alone_are_told_where_the_threshold_costs_nothing():
    rows = [SEED, REFINED, row("refined", 0.519, source="fixed"), row("pseudo-label", 0.5, source="fixed")]

    assert verdict(rows, "irn")[-1] == (
        "The pseudo-labels reach 50.0 mIoU: pixels left unlabelled (255, counted as missed) cost 1.9."
    )


@pytest.mark.parametrize(
    ("miou", "told"), [(0.3, ""), (0.27, ", and pixels left unlabelled (255, counted as missed) cost 3.0")]
)
def test_labels_made_of_seeds_tell_what_their_threshold_costs_too(miou: float, told: str):
    fixed, of_labels = (
        replace(row("seed", value, source="fixed"), threshold=threshold)
        for value, threshold in ((0.45, 0.25), (0.3, 0.4))
    )
    rows = [BASELINE, SEED, fixed, of_labels, replace(of_labels, level="pseudo-label", miou=miou)]

    found = change(rows, rows[-1])

    assert verdict(rows)[1:] == [
        f"The pseudo-labels reach {100 * miou:.1f} mIoU: the threshold, set without masks, costs 19.2{told}."
    ]
    assert found is not None
    assert (found.against, found.effect) == (of_labels, "unlabelled" if told else "unchanged")


def test_labels_of_an_unknown_threshold_are_not_blamed_on_one():
    labels = row("pseudo-label", 0.5)
    rows = [SEED, REFINED, row("refined", 0.45, source="fixed"), labels]

    found = change(rows, labels)

    assert verdict(rows, "irn")[-1] == "The pseudo-labels reach 50.0 mIoU."
    assert found is not None
    assert (found.against, found.effect) == (REFINED, "harmed")


def test_maps_and_labels_are_compared_with_what_they_are_made_of():
    labels = row("pseudo-label", 0.5)
    rows = [SEED, CRF, REFINED, labels]

    changes = {part.level: change(rows, part) for part in rows[1:]}
    of_the_crf = change([SEED, CRF, labels], labels)

    against = {level: found.against for level, found in changes.items() if found}
    assert against == {"crf": SEED, "refined": SEED, "pseudo-label": REFINED}
    assert of_the_crf is not None
    assert of_the_crf.against == CRF


@pytest.mark.parametrize(
    ("crf", "told"),
    [
        (0.3, ["The CRF did not help (−19.2 against the seed).", "AffinityNet did not help (−24.2 against the seed)."]),
        (0.2, ["The CRF did not help (−29.2 against the seed).", "AffinityNet did not help (−24.2 against the seed)."]),
    ],
)
def test_no_level_is_called_better_where_none_is_better_than_the_seed(crf: float, told: list[str]):
    rows = [SEED, row("crf", crf), row("refined", 0.25, source="fixed")]

    assert verdict(rows, "affinity")[1:] == told


def test_segmenter_is_compared_with_a_fully_supervised_one():
    segmenter = row("segmenter", 0.54, split="val")
    rows = [SEED, segmenter, row("segmenter", 0.6, method="masks", split="val")]

    assert share_of_full_supervision(rows, segmenter) == pytest.approx(0.9)
    assert share_of_full_supervision(rows, rows[-1]) is None
    assert verdict(rows)[-1] == (
        "The segmenter reaches 54.0 mIoU on val, 90 % of what the same network reaches with true masks."
    )
    assert change(rows, segmenter) is None


def test_each_method_has_sentences_of_its_own():
    rows = [BASELINE, row("crf", 0.5, method="baseline"), SEED, CRF]

    assert verdict(rows)[1:] == [
        "The CRF of the baseline helped (+9.0 against the seed).",
        "The CRF of ACR helped (+3.1 against the seed).",
    ]


def test_classes_that_no_measured_photo_shows_are_named():
    iou = {"background": 0.9, "cat": 0.6, "dog": None}
    rows = [replace(part, iou=iou) for part in (SEED, CRF)]
    whole = replace(row("segmenter", 0.7, split="val"), iou=iou | {"dog": 0.0})

    assert verdict([*rows, whole])[-1] == (
        "Warning: none of the 30 measured photos of train shows dog, which counts as 0: "
        "no mIoU on them can be above 66.7."
    )
    assert not any("Warning" in sentence for sentence in verdict([whole]))


def test_on_few_photos_the_headline_says_that_they_are_too_few():
    rows = [replace(row("segmenter", 0.54, split="val"), num_photos=200)]
    rows += [replace(part, num_photos=29) for part in (BASELINE, SEED)]

    assert verdict(rows)[:2] == [
        "Only 29 photos of train were measured, too few to tell what helped: what follows holds for these alone.",
        "ACR raised the seed from 41.0 to 49.2 mIoU (+8.2).",
    ]
    assert verdict([replace(SEED, num_photos=1)])[0].startswith("Only 1 photo of train was measured, ")
    assert verdict([BASELINE, SEED])[0].startswith("ACR raised")


def test_a_loss_and_no_change_are_called_so():
    worse = row("seed", 0.4, source="best on this split")

    assert verdict([BASELINE, worse])[0] == "ACR did not help: the seed fell from 41.0 to 40.0 mIoU (−1.0)."
    assert verdict([SEED, row("crf", 0.4921)])[1] == "The CRF changed nothing."
    assert verdict([BASELINE])[0] == "The baseline gives a seed of 41.0 mIoU."


@pytest.mark.parametrize(
    ("seed", "crf", "told"),
    [
        (
            0.413, 0.411,
            ["ACR made no clear difference: the seed went from 41.0 to 41.3 mIoU (+0.3).",
             "The CRF made no clear difference (−0.2 against the seed).",
             "A difference below 0.5 points is not clear: another random seed alone can make one as large."],
        ),
        (
            0.406, 0.406,
            ["ACR made no clear difference: the seed went from 41.0 to 40.6 mIoU (−0.4).",
             "The CRF changed nothing.",
             "A difference below 0.5 points is not clear: another random seed alone can make one as large."],
        ),
        (
            0.415, 0.42,
            ["ACR raised the seed from 41.0 to 41.5 mIoU (+0.5).", "The CRF helped (+0.5 against the seed)."],
        ),
    ],
)  # fmt: skip
def test_difference_that_another_seed_can_make_is_no_gain_and_no_loss(seed: float, crf: float, told: list[str]):
    rows = [BASELINE, row("seed", seed, source="best on this split"), row("crf", crf)]

    assert verdict(rows) == told


def test_refinement_that_is_a_little_behind_the_crf_is_not_the_worse_level():
    rows = [SEED, CRF, REFINED]

    assert not any("better level" in sentence for sentence in verdict(rows))


def test_the_best_threshold_stands_for_a_level_and_others_are_its_price():
    fixed = row("refined", 0.45, source="fixed")
    rows = [SEED, fixed, REFINED]

    found = change(rows, fixed)

    assert leading_row(rows, "acr", "refined") == REFINED
    assert found is not None
    assert (found.points, found.against, found.effect) == (pytest.approx(-6.9), REFINED, "threshold")


def test_seeds_are_compared_at_thresholds_of_the_same_source():
    fixed = row("seed", 0.4, source="fixed")
    rows = [BASELINE, SEED, row("seed", 0.38, method="baseline", source="fixed"), fixed]

    found = change(rows, fixed)

    assert found is not None
    assert (found.points, found.effect) == (pytest.approx(2.0), "helped")
    assert change(rows, BASELINE) is None


def test_seeds_are_not_compared_at_different_fixed_thresholds():
    baseline, fixed = row("seed", 0.38, method="baseline", source="fixed"), row("seed", 0.4, source="fixed")
    of_labels = replace(fixed, miou=0.2, threshold=0.5)

    for rows in ([baseline, fixed, of_labels], [of_labels, fixed, baseline]):
        found = change(rows, fixed)
        assert found is not None
        assert found.against == baseline
        assert change(rows, of_labels) is None


def test_spread_seeds_are_compared_with_those_that_were_spread():
    rows = [BASELINE, SEED, row("seed", 0.53, method="acr_vit", source="best on this split")]

    assert verdict(rows)[1:] == ["ACR + ViT raised the seed from 49.2 (ACR) to 53.0 mIoU (+3.8)."]


def test_seeds_are_compared_with_those_of_the_network_that_learned_against_the_reconstructor():
    mctformer = row("seed", 0.5, method="mctformer", source="best on this split")
    rows = [BASELINE, mctformer, SEED]

    assert verdict(rows, plain="mctformer") == [
        "ACR did not help: the seed fell from 50.0 (MCTformer) to 49.2 mIoU (−0.8).",
        "MCTformer gives a seed of 50.0 mIoU.",
    ]
    assert verdict(rows, plain="baseline")[0] == "ACR raised the seed from 41.0 to 49.2 mIoU (+8.2)."
    found = change(rows, SEED, plain="mctformer")
    assert found is not None
    assert found.against == mctformer


def test_seeds_are_not_compared_with_those_of_another_network():
    rows = [row("seed", 0.5, method="mctformer", source="best on this split"), SEED]

    assert verdict(rows, plain="baseline") == [
        "ACR gives a seed of 49.2 mIoU.",
        "MCTformer gives a seed of 50.0 mIoU.",
    ]


def test_a_transformer_is_another_network_and_not_a_step_after_the_baseline():
    rows = [BASELINE, row("seed", 0.3, method="mctformer", source="best on this split"), SEED]

    assert verdict(rows) == [
        "ACR raised the seed from 41.0 to 49.2 mIoU (+8.2).",
        "MCTformer gives a seed of 30.0 mIoU.",
    ]
    assert change(rows, rows[1]) is None
