from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tag2mask.evaluation.confusion import confusion_matrix, mean_iou_of_shown, scores_from_confusion


def test_hand_computed_case_gives_iou_precision_and_recall():
    label_map = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    prediction = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)

    scores = scores_from_confusion(confusion_matrix(prediction, label_map, num_classes=2), ["cat", "dog"])

    assert list(scores.iou) == ["background", "cat", "dog"]
    assert scores.iou == pytest.approx({"background": 1 / 3, "cat": 2 / 3, "dog": 0})
    assert scores.miou == pytest.approx(1 / 3)
    assert scores.precision == pytest.approx((2 / 3 + 0) / 2)
    assert scores.recall == pytest.approx((1 + 0) / 2)


def test_confusion_equals_a_loop_over_the_pixels():
    rng = np.random.default_rng(0)
    values = np.array([0, 1, 2, 3, 255], np.uint8)
    prediction, label_map = rng.choice(values, (2, 20, 30))

    expected = np.zeros((5, 4), np.int64)
    for predicted, true in zip(prediction.flat, label_map.flat, strict=True):
        if true != 255:
            expected[4 if predicted == 255 else predicted, true] += 1

    assert np.array_equal(confusion_matrix(prediction, label_map, num_classes=3), expected)


def test_pixels_predicted_as_ignored_are_missed_pixels_of_their_class():
    label_map = np.array([[1, 1, 0, 0]], np.uint8)
    prediction = np.array([[1, 255, 0, 255]], np.uint8)

    scores = scores_from_confusion(confusion_matrix(prediction, label_map, num_classes=1), ["cat"])

    assert scores.recall == pytest.approx(0.5)
    assert scores.precision == pytest.approx(1)
    assert scores.iou == pytest.approx({"background": 0.5, "cat": 0.5})


@pytest.mark.parametrize("wrong", [[], [2]])
def test_absent_class_counts_as_zero_and_has_no_iou_of_its_own(wrong: list[int]):
    label_map = np.array([[0, 1, *[1 for _ in wrong]]], np.uint8)
    prediction = np.array([[0, 1, *wrong]], np.uint8)

    scores = scores_from_confusion(confusion_matrix(prediction, label_map, num_classes=2), ["cat", "dog"])

    iou_of_cat = 1 / (1 + len(wrong))
    assert scores.iou == pytest.approx({"background": 1, "cat": iou_of_cat, "dog": None})
    assert scores.miou == pytest.approx((1 + iou_of_cat + 0) / 3)


def test_iou_of_a_photo_counts_classes_that_it_has_or_that_are_seen_in_it():
    label_map = np.array([[0, 1, 1, 3]], np.uint8)
    prediction = np.array([[0, 1, 2, 0]], np.uint8)

    # Background and cat are half right, the dog is only seen, the cow only there, and of a fourth class nothing is.
    confusion = confusion_matrix(prediction, label_map, num_classes=4)

    assert mean_iou_of_shown(confusion) == pytest.approx((1 / 2 + 1 / 2 + 0 + 0) / 4)


def test_counts_beyond_32_bits_do_not_wrap():
    confusion = np.array([[3_000_000_000, 1_000_000_000], [0, 4_000_000_000]], np.int64)

    scores = scores_from_confusion(confusion, ["cat"])

    assert scores.iou == pytest.approx({"background": 3 / 4, "cat": 4 / 5})


@pytest.mark.parametrize("wrong", ["prediction", "label_map"])
def test_unknown_class_is_refused(wrong: str):
    maps = {"prediction": np.zeros((2, 2), np.uint8), "label_map": np.full((2, 2), 255, np.uint8)}
    maps[wrong][0, 1] = 7

    with pytest.raises(ValueError, match="has class 7, but expected 0 to 2 or 255"):
        confusion_matrix(maps["prediction"], maps["label_map"], num_classes=2)


def test_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), num_classes=1)


@pytest.mark.parametrize("wrong", ["prediction", "label_map"])
def test_ids_of_another_type_are_refused_lest_minus_one_count_as_255(wrong: str):
    maps: dict[str, NDArray[Any]] = {name: np.zeros((2, 2), np.uint8) for name in ("prediction", "label_map")}
    maps[wrong] = np.full((2, 2), -1)

    with pytest.raises(ValueError, match="label map is int64, expected uint8 class ids"):
        confusion_matrix(maps["prediction"], maps["label_map"], num_classes=1)


@pytest.mark.parametrize("names", [["cat"], ["background", "cat", "dog"]])
def test_another_number_of_class_names_is_refused(names: list[str]):
    with pytest.raises(ValueError, match=f"found {len(names)} class names, expected 2 without the background"):
        scores_from_confusion(np.eye(3, dtype=np.int64), names)
