import json
from pathlib import Path

import numpy as np
import pytest

from tag2mask.evaluation.confusion import confusion_matrix
from tag2mask.evaluation.label_maps import LabelMapCounts
from tag2mask.evaluation.sweep import ThresholdSweep, sweep_photo
from tag2mask.evaluation.thresholds import THRESHOLDS

NUM_CLASSES = 4

Photo = tuple[np.ndarray, np.ndarray, np.ndarray]


def drawn_photo(rng: np.random.Generator, class_ids: list[int], height: int = 24, width: int = 31) -> Photo:
    """Activations at, just above and just below the thresholds, and anywhere, with ties between classes."""
    shape = len(class_ids), height, width
    edges = rng.choice(THRESHOLDS, shape)
    cams = np.choose(
        rng.integers(0, 4, shape),
        [edges, np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-1)), rng.random(shape)],
    ).astype(np.float32)
    if len(class_ids) > 1:
        cams[0, : height // 3] = cams[1, : height // 3]
    label_map = rng.choice(np.array([0, *range(1, NUM_CLASSES + 1), 255], np.uint8), (height, width))
    return cams, np.array(class_ids, np.uint8), label_map


def brute_force(photos: list[Photo]) -> np.ndarray:
    """Confusion at each threshold, with background as one more channel of an argmax."""
    confusion = np.zeros((len(THRESHOLDS), NUM_CLASSES + 1, NUM_CLASSES + 1), np.int64)
    for cams, class_ids, label_map in photos:
        scores = np.zeros((NUM_CLASSES + 1, *label_map.shape), np.float32)
        scores[class_ids] = cams
        # A channel of no tag stands below everything, so that it never wins.
        scores[[c for c in range(1, NUM_CLASSES + 1) if c not in class_ids]] = -1
        for index, threshold in enumerate(THRESHOLDS):
            scores[0] = threshold
            prediction = scores.argmax(axis=0)
            for predicted in range(NUM_CLASSES + 1):
                for true in range(NUM_CLASSES + 1):
                    confusion[index, predicted, true] += ((prediction == predicted) & (label_map == true)).sum()
    return confusion


def swept(photos: list[Photo], num_classes: int = NUM_CLASSES) -> ThresholdSweep:
    sweep = ThresholdSweep(num_classes)
    for photo in photos:
        sweep.add(sweep_photo(*photo, num_classes=num_classes))
    return sweep


@pytest.fixture
def photos() -> list[Photo]:
    rng = np.random.default_rng(3)
    return [drawn_photo(rng, class_ids) for class_ids in ([2], [1, 3], [4, 1, 2], [])]


def test_one_pass_equals_a_loop_over_the_thresholds(photos: list[Photo]):
    confusion = swept(photos).confusion()

    assert np.array_equal(confusion, brute_force(photos))


def test_scores_equal_those_of_the_loop(photos: list[Photo]):
    scores = swept(photos).scores()

    for index, confusion in enumerate(brute_force(photos)):
        hits, predicted, true = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        iou = hits / np.maximum(predicted + true - hits, 1)
        assert scores.iou[index] == pytest.approx(iou, abs=1e-6)
        assert scores.miou[index] == pytest.approx(iou.mean(), abs=1e-6)
        assert scores.precision[index] == pytest.approx((hits / np.maximum(predicted, 1))[1:].mean(), abs=1e-6)
        assert scores.recall[index] == pytest.approx((hits / np.maximum(true, 1))[1:].mean(), abs=1e-6)


def test_every_float32_around_a_threshold_falls_in_the_bin_of_its_comparisons():
    nudges = np.arange(-3, 4, dtype=np.int32)
    activation = (THRESHOLDS.view(np.int32)[1:, None] + nudges).view(np.float32)
    activation = np.append(activation.ravel(), np.float32([-1, -1e-30, 0, 1e-30, 1e-12, 1.5, 300])).reshape(1, 1, -1)

    sweep = swept([(activation, np.array([1]), np.ones((1, activation.size), np.uint8))])

    above = (activation.ravel()[:, None] > THRESHOLDS).sum(axis=0)
    assert np.array_equal(sweep.confusion()[:, 1, 1], above)


def test_released_code_gives_the_same_scores(golden: Path):
    recorded = json.loads((golden / "evaluation.json").read_text())
    photos = []
    for image in recorded["images"]:
        class_ids = [int(key) + 1 for key in image["cam_times_4096"]]
        cams = np.array(list(image["cam_times_4096"].values()), np.float32) / 4096
        photos.append((cams, np.array(class_ids), np.array(image["gt"], np.uint8)))

    scores = swept(photos, recorded["num_classes"] - 1).scores()

    for result in recorded["results"]:
        named = scores.at(result["threshold"], recorded["class_names"][1:])
        index = round(result["threshold"] * 100)
        assert named.miou * 100 == pytest.approx(result["miou_percent"], rel=0, abs=1e-10)
        # The released means have the background among the classes; those that are printed here leave it out.
        for printed, name in ((named.precision, "precision"), (named.recall, "recall")):
            of_classes = getattr(scores.classes, name)[index]
            assert of_classes.mean() == pytest.approx(result[f"mean_{name}"], rel=0, abs=1e-10)
            without_background = recorded["num_classes"] * result[f"mean_{name}"] - of_classes[0]
            assert printed == pytest.approx(without_background / (recorded["num_classes"] - 1), rel=0, abs=1e-10)
        assert scores.iou[index] * 100 == pytest.approx(result["iou_percent"], rel=0, abs=1e-10)
    for threshold, miou in recorded["official_sweep_0_15_to_0_34"]:
        assert scores.miou[round(threshold * 100)] * 100 == pytest.approx(miou, rel=0, abs=1e-10)


def test_label_map_of_an_ignored_photo_adds_nothing(photos: list[Photo]):
    cams, class_ids, label_map = photos[1]

    sweep = swept([(cams, class_ids, np.full_like(label_map, 255))])

    assert not sweep.counts.any()


def test_order_of_the_classes_does_not_matter(photos: list[Photo]):
    cams, class_ids, label_map = photos[2]

    assert np.array_equal(
        swept([(cams[::-1], class_ids[::-1], label_map)]).counts, swept([(cams, class_ids, label_map)]).counts
    )


def test_counts_beyond_32_bits_do_not_wrap():
    pixel = np.float32([[[0.5]]]), np.array([1]), np.uint8([[1]])
    sweep = swept([pixel])
    sweep.counts *= 2**31 - 1

    sweep.add(sweep_photo(*pixel, num_classes=NUM_CLASSES))

    assert sweep.confusion()[0, 1, 1] == 2**31


def test_best_is_the_lowest_threshold_of_the_highest_miou():
    cams = np.float32([[[0.2, 0.8, 0.8]]])
    sweep = swept([(cams, np.array([2]), np.uint8([[0, 2, 2]]))])

    scores = sweep.scores()

    assert scores.best() == 0.2
    expected = {"background": 1, "a": None, "b": 1, "c": None, "d": None}
    assert scores.at(0.2, ["a", "b", "c", "d"]).iou == pytest.approx(expected)
    assert scores.at(0.19, ["a", "b", "c", "d"]).iou["b"] == pytest.approx(2 / 3)


def test_seeds_at_a_threshold_score_as_label_maps_do(photos: list[Photo]):
    cams, class_ids, label_map = photos[1]
    sweep = swept([photos[1]])

    seed = np.where(cams.max(axis=0) > THRESHOLDS[30], class_ids[cams.argmax(axis=0)], 0).astype(np.uint8)

    confusion = confusion_matrix(seed, label_map, num_classes=NUM_CLASSES)
    assert np.array_equal(sweep.confusion()[30], confusion[:-1])


def test_iou_of_a_photo_at_each_threshold_is_that_of_its_seeds_there(photos: list[Photo]):
    for cams, class_ids, label_map in photos:
        counts = LabelMapCounts(["a", "b", "c", "d"])
        for index, confusion in enumerate(swept([(cams, class_ids, label_map)]).confusion()):
            counts.add(f"{index}", np.append(confusion, np.zeros_like(confusion[:1]), axis=0))

        iou = sweep_photo(cams, class_ids, label_map, num_classes=NUM_CLASSES).iou()

        assert iou.tolist() == list(counts.photos.values())


def test_photo_without_a_known_pixel_has_no_iou(photos: list[Photo]):
    cams, class_ids, label_map = photos[1]

    assert len(sweep_photo(cams, class_ids, np.full_like(label_map, 255), num_classes=NUM_CLASSES).iou()) == 0


def test_threshold_that_was_not_measured_is_refused(photos: list[Photo]):
    with pytest.raises(ValueError, match=r"threshold 0\.305 was not measured"):
        swept(photos).scores().at(0.305, ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("class_ids", "height", "message"),
    [([1], 4, "shape"), ([1, 2], 5, "shape"), ([0, 1], 4, "distinct ids"), ([2, 2], 4, "distinct ids")],
)
def test_maps_that_do_not_fit_are_refused(class_ids: list[int], height: int, message: str):
    with pytest.raises(ValueError, match=message):
        sweep_photo(np.zeros((2, 4, 4), np.float32), class_ids, np.zeros((height, 4), np.uint8), num_classes=2)


def test_unknown_class_is_refused():
    with pytest.raises(ValueError, match="label map has class 3, but expected 0 to 2"):
        sweep_photo(np.zeros((1, 2, 2), np.float32), [1], np.full((2, 2), 3, np.uint8), num_classes=2)


def test_label_map_of_another_type_is_refused_by_the_sweep():
    with pytest.raises(ValueError, match="label map is float64, expected uint8 class ids"):
        sweep_photo(np.zeros((1, 2, 2), np.float32), [1], np.zeros((2, 2)), num_classes=2)  # type: ignore[arg-type]
