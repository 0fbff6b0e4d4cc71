import pytest

from tag2mask.config import CrfSettings, LabelSettings, Recipe, ReconstructorSettings, RefinementSettings
from tag2mask.contradictions import check_side, unread_label_settings


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


def test_changed_settings_of_labels_are_unread_where_the_crf_makes_the_labels():
    labels, plain = LabelSettings("estimated", uncertain=0.1), RefinementSettings(method="none")
    unread = Recipe(labels=labels, refinement=plain)

    assert unread_label_settings(unread) == ["labels.threshold_source", "labels.uncertain"]
    assert unread_label_settings(Recipe(refinement=plain)) == []
    assert unread_label_settings(Recipe(labels=labels)) == []
    assert unread_label_settings(Recipe(labels=labels, refinement=plain, crf=CrfSettings(enabled=False))) == []
