from pathlib import Path

import numpy as np
import pytest

from tag2mask.evaluation.confusion import confusion_matrix
from tag2mask.evaluation.label_maps import LabelMapCounts, read_photo_scores, write_photo_scores

NAMES = ("cat", "dog", "cow")

Pair = tuple[str, np.ndarray, np.ndarray]


@pytest.fixture
def pairs() -> list[Pair]:
    """Drawn label maps of three sizes in which some classes are in one of the two only, or in none."""
    rng = np.random.default_rng(5)
    shown = {"a": ([0, 1], [0, 1, 255]), "b/c": ([0, 2, 255], [0, 1, 2]), "d": ([3], [0, 255])}
    shapes = [(6, 9), (4, 4), (1, 12)]
    return [
        (name, rng.choice(np.uint8(predicted), shape), rng.choice(np.uint8(true), shape))
        for (name, (predicted, true)), shape in zip(shown.items(), shapes, strict=True)
    ]


def counted(pairs: list[Pair]) -> LabelMapCounts:
    counts = LabelMapCounts(NAMES)
    for name, prediction, label_map in pairs:
        counts.add(name, confusion_matrix(prediction, label_map, num_classes=len(NAMES)))
    return counts


def iou_by_class(pairs: list[Pair]) -> dict[int, float]:
    """IoU of the classes that are shown, pixel by pixel; -1 stands for none of them."""
    both, either = dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
    for _, prediction, label_map in pairs:
        for predicted, true in zip(prediction.ravel().tolist(), label_map.ravel().tolist(), strict=True):
            if true == 255:
                continue
            for label in range(4):
                both[label] += predicted == true == label
                either[label] += label in (predicted, true)
    return {label: both[label] / count for label, count in either.items() if count}


def test_all_pixels_together_score_as_a_loop_over_them(pairs: list[Pair]):
    scores = counted(pairs).scores()

    expected = iou_by_class(pairs)
    assert list(scores.iou) == ["background", *NAMES]
    # No photo shows the last class.
    assert list(scores.iou.values()) == pytest.approx([*(expected[label] for label in range(3)), None], abs=1e-9)
    assert scores.miou == pytest.approx(sum(expected.values()) / 4, abs=1e-9)


def test_each_photo_scores_as_a_loop_over_the_classes_it_shows(pairs: list[Pair]):
    photos = counted(pairs).photos

    assert list(photos) == ["a", "b/c", "d"]
    for pair in pairs:
        iou = iou_by_class([pair])
        assert photos[pair[0]] == pytest.approx(sum(iou.values()) / len(iou), abs=1e-9)


def test_classes_that_a_photo_does_not_show_do_not_lower_its_score():
    label_map = np.uint8([[0, 2, 2, 255]])

    counts = counted([("a", np.uint8([[0, 2, 2, 1]]), label_map)])

    assert counts.photos["a"] == pytest.approx(1)
    assert counts.scores().miou == pytest.approx(0.5)


def test_a_predicted_255_is_a_miss_of_its_true_class():
    photos = counted([("a", np.uint8([[0, 0, 1, 255]]), np.uint8([[0, 0, 1, 1]]))]).photos

    assert photos["a"] == pytest.approx((1 + 1 / 2) / 2)


def test_a_photo_without_a_known_pixel_has_no_score_of_its_own():
    ignored = np.full((2, 2), 255, np.uint8)

    counts = counted([("a", np.zeros((2, 2), np.uint8), ignored)])

    assert counts.photos == {}
    assert counts.scores().miou == 0


def test_counts_beyond_32_bits_do_not_wrap():
    counts = LabelMapCounts(["cat"])
    confusion = np.array([[2_000_000_000, 1_000_000_000], [0, 2_000_000_000], [0, 0]], np.int64)

    counts.add("a", confusion)
    counts.add("b", confusion)

    assert counts.scores().iou == pytest.approx({"background": 2 / 3, "cat": 2 / 3})


def test_photo_scores_come_back_from_disk_to_the_digit(tmp_path: Path):
    photos = {"a": 1 / 3, 'b/c, "d"': 0.0, "e": 0.1 + 0.2}

    write_photo_scores(tmp_path, photos)

    assert read_photo_scores(tmp_path) == photos
    assert (tmp_path / "photos.csv").read_text().startswith("photo,iou\na,0.333")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns are none, expected photo,iou"),
        ("name,iou\n", "columns are name,iou, expected photo,iou"),
        ("photo,iou\na,0.5\nb\n", "row 3 is b, expected"),
        ("photo,iou\na,half\n", "row 2 is a,half, expected"),
    ],
)
def test_another_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str):
    path = tmp_path / "photos.csv"
    path.write_text(text)

    with pytest.raises(ValueError, match=message) as caught:
        read_photo_scores(tmp_path)
    assert str(caught.value).startswith(str(path))
