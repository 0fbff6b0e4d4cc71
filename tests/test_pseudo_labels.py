from itertools import product

import numpy as np
import pytest

from tag2mask.evaluation.confusion import confusion_matrix
from tag2mask.evaluation.sweep import ThresholdSweep, sweep_photo
from tag2mask.evaluation.thresholds import THRESHOLDS
from tag2mask.pseudo_labels import estimate_threshold, foreground_shares, label_map_from_maps, threshold_of_share

Photo = tuple[np.ndarray, np.ndarray]

SIDE, RADIUS = 48, 13
# The window in which surroundings are seen blurs a border by this many cells.
REACH = 2


@pytest.fixture(scope="module")
def hill() -> np.ndarray:
    """Activation (1, 48, 48) that falls evenly from 1 in the middle to 0 in the corners."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = np.hypot(rows, columns)
    return (1 - distance / distance.max())[None].astype(np.float32)


@pytest.fixture(scope="module")
def disc(hill: np.ndarray) -> np.ndarray:
    """Cells (48, 48) of the disc that the hill's top fills at the right threshold."""
    return hill[0] > height_at(RADIUS)


def height_at(radius: float) -> float:
    """Of the hill, that far from its middle."""
    return 1 - radius / np.hypot((SIDE - 1) / 2, (SIDE - 1) / 2)


