import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch.distributed as processes
from command_process import ready_processes
from lightning_fabric import Fabric
from PIL import Image

from tag2mask.cams.store import StoredCams, full_size_maps, read_cams, stored_size, write_cams
from tag2mask.config import LabelSettings
from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.records import Record
from tag2mask.stages.labels import (
    ChosenThreshold,
    check_label_maps,
    check_maps,
    check_predictions,
    choose_threshold,
    copy_label_maps,
    note_on_unlabelled_classes,
    read_threshold,
    write_pseudo_labels,
    write_threshold,
)
from tag2mask.workers import Inference


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A photo of 48 x 36 pixels."""
    Image.new("RGB", (48, 36)).save(tmp_path / "cat.png")
    return Record("cat", tmp_path / "cat.png", (1,))


def write_maps(folder: Path, *, class_id: int = 2, size: tuple[int, int] = (48, 36)) -> None:
    """Maps of one class of the photo."""
    width, height = size
    maps = np.full((1, *stored_size(height, width)), 255, np.uint8)
    write_cams(folder, "cat", StoredCams(np.array([class_id], np.uint8), maps, height, width))


def test_maps_of_the_photos_are_taken_and_those_beyond_the_tags_named(record: Record, tmp_path: Path):
    write_maps(tmp_path / "maps")

    assert check_maps([record], tmp_path / "maps", 2) == ["cat"]
    assert check_maps([replace(record, tags=(1, 2))], tmp_path / "maps", 2) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class_id": 9}, "found class id 9, expected 1 to 2"),
        ({"size": (36, 48)}, "found maps of a photo of 36 x 48 pixels, expected 48 x 36 as the photo has"),
    ],
)
def test_maps_that_no_labels_can_be_made_of_are_refused_by_file(
    changes: dict[str, object], told: str, record: Record, tmp_path: Path
):
    write_maps(tmp_path / "maps", **changes)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'maps' / 'cat.npz'}: {told}")):
        check_maps([record], tmp_path / "maps", 2)


def test_label_maps_with_a_class_beyond_the_data_set_s_are_refused_by_file(record: Record, tmp_path: Path):
    label_map = np.full((36, 48), 255, np.uint8)
    for class_id in range(4):
        label_map[class_id] = class_id
    write_label_map(tmp_path / "labels" / "cat.png", label_map, voc_palette())

    check_label_maps([record], tmp_path / "labels", 3)
    with pytest.raises(ValueError, match=r"cat\.png: found class id 3, expected 0 to 2, or 255 where unsure"):
        check_label_maps([record], tmp_path / "labels", 2)


def test_label_maps_with_a_class_that_the_tags_lack_are_named(tmp_path: Path):
    photos = {"a": ((1,), {1: 9, 255: 5}), "b": ((1, 3), {2: 1, 3: 4}), "c": ((), {})}
    records = write_labels(tmp_path, photos)
    for record in records:
        Image.new("RGB", (100, 100)).save(record.image)

    assert check_label_maps(records, tmp_path, 3) == ["b"]


@pytest.mark.parametrize(("pixels", "found"), [({255: 9}, "0 and 255"), ({}, "0"), ({255: 10_000}, "255")])
def test_label_maps_without_any_class_are_refused(pixels: dict[int, int], found: str, tmp_path: Path):
    records = write_labels(tmp_path, {"a": ((1,), pixels), "b": ((2,), pixels)})
    for record in records:
        Image.new("RGB", (100, 100)).save(record.image)

    with pytest.raises(ValueError, match=f"no pixel of any class in 2 label maps, only {found}, expected .* 1 to 3"):
        check_label_maps(records, tmp_path, 3)


def test_predictions_of_background_alone_are_taken_and_those_of_another_size_are_not(record: Record, tmp_path: Path):
    write_label_map(tmp_path / "empty/cat.png", np.zeros((36, 48), np.uint8), voc_palette())
    write_label_map(tmp_path / "turned/cat.png", np.zeros((48, 36), np.uint8), voc_palette())

    check_predictions([record], tmp_path / "empty", 3)
    with pytest.raises(ValueError, match=r"turned/cat\.png"):
        check_predictions([record], tmp_path / "turned", 3)


def test_fixed_threshold_is_chosen_without_a_look_at_the_photos(tmp_path: Path):
    absent = Record("absent", tmp_path / "absent.png", (1,))
    settings = LabelSettings(threshold=0.3)

    assert choose_threshold([absent], tmp_path, tmp_path, settings) == (0.3, "fixed")
    with pytest.raises(ValueError, match=r"absent\.png"):
        choose_threshold([absent], tmp_path, tmp_path, replace(settings, threshold_source="estimated"))


def test_maps_made_of_seeds_are_cut_so_that_as_much_is_foreground(fabric: Fabric, tmp_path: Path):
    # A light square on a dark ground, and seeds that fall slowly beyond its border.
    photo = np.zeros((48, 48, 3), np.uint8)
    photo[12:36, 12:36] = 200
    Image.fromarray(photo).save(tmp_path / "cat.png")
    record = Record("cat", tmp_path / "cat.png", (1,))
    seeds = np.zeros((1, 12, 12), np.uint8)
    for step in range(6):
        seeds[0, step : 12 - step, step : 12 - step] = 40 * (step + 1)
    for folder, maps in (("seeds", seeds), ("maps", np.uint8(255 * (seeds / 255) ** 0.25))):
        write_cams(tmp_path / folder, "cat", StoredCams(np.array([1], np.uint8), maps, 48, 48))
    settings, out = LabelSettings("estimated"), tmp_path / "labels"

    of_seeds, of_maps = (
        choose_threshold([record], tmp_path / folder, tmp_path / "seeds", settings) for folder in ("seeds", "maps")
    )
    inference = Inference(fabric, [record], out, 1)
    write_pseudo_labels(inference, maps=tmp_path / "maps", seeds=tmp_path / "seeds", settings=settings)

    foreground = seeds / 255 > of_seeds.used
    assert 0 < foreground.mean() < 1
    assert of_maps.used > of_seeds.used + 0.2
    assert np.array_equal((seeds / 255) ** 0.25 > of_maps.used, foreground)
    enlarged = full_size_maps(read_cams(tmp_path / "maps", "cat"))
    assert np.array_equal(open_label_map(out / "cat.png"), (enlarged > np.float32(of_maps.used))[0])


@pytest.mark.parametrize(
    ("values", "threshold", "uncertain", "narrowed"),
    [
        # The lowest threshold that parts the square from what is around it.
        ((10, 40), 0.04, 0.15, 0.02),
        ((10, 40), 0.04, 0.04, None),
        ((0, 40), 0.0, 0.15, 0.0),
    ],
)
def test_estimate_near_an_end_leaves_less_unsure_so_that_both_sides_have_sure_pixels(
    values: tuple[int, int], threshold: float, uncertain: float, narrowed: float | None, fabric: Fabric, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    photo, maps = np.zeros((48, 48, 3), np.uint8), np.full((1, 12, 12), values[0], np.uint8)
    photo[12:36, 12:36], maps[:, 3:9, 3:9], maps[:, 0] = 200, values[1], 0
    Image.fromarray(photo).save(tmp_path / "cat.png")
    write_cams(tmp_path, "cat", StoredCams(np.array([1], np.uint8), maps, 48, 48))
    settings, out = LabelSettings("estimated", uncertain=uncertain), tmp_path / "labels"
    inference = Inference(fabric, [Record("cat", tmp_path / "cat.png", (1,))], out, 1)

    with caplog.at_level("INFO"):
        write_pseudo_labels(inference, maps=tmp_path, seeds=tmp_path, settings=settings)

    assert read_threshold(out) == (threshold, "estimated")
    label_map = open_label_map(out / "cat.png")
    used = uncertain if narrowed is None else narrowed
    highest = full_size_maps(read_cams(tmp_path, "cat"))[0]
    expected = np.where(np.abs(highest - np.float32(threshold)) < np.float32(used), 255, highest > threshold)
    assert np.array_equal(label_map, expected)
    assert {0, 1} <= set(np.unique(label_map).tolist()) or narrowed is None
    warning = (
        f"warning: labels.uncertain is {uncertain}, but the estimated threshold is {threshold}, which would leave no "
        f"pixel sure on one side of it: {narrowed} is taken"
    )
    assert [line for line in caplog.messages if "uncertain" in line] == [warning] * (narrowed is not None)


def test_threshold_that_was_written_is_read(tmp_path: Path):
    write_threshold(tmp_path / "labels", ChosenThreshold(0.52, "estimated"))

    assert read_threshold(tmp_path / "labels") == (0.52, "estimated")
    assert read_threshold(tmp_path) is None


def estimate_in_two(rank: int, record: Record, folder: Path) -> None:
    """A process of two that are to estimate a threshold which does not follow from a photo."""
    processes.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    fabric: Any = SimpleNamespace(world_size=2, is_global_zero=rank == 0)
    settings, maps = LabelSettings("estimated"), folder / "maps"
    try:
        write_pseudo_labels(Inference(fabric, [record], folder / "labels", 1), maps=maps, seeds=maps, settings=settings)
    except (ValueError, SystemExit) as end:
        (folder / str(rank)).write_text(type(end).__name__)
    processes.destroy_process_group()


def test_threshold_that_does_not_follow_ends_all_processes(record: Record, tmp_path: Path):
    write_maps(tmp_path / "maps")
    both = [ready_processes().Process(target=estimate_in_two, args=(rank, record, tmp_path)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()

    assert [(tmp_path / name).read_text() for name in "01"] == ["ValueError", "SystemExit"]


def test_photo_without_maps_and_maps_beyond_every_range_are_refused_by_file(record: Record, tmp_path: Path):
    with pytest.raises(ValueError, match=r"cat\.npz: no such file"):
        check_maps([record], tmp_path, 2)

    # A map that is not finite, in a type that could hold it.
    maps = np.full((1, 9, 12), np.nan, np.float32)
    np.savez(tmp_path / "cat.npz", class_ids=np.array([1], np.uint8), maps=maps, height=36, width=48)

    with pytest.raises(ValueError, match=r"cat\.npz: .* maps are float32, expected uint8 or uint16"):
        check_maps([record], tmp_path, 2)


def test_pseudo_labels_hold_the_class_where_its_map_passes_the_threshold(
    record: Record, fabric: Fabric, tmp_path: Path
):
    # The edge lies between the third and the fourth of twelve columns of cells, of four pixels each.
    maps = np.zeros((1, *stored_size(36, 48)), np.uint8)
    maps[:, :, 3:] = 200
    write_cams(tmp_path, "cat", StoredCams(np.array([2], np.uint8), maps, 36, 48))
    settings, out = LabelSettings(threshold=0.5), tmp_path / "labels"

    write_pseudo_labels(Inference(fabric, [record], out, 1), maps=tmp_path, seeds=tmp_path, settings=settings)

    assert read_threshold(out) == (0.5, "fixed")
    label_map = open_label_map(out / "cat.png")
    assert label_map.shape == (36, 48)
    assert (label_map[:, :9] == 0).all()
    assert (label_map[:, 15:] == 2).all()


def test_pixels_near_the_threshold_are_unsure_as_the_settings_say(record: Record, fabric: Fabric, tmp_path: Path):
    maps = np.full((1, *stored_size(36, 48)), 140, np.uint8)
    maps[:, :, 6:] = 200
    write_cams(tmp_path, "cat", StoredCams(np.array([2], np.uint8), maps, 36, 48))
    settings, out = LabelSettings(threshold=0.5, uncertain=0.1), tmp_path / "labels"

    write_pseudo_labels(Inference(fabric, [record], out, 1), maps=tmp_path, seeds=tmp_path, settings=settings)

    label_map = open_label_map(out / "cat.png")
    assert (label_map[:, :21] == 255).all()
    assert (label_map[:, 27:] == 2).all()


def test_label_maps_are_copied_and_have_no_threshold(record: Record, fabric: Fabric, tmp_path: Path):
    crf, out = tmp_path / "crf", tmp_path / "labels"
    write_label_map(crf / "cat.png", np.eye(36, 48, dtype=np.uint8), voc_palette())

    copy_label_maps(Inference(fabric, [record], out, 1), labels=crf)

    assert (out / "cat.png").read_bytes() == (crf / "cat.png").read_bytes()
    assert read_threshold(out) is None


def write_labels(folder: Path, photos: dict[str, tuple[tuple[int, ...], dict[int, int]]]) -> list[Record]:
    """Label maps of 100 x 100 pixels, by name the tags and how many pixels each class has."""
    for name, (_, pixels) in photos.items():
        flat = np.zeros(10_000, np.uint8)
        ids = [class_id for class_id, count in pixels.items() for _ in range(count)]
        flat[: len(ids)] = ids
        write_label_map(folder / f"{name}.png", flat.reshape(100, 100), voc_palette())
    return [Record(name, folder / f"{name}.jpg", tags) for name, (tags, _) in photos.items()]


def test_classes_with_hardly_a_pixel_in_their_photos_are_named(tmp_path: Path):
    photos = {"a": ((1, 2), {1: 9, 2: 20}), "b": ((1,), {1: 10, 3: 4000}), "c": ((3,), {255: 10_000}), "d": ((), {})}
    records = write_labels(tmp_path, photos)
    names = ("cat", "dog", "cow", "sheep")

    note = note_on_unlabelled_classes(records, tmp_path, names)

    # 19 of 20,000 pixels are too few, 20 of 10,000 are not, and what other photos have of a class does not count.
    assert note.startswith("no or hardly any pixel of cat (2 photos), cow (1 photo), which a segmenter cannot learn")
    assert note_on_unlabelled_classes(records[1:2], tmp_path, names) == ""


def test_classes_are_looked_for_in_few_photos_of_many_and_in_none_without_labels(tmp_path: Path):
    # Of 120 photos every third is opened.
    records = write_labels(
        tmp_path, {f"{number:03}": ((1,), {1: 5000 if number % 3 == 0 else 0}) for number in range(120)}
    )
    for number in range(1, 120, 3):
        (tmp_path / f"{number:03}.png").write_bytes(b"")
    absent = Record("absent", tmp_path / "absent.jpg", (2,))

    assert note_on_unlabelled_classes([*records, absent], tmp_path, ("cat", "dog")) == ""
