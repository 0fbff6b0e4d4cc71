from pathlib import Path

import numpy as np
import pytest

from tag2mask.cams import store
from tag2mask.cams.store import (
    StoredCams,
    cams_from_full_size,
    cams_from_stored_size,
    full_size_maps,
    read_cams,
    stored_maps,
    stored_names,
    stored_size,
    write_cams,
)
from tag2mask.data.sizes import resize_maps
from tag2mask.evaluation.sweep import ThresholdSweep, sweep_photo


def smooth_maps(seed: int, height: int, width: int, num_classes: int) -> np.ndarray:
    """Sums of a few hills, from 0 to nearly 1, as activation maps of a network look: (K, height, width)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    maps = []
    for _ in range(num_classes):
        hills = np.zeros((height, width))
        for _ in range(6):
            (y, x), spread = rng.random(2), rng.uniform(0.05, 0.2)
            hills += rng.random() * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * spread**2))
        maps.append((hills - hills.min()) / (hills.max() - hills.min() + 1e-5))
    return np.array(maps, np.float32)


def drawn_cams(height: int = 21, width: int = 34) -> StoredCams:
    return cams_from_full_size([5, 2], smooth_maps(0, height, width, 2))


def test_maps_that_are_sampled_stay_as_they_are():
    maps = np.random.default_rng(1).random((1, 5, 5), np.float32)
    before = maps.copy()

    cams_from_full_size([1], maps)

    assert np.array_equal(maps, before)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (63, 97), (61, 94)])
def test_a_slope_stays_in_its_place(height: int, width: int):
    slope = ((np.arange(height)[:, None] + 2 * np.arange(width)) / (height + 2 * width)).astype(np.float32)[None]

    restored = full_size_maps(cams_from_full_size([1], slope))

    # Away from the border, where there is nothing to interpolate from; 1 / 510 is half a quantisation step.
    inside = (slice(None), slice(12, -12), slice(12, -12))
    assert np.abs(restored - slope)[inside].max() < 1 / 510 + 1e-5
    assert abs((restored - slope)[inside].mean()) < 1e-4


def test_what_sampling_loses_of_a_peak_is_added_once():
    far = np.hypot(*(np.mgrid[:40, :40] - 18))
    hill = np.exp(-((far / 7) ** 2)).astype(np.float32)[None]
    plain = cams_from_stored_size([1], resize_maps(hill, 10, 10), height=40, width=40)

    errors = [np.abs(full_size_maps(cams) - hill).mean() for cams in (cams_from_full_size([1], hill), plain)]

    assert errors[0] < 0.7 * errors[1]


def test_small_maps_are_kept_to_half_a_step():
    maps = np.random.default_rng(0).random((2, 6, 9), np.float32)

    cams = cams_from_stored_size([1, 2], maps, height=23, width=34)

    assert cams.maps.dtype == np.uint8
    assert np.abs(stored_maps(cams) - maps).max() <= 0.5 / 255 + 1e-6
    assert full_size_maps(cams).shape == (2, 23, 34)


def test_zero_and_one_are_exact_for_both_types():
    for dtype in (np.uint8, np.uint16):
        maps = np.array([[[0, np.iinfo(dtype).max]]], dtype)

        restored = full_size_maps(StoredCams(np.array([1], np.uint8), maps, 4, 8))

        assert restored.min() == 0
        assert restored.max() == 1


def test_miou_stays_within_a_tenth_of_a_point_of_full_size_float32():
    full, stored = ThresholdSweep(2), ThresholdSweep(2)
    for seed in range(6):
        maps = smooth_maps(seed, 375, 500, 2)
        noisy = maps + 0.5 * (smooth_maps(100 + seed, 375, 500, 2) - 0.5)
        label_map = np.where(noisy.max(axis=0) > 0.4, noisy.argmax(axis=0) + 1, 0).astype(np.uint8)
        restored = full_size_maps(cams_from_full_size([1, 2], maps))
        full.add(sweep_photo(maps, [1, 2], label_map, num_classes=2))
        stored.add(sweep_photo(restored, [1, 2], label_map, num_classes=2))

    difference = np.abs(full.scores().miou - stored.scores().miou)

    # At threshold 0 it is the rounding to 0 that decides.
    assert difference[1:].max() < 0.001


def test_photo_of_voc_size_with_two_classes_takes_at_most_50_kb(tmp_path: Path):
    rough = (smooth_maps(0, 375, 500, 2) * 0.8 + 0.2 * np.random.default_rng(0).random((2, 375, 500))).astype(
        np.float32
    )

    write_cams(tmp_path, "photo", cams_from_full_size([1, 2], rough))

    assert (tmp_path / "photo.npz").stat().st_size < 50_000


def test_what_was_written_is_read(tmp_path: Path):
    cams = drawn_cams()

    write_cams(tmp_path, "2007/dogs/a.b 1", cams)

    again = read_cams(tmp_path, "2007/dogs/a.b 1")
    assert again.class_ids.tolist() == [5, 2]
    assert np.array_equal(again.maps, cams.maps)
    assert again.maps.dtype == np.uint8
    assert (again.height, again.width) == (21, 34)


def test_photo_without_tags_is_stored_too(tmp_path: Path):
    write_cams(tmp_path, "sky", cams_from_full_size([], np.zeros((0, 9, 10), np.float32)))

    assert full_size_maps(read_cams(tmp_path, "sky")).shape == (0, 9, 10)


def test_names_are_those_of_whole_files(tmp_path: Path):
    write_cams(tmp_path, "a", drawn_cams())
    write_cams(tmp_path, "2007/b.c", drawn_cams())
    (tmp_path / "2007" / ".d.npz.17.tmp").write_bytes(b"half")

    assert stored_names(tmp_path) == {"a", "2007/b.c"}
    assert stored_names(tmp_path / "absent") == set()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_cams(tmp_path, "a", drawn_cams())
    old = (tmp_path / "a.npz").read_bytes()

    def full_disk(file: object, **arrays: object) -> None:
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(store.np, "savez_compressed", full_disk)

    with pytest.raises(OSError, match="no space left"):
        write_cams(tmp_path, "a", drawn_cams())
    assert (tmp_path / "a.npz").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def arrays_but(**changed: object) -> dict[str, object]:
    arrays = {
        "class_ids": np.array([1, 2], np.uint8),
        "maps": np.zeros((2, 6, 9), np.uint8),
        "height": np.int64(21),
        "width": np.int64(34),
    }
    return {key: value for key, value in (arrays | changed).items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"maps": None}, "lacks maps"),
        ({"maps": np.zeros((2, 6, 9), np.float32)}, "maps are float32, expected uint8 or uint16"),
        (
            {"maps": np.zeros((2, 6, 8), np.uint8)},
            r"maps have shape \(2, 6, 8\), but 2 classes at 21x34 need \(2, 6, 9\)",
        ),
        ({"class_ids": np.array([1, 1], np.uint8)}, r"class_ids are \[1, 1\], expected distinct ids from 1"),
        ({"class_ids": np.array([0, 1], np.uint8)}, r"class_ids are \[0, 1\]"),
        ({"class_ids": np.array([1, 2])}, "class_ids are int64"),
        ({"height": np.array([21, 21])}, "height is int64"),
        ({"width": np.float64(34)}, "width is float64"),
        ({"maps": np.array([{"a": 1}], dtype=object)}, "Object arrays cannot be loaded"),
    ],
)
def test_foreign_file_is_refused_by_name(tmp_path: Path, changed: dict[str, object], reason: str):
    np.savez(tmp_path / "a.npz", **arrays_but(**changed))

    with pytest.raises(ValueError, match=reason) as caught:
        read_cams(tmp_path, "a")

    assert str(caught.value).startswith(f"{tmp_path / 'a.npz'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["empty", "text", "cut", "flipped", "single array"])
def test_broken_file_is_refused_by_name(tmp_path: Path, content: str):
    path = tmp_path / "a.npz"
    write_cams(tmp_path, "a", drawn_cams(375, 500))
    whole = path.read_bytes()
    middle = len(whole) // 2
    match content:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("not an archive")
        case "cut":
            path.write_bytes(whole[:middle])
        case "flipped":
            path.write_bytes(
                whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 50]) + whole[middle + 50 :]
            )
        case "single array":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))

    with pytest.raises(ValueError, match="not a file of activation maps") as caught:
        read_cams(tmp_path, "a")

    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_file_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match=r"b\.npz: no such file, expected the activation maps of photo 2007/b"):
        read_cams(tmp_path, "2007/b")


@pytest.mark.parametrize("value", [-0.1, 1.2, np.nan, np.inf])
def test_maps_that_are_no_activations_are_refused(value: float):
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 3, 3] = value

    with pytest.raises(ValueError, match="expected 0 to 1"):
        cams_from_full_size([1], maps)


def test_maps_of_another_size_are_refused():
    with pytest.raises(ValueError, match="need"):
        cams_from_stored_size([1], np.zeros((1, 5, 5), np.float32), height=16, width=20)


@pytest.mark.parametrize("class_ids", [[0, 1], [3, 3], [1, 257]])
def test_impossible_class_ids_are_refused(class_ids: list[int]):
    with pytest.raises(ValueError, match="expected distinct ids from 1 to 254"):
        cams_from_full_size(np.array(class_ids), np.zeros((2, 8, 8), np.float32))


def test_stored_size_is_rounded_up():
    assert stored_size(375, 500) == (94, 125)
    assert stored_size(1, 4) == (1, 1)
