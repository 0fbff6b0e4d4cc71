from dataclasses import replace

import pytest

from tag2mask.config import (
    AcrSettings,
    ClassifierLoss,
    CrfSettings,
    LabelSettings,
    OptimizerSettings,
    Recipe,
    ReconstructorLoss,
    ReconstructorSettings,
    RefinementSettings,
    SegmenterSettings,
)
from tag2mask.runs.contradictions import (
    check_acr,
    check_side,
    check_thresholds,
    check_warmup,
    most_uncertain,
    unread_label_settings,
)


@pytest.mark.parametrize(
    ("image_side", "crop", "told"),
    [
        (0, 200, "data.crop is 200, but a reconstructor of depth 8 needs a multiple of 256: take 256, or "
                 "reconstructor.depth 3"),
        (96, 256, "reconstructor.image_side is 96, .* multiple of 256: take 256, or reconstructor.depth 5"),
        (0, 385, "take 512$"),
    ],
)  # fmt: skip
def test_side_that_does_not_fit_the_depth_is_refused(image_side: int, crop: int, told: str):
    with pytest.raises(ValueError, match=told):
        check_side(ReconstructorSettings(image_side=image_side), crop)


def test_side_that_fits_the_depth_is_accepted():
    check_side(ReconstructorSettings(), 512)
    check_side(ReconstructorSettings(depth=5, image_side=64), 200)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (AcrSettings(reconstructor_loss=ReconstructorLoss(target=0, non_target=0)),
         "acr.reconstructor_loss: target and non_target are 0, so that no segment is restored"),
        (AcrSettings(classifier_loss=ClassifierLoss(0, 0, 0)), "acr.classifier_loss: every weight is 0"),
    ],
)  # fmt: skip
def test_weights_that_teach_a_network_nothing_are_refused(settings: AcrSettings, told: str):
    with pytest.raises(ValueError, match=told):
        check_acr(Recipe(acr=settings))


def test_one_term_is_enough_for_each_network():
    lonely = AcrSettings(
        reconstructor_loss=ReconstructorLoss(whole=0, target=0), classifier_loss=ClassifierLoss(target=0, non_target=0)
    )

    check_acr(Recipe(acr=lonely))


@pytest.mark.parametrize(
    ("threshold", "uncertain", "told"),
    [
        (0.8, 0.25, r"labels\.uncertain is 0\.25, but labels\.threshold is 0\.8: .* of a class .* at most 0\.2$"),
        (0.25, 0.3, r"labels\.uncertain is 0\.3, but labels\.threshold is 0\.25: .* background .* at most 0\.25$"),
    ],
)
def test_threshold_with_a_side_that_is_unsure_as_a_whole_is_refused(threshold: float, uncertain: float, told: str):
    with pytest.raises(ValueError, match=told):
        check_thresholds(Recipe(labels=LabelSettings("fixed", threshold, uncertain)))


def test_threshold_with_sure_pixels_on_both_sides_or_that_is_not_read_is_accepted():
    unsure = LabelSettings(threshold=0.8, uncertain=0.3)

    for threshold, uncertain in ((0.8, 0.2), (0.7, 0.3), (0.3, 0.3), (0.0, 0.0)):
        check_thresholds(Recipe(labels=LabelSettings("fixed", threshold, uncertain)))
    check_thresholds(Recipe(labels=replace(unsure, threshold_source="estimated")))
    check_thresholds(Recipe(labels=unsure, refinement=RefinementSettings(method="none")))


def test_most_that_may_be_unsure_is_the_way_to_the_nearer_end_of_the_maps():
    # To the digit: 1 - 0.9 is 0.09999999999999998.
    assert [most_uncertain(threshold) for threshold in (0.0, 0.15, 0.5, 0.9, 1.0)] == [0, 0.15, 0.5, 0.1, 0]


def test_changed_settings_of_labels_are_unread_where_the_crf_makes_the_labels():
    labels, plain = LabelSettings("estimated", uncertain=0.1), RefinementSettings(method="none")
    unread = Recipe(labels=labels, refinement=plain)

    assert unread_label_settings(unread) == (
        "labels.threshold_source, labels.uncertain: not read, as labels are what the CRF makes without a refinement"
    )
    assert unread_label_settings(Recipe(refinement=plain)) == ""
    assert unread_label_settings(Recipe(labels=labels)) == ""
    assert unread_label_settings(Recipe(labels=labels, refinement=plain, crf=CrfSettings(enabled=False))) == ""


def test_changed_threshold_is_unread_where_it_is_estimated():
    estimated, fixed = (Recipe(labels=LabelSettings(source, threshold=0.4)) for source in ("estimated", "fixed"))

    assert unread_label_settings(estimated).startswith(
        "labels.threshold: not read, as labels.threshold_source is estimated: set that to fixed"
    )
    assert unread_label_settings(fixed) == ""


def test_refused_warm_up_names_the_setting_to_lower():
    recipe = Recipe(segmenter=SegmenterSettings(epochs=1, optimizer=OptimizerSettings(warmup_epochs=1)))

    with pytest.raises(ValueError, match=r"has 1 epoch: lower segmenter\.optimizer\.warmup_epochs below 1"):
        check_warmup(recipe, "segmenter")
