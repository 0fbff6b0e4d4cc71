from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.config import DataSettings
from tag2mask.data import scenes
from tag2mask.data.check import check_data_set
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.read import read_data_set
from tag2mask.data.scenes import CLASS_NAMES, NUM_PHOTOS, Content, draw_scene, draw_scenes, plan_contents

CLASS_IDS = range(1, len(CLASS_NAMES) + 1)


@pytest.fixture
def few_photos(monkeypatch):
    monkeypatch.setattr(scenes, "NUM_PHOTOS", {"train": 8, "val": 3})


def draw(class_ids, ground=1, *, seed=0):
    return draw_scene(Content(tuple(class_ids), ground), np.random.default_rng(seed))


def files(root: Path):
    return sorted(path for path in root.rglob("*") if path.is_file())


def contents(root: Path):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files(root)}


def inside(region):
    """Pixels of a region whose neighbours are all in it, so that nothing else is mixed into them."""
    padded = np.pad(region, 1)
    shifts = [np.roll(padded, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return np.all(shifts, axis=0)[1:-1, 1:-1]


def chroma(pixels):
    """Mean colour of pixels (N, 3) without its brightness and grey."""
    colour = np.median(pixels.astype(float), axis=0)
    colour -= colour.min()
    return colour / colour.max()


def test_the_same_seed_draws_the_same_files_and_another_seed_others(few_photos, tmp_path):
    for name, seed in (("first", 3), ("same", 3), ("other", 4)):
        draw_scenes(tmp_path / name, seed=seed)
    first, same, other = (contents(tmp_path / name) for name in ("first", "same", "other"))

    assert len(first) == 2 * 11 + 1
    assert first == same
    assert first.keys() == other.keys()
    assert not any(first[name] == other[name] for name in first if name.endswith(".jpg"))


def test_a_second_call_touches_no_file(few_photos, tmp_path):
    draw_scenes(tmp_path, seed=3)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files(tmp_path)}

    draw_scenes(tmp_path, seed=3)

    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files(tmp_path)} == before


def test_what_is_missing_or_damaged_is_made_anew_and_the_rest_left(few_photos, tmp_path):
    draw_scenes(tmp_path, seed=3)
    whole = contents(tmp_path)
    spoiled = ["images/train_001.jpg", "images/val_000.jpg", "masks/train_002.png", "masks/val_001.png", "tags.csv"]
    for name in spoiled[::2]:
        (tmp_path / name).unlink()
    for name in spoiled[1::2]:
        (tmp_path / name).write_bytes(whole[name][:50])
    before = {path: path.stat().st_ino for path in files(tmp_path)}

    draw_scenes(tmp_path, seed=3)

    assert contents(tmp_path) == whole
    untouched = [path for path in before if path.relative_to(tmp_path).as_posix() not in spoiled]
    assert {path: path.stat().st_ino for path in untouched} == {path: before[path] for path in untouched}


def test_a_check_finds_nothing_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr(scenes, "NUM_PHOTOS", {"train": 60, "val": 6})
    draw_scenes(tmp_path, seed=0)

    result = check_data_set(DataSettings(root=tmp_path, seed_split="val"))

    assert [fault.line for fault in result.faults] == []
    assert result.data_set.class_names == CLASS_NAMES
    assert [len(result.data_set.splits[split]) for split in ("train", "val")] == [60, 6]


def test_label_maps_show_what_the_tags_say(few_photos, tmp_path):
    draw_scenes(tmp_path, seed=1)

    records = read_data_set(DataSettings(root=tmp_path)).splits["all"]
    shown = {record.name: tuple(sorted(set(np.unique(open_label_map(record.label_map))) - {0})) for record in records}

    assert shown == {record.name: record.tags for record in records}
    assert {len(record.tags) for record in records} >= {1, 2}


def test_label_maps_have_a_palette(few_photos, tmp_path):
    draw_scenes(tmp_path, seed=1)

    with Image.open(tmp_path / "masks" / "val_000.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]


def test_animals_stand_mostly_on_the_ground_of_their_class():
    photos = plan_contents(NUM_PHOTOS["train"], np.random.default_rng(0))

    alone = [photo for photo in photos if len(photo.tags) == 1]
    for class_id in CLASS_IDS:
        grounds = Counter(photo.ground for photo in alone if photo.tags == (class_id,))
        assert grounds[class_id] / grounds.total() == pytest.approx(0.85, abs=0.08)
        assert len(grounds) == 3


def test_classes_and_grounds_are_balanced_and_some_photos_show_two_animals_or_none():
    photos = plan_contents(NUM_PHOTOS["train"], np.random.default_rng(0))

    assert set(Counter(photo.ground for photo in photos).values()) == {80}
    assert Counter(len(photo.tags) for photo in photos) == {0: 12, 1: 180, 2: 48}
    assert all(len(set(photo.tags)) == len(photo.tags) for photo in photos)
    counts = Counter(tag for photo in photos for tag in photo.tags)
    assert max(counts.values()) - min(counts.values()) < 20


@pytest.mark.parametrize("class_id", CLASS_IDS)
def test_the_head_is_the_small_part_of_an_animal(class_id):
    drawn = [draw([class_id], seed=seed) for seed in range(6)]

    shares = [scene.heads.sum() / (scene.label_map > 0).sum() for scene in drawn]

    assert min(shares) > 0.1
    assert max(shares) < 0.35
    assert not any(scene.heads[scene.label_map == 0].any() for scene in drawn)


def test_only_the_head_tells_the_class():
    one, other = draw([1]), draw([2])

    body = ~one.heads & inside(~one.heads)

    np.testing.assert_array_equal(one.heads, other.heads)
    np.testing.assert_array_equal(one.photo[body], other.photo[body])
    assert (one.photo[one.heads] != other.photo[one.heads]).mean() > 0.2


def test_the_ground_says_nothing_about_the_animal():
    one, other = draw([1], ground=1), draw([1], ground=2)

    animal = inside(one.label_map == 1)

    np.testing.assert_array_equal(one.label_map, other.label_map)
    np.testing.assert_array_equal(one.photo[animal], other.photo[animal])
    assert (one.photo[~animal] != other.photo[~animal]).mean() > 0.2


@pytest.mark.parametrize("seed", range(4))
def test_head_and_body_share_a_colour_and_sky_and_ground_another(seed):
    scene = draw([3], ground=3, seed=seed)
    height = len(scene.photo)
    background = inside(scene.label_map == 0)
    rows = np.arange(height)[:, None]
    # Half of a head is its dark pattern.
    bright_head = inside(scene.heads) & (scene.photo.max(axis=2) > np.median(scene.photo[scene.heads].max(axis=1)))

    head = chroma(scene.photo[bright_head])
    body = chroma(scene.photo[inside((scene.label_map == 3) & ~scene.heads)])
    sky = chroma(scene.photo[background & (rows < height // 5)])
    ground = chroma(scene.photo[background & (rows > height // 2)])

    np.testing.assert_allclose(head, body, atol=0.12)
    np.testing.assert_allclose(sky, ground, atol=0.25)
    assert np.abs(body - ground).max() > 0.3