def coloured(disc: np.ndarray, *, inside: tuple[int, ...], outside: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Photo of the disc with noise of some levels."""
    noise = np.random.default_rng(seed).normal(0, 12, (*disc.shape, 3))
    return (np.where(disc[..., None], inside, outside) + noise).clip(0, 255).astype(np.uint8)


def scores_at(photo: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """R-squared of an ordinary least-squares fit of the labels at each threshold, on windows taken one by one."""
    padded = np.pad(photo.astype(float), ((2, 2), (2, 2), (0, 0)), "edge")
    cells = product(*map(range, photo.shape[:2]))
    windows = np.array([padded[row : row + 5, column : column + 5].reshape(25, 3) for row, column in cells])
    features = np.column_stack([np.ones(len(windows)), windows.mean(axis=1), windows.std(axis=1)])
    labels = (maps.max(axis=0).reshape(-1, 1) > THRESHOLDS).astype(float)
    rest = labels - features @ np.linalg.lstsq(features, labels, rcond=None)[0]
    variance = labels.var(axis=0)
    return np.where(variance > 0, 1 - rest.var(axis=0) / np.where(variance > 0, variance, 1), 0)


def test_labels_of_two_classes_by_hand():
    maps = np.float32([[[0.9, 0.3, 0.1, 0.4]], [[0.2, 0.8, 0.2, 0.4]]])

    label_map = label_map_from_maps(maps, [3, 7], threshold=0.25, uncertain=0)

    assert label_map.dtype == np.uint8
    assert label_map.tolist() == [[3, 7, 0, 3]]


def test_of_equal_activations_the_lower_id_wins_whatever_the_order():
    maps = np.full((2, 1, 1), 0.5, np.float32)

    assert label_map_from_maps(maps, [7, 3], threshold=0.25, uncertain=0).tolist() == [[3]]


def test_an_activation_that_equals_the_threshold_is_background():
    maps = np.nextafter(np.float32(0.3), np.float32([[[0, 0.3, 1]]]))

    assert label_map_from_maps(maps, [1], threshold=0.3, uncertain=0).tolist() == [[0, 0, 1]]


def test_pixels_near_the_threshold_are_ignored():
    maps = np.float32([[[0.125, 0.25, 0.375, 0.5, 0.625, 0.75]], [[0, 0, 0, 0.125, 0.5, 0.875]]])

    label_map = label_map_from_maps(maps, [1, 2], threshold=0.5, uncertain=0.25)

    assert label_map.tolist() == [[0, 0, 255, 255, 255, 2]]


def test_a_photo_without_a_class_is_background_everywhere():
    label_map = label_map_from_maps(np.zeros((0, 2, 3), np.float32), [], threshold=0.1, uncertain=0.2)

    assert label_map.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_maps_and_classes_of_different_number_are_refused():
    with pytest.raises(ValueError, match="found 2 activation maps for 1 classes, expected one map per class"):
        label_map_from_maps(np.zeros((2, 4, 4), np.float32), [1], threshold=0.5, uncertain=0)


@pytest.mark.parametrize("index", [0, 17, 30, 100])
def test_labels_are_those_that_the_sweep_counts(index: int):
    rng = np.random.default_rng(index)
    maps, truth = rng.choice(THRESHOLDS, (3, 20, 30)), rng.integers(0, 5, (20, 30), np.uint8)
    sweep = ThresholdSweep(4)
    sweep.add(sweep_photo(maps, [4, 1, 3], truth, num_classes=4))

    label_map = label_map_from_maps(maps, [4, 1, 3], threshold=index / 100, uncertain=0)

    assert np.array_equal(confusion_matrix(label_map, truth, num_classes=4)[:-1], sweep.confusion()[index])


@pytest.mark.parametrize("outside", [(60, 60, 60), (200, 190, 60)])
def test_the_estimate_cuts_the_hill_at_the_disc(hill: np.ndarray, disc: np.ndarray, outside: tuple[int, ...]):
    photo = coloured(disc, inside=(150, 100, 90), outside=outside)

    threshold = estimate_threshold([(photo, hill)])

    assert height_at(RADIUS + REACH) <= threshold <= height_at(RADIUS - REACH)


def test_a_disc_of_another_texture_but_the_same_colour_is_found(hill: np.ndarray, disc: np.ndarray):
    noise = np.random.default_rng(1).normal(0, 1, (SIDE, SIDE, 1)) * np.where(disc, 40, 8)[..., None]
    photo = (128 + noise.repeat(3, axis=2)).clip(0, 255).astype(np.uint8)

    threshold = estimate_threshold([(photo, hill)])

    assert height_at(RADIUS + REACH) <= threshold <= height_at(RADIUS - REACH)


@pytest.mark.parametrize("power", [0.5, 2.0, 3.0])
def test_the_scale_of_the_activations_does_not_matter(hill: np.ndarray, disc: np.ndarray, power: float):
    photo = coloured(disc, inside=(150, 100, 90), outside=(60, 60, 60))

    threshold = estimate_threshold([(photo, hill**power)])

    assert height_at(RADIUS + REACH) ** power <= threshold <= height_at(RADIUS - REACH) ** power


def test_the_estimate_maximises_the_mean_r_squared_of_least_squares_fits(hill: np.ndarray, disc: np.ndarray):
    second = np.concatenate([hill[:, ::-1] ** 2, np.roll(hill, 9, axis=2)])[:, :40]
    photos = [
        (coloured(disc, inside=(120, 110, 90), outside=(90, 90, 90)), hill),
        (coloured(disc[:40], inside=(90, 90, 160), outside=(120, 60, 140), seed=1), second),
    ]

    threshold = estimate_threshold(photos)

    scores = np.mean([scores_at(*photo) for photo in photos], axis=0)
    assert scores[round(threshold * 100)] == pytest.approx(scores.max(), abs=1e-4)


def test_a_photo_at_its_own_size_counts_as_at_the_size_of_the_maps(hill: np.ndarray, disc: np.ndarray):
    photo = coloured(disc, inside=(150, 100, 90), outside=(60, 60, 60))

    large = photo.repeat(4, axis=0).repeat(4, axis=1)

    assert estimate_threshold([(large, hill)]) == estimate_threshold([(photo, hill)])


def test_photos_that_say_nothing_do_not_change_the_estimate(hill: np.ndarray, disc: np.ndarray):
    telling = coloured(disc, inside=(150, 100, 90), outside=(60, 60, 60)), hill
    silent: list[Photo] = [
        (telling[0], np.zeros((0, SIDE, SIDE), np.float32)),
        (telling[0], np.full((2, SIDE, SIDE), 0.7, np.float32)),
        (np.full((SIDE, SIDE, 3), 77, np.uint8), hill),
    ]

    assert estimate_threshold([*silent, telling]) == estimate_threshold([telling])
    with pytest.raises(ValueError, match="no threshold follows from 3 photos"):
        estimate_threshold(silent)


def test_no_photo_is_refused():
    with pytest.raises(ValueError, match="no threshold follows from 0 photos"):
        estimate_threshold([])


def test_shares_of_the_foreground_by_hand():
    maps = [
        np.float32([[[0.5, 0], [0.25, 0.1]], [[0, 0.75], [0.25, 0]]]),
        np.zeros((0, 2, 2), np.float32),
    ]

    shares = foreground_shares(maps)

    assert [shares[index] for index in (0, 10, 25, 49, 50, 75)] == [4 / 8, 3 / 8, 2 / 8, 2 / 8, 1 / 8, 0]


def test_a_photo_weighs_the_same_whatever_its_size():
    maps = [np.ones((1, 1, 2), np.float32), np.zeros((1, 30, 40), np.float32)]

    assert foreground_shares(maps)[50] == 0.5


@pytest.mark.parametrize(("share", "threshold"), [(1, 0), (0.75, 0.1), (0.6, 0.1), (0.26, 0.5), (0, 0.75)])
def test_the_threshold_of_a_share_is_the_lowest_of_the_nearest(share: float, threshold: float):
    maps = [np.float32([[[0.1, 0.5, 0.75, 0.5]]]).clip(0.05)]

    assert threshold_of_share(maps, share) == threshold
