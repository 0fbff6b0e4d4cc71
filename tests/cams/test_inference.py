import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from free_memory import expect_given_back
from lightning_fabric import Fabric
from terminal import show_on_terminal

from tag2mask.cams.inference import cams_of_batch, infer_cams
from tag2mask.cams.multiscale import ScaleOutput, mean_scores, multiscale_cams, raw_maps, scaled_pixels
from tag2mask.cams.store import (
    StoredCams,
    cams_from_full_size,
    full_size_maps,
    read_cams,
    stored_names,
    write_cams,
)
from tag2mask.config import CamSettings, ClassifierSettings, DataSettings
from tag2mask.data.photos import FileError, open_photo
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record
from tag2mask.networks.classifier import Classifier, build_classifier

SETTINGS = CamSettings(scales=(1.0, 0.5))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    return build_classifier(ClassifierSettings(backbone="test_resnet", output_stride=8), num_classes=2)


@pytest.fixture(scope="module")
def records(shapes: Path) -> Sequence[Record]:
    return read_data_set(DataSettings(root=shapes)).split("train")


class Slow:
    """Stands for Fabric in one of two processes that share nothing but a barrier; the second one is late."""

    world_size = 2

    def __init__(self, rank: int, meeting: threading.Barrier) -> None:
        self.global_rank = rank
        self.is_global_zero = rank == 0
        self.device = torch.device("cpu")
        self.barrier = meeting.wait

    def to_device(self, module: torch.nn.Module) -> None:
        time.sleep(0.5 * self.global_rank)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def maps_of(classifier: Classifier, record: Record) -> list[ScaleOutput]:
    return raw_maps(classifier.eval(), scaled_pixels([open_photo(record.image)], SETTINGS))


def test_every_photo_has_the_maps_of_its_tags(
    fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path
):
    infer_cams(fabric, classifier.train(), records, settings=SETTINGS, folder=tmp_path)

    assert stored_names(tmp_path) == {record.name for record in records}
    for record in records:
        stored = read_cams(tmp_path, record.name)
        width, height = open_photo(record.image).size
        channels = [tag - 1 for tag in record.tags]
        maps = multiscale_cams([scale.maps[:, 0, channels] for scale in maps_of(classifier, record)], height, width)
        expected = cams_from_full_size(record.tags, maps.numpy())
        assert tuple(stored.class_ids) == record.tags
        # One step of the stored maps for the rounding of a batch.
        assert np.abs(full_size_maps(stored) - full_size_maps(expected)).max(initial=0) < 1.01 / 255


def test_progress_counts_photos_also_where_batches_have_several(
    fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    terminal = show_on_terminal(monkeypatch)

    infer_cams(fabric, classifier, records, settings=SETTINGS, folder=tmp_path)

    assert f"{len(records)}/{len(records)}" in terminal.getvalue()


def test_memory_of_photos_that_are_done_is_given_back(
    fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path
):
    alike = [replace(records[0], name=str(number)) for number in range(10)]

    with expect_given_back():
        infer_cams(fabric, classifier, alike, settings=SETTINGS, folder=tmp_path)


def test_photo_of_another_size_than_its_batch_is_named(
    classifier: Classifier, records: Sequence[Record], tmp_path: Path
):
    first = records[0]
    photo = open_photo(first.image)
    photo.resize((photo.width + 1, photo.height)).save(tmp_path / "wider.png")

    with pytest.raises(AssertionError, match=r"wider\.png"):
        cams_of_batch(classifier.eval(), [first, replace(first, image=tmp_path / "wider.png")], SETTINGS)


def test_predicted_classes_are_those_of_a_high_score(
    fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path
):
    scores = {record.name: mean_scores(maps_of(classifier, record))[0] for record in records}
    ordered = sorted(float(score) for both in scores.values() for score in both)
    # Between two scores, so that some classes are predicted and some are not.
    threshold = (ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2
    settings = replace(SETTINGS, classes="predicted", predicted_score=threshold)

    infer_cams(fabric, classifier, records, settings=settings, folder=tmp_path)

    found = {record.name: read_cams(tmp_path, record.name).class_ids.tolist() for record in records}
    expected = {name: [index + 1 for index in (0, 1) if both[index] >= threshold] for name, both in scores.items()}
    assert found == expected
    assert sum(len(class_ids) for class_ids in found.values()) == len(records)


def test_maps_that_are_there_stay_and_the_rest_is_done_to_the_same_digits(
    fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path
):
    infer_cams(fabric, classifier, records, settings=SETTINGS, folder=tmp_path / "whole")
    infer_cams(fabric, classifier, records, settings=SETTINGS, folder=tmp_path / "stopped")
    for record in records[3:]:
        (tmp_path / "stopped" / f"{record.name}.npz").unlink()
    infer_cams(fabric, classifier, records, settings=SETTINGS, folder=tmp_path / "stopped")

    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_maps_beside_a_gpu_are_those_of_a_cpu_to_the_digit(
    fabric: Fabric, gpu_fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path
):
    # Batches of two photos.
    settings = replace(SETTINGS, batch_pixels=8000)

    for folder, each in (("cpu", fabric), ("gpu", gpu_fabric)):
        infer_cams(each, classifier, records, settings=settings, folder=tmp_path / folder)

    assert contents(tmp_path / "gpu") == contents(tmp_path / "cpu")
    assert len(contents(tmp_path / "gpu")) == len(records)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_damaged_photo_is_told_once_those_before_it_are_written(
    fabric: Fabric, gpu_fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path, on_gpu: bool
):
    photo = records[1].image.read_bytes()
    (tmp_path / "damaged.png").write_bytes(photo[: len(photo) // 2])
    damaged = replace(records[1], image=tmp_path / "damaged.png")
    one_by_one = replace(SETTINGS, batch_pixels=1)
    # Of one size, so that they are done in this order.
    same = [record for record in records if open_photo(record.image).size == open_photo(records[1].image).size]
    ordered = [*same[1:4], damaged, *same[4:]]
    used = gpu_fabric if on_gpu else fabric

    with pytest.raises(FileError, match=r"damaged\.png: found a damaged file"):
        infer_cams(used, classifier, ordered, settings=one_by_one, folder=tmp_path / "cams")

    assert stored_names(tmp_path / "cams") == {record.name for record in ordered[:3]}


@pytest.mark.parametrize("on_gpu", [False, True])
def test_maps_that_cannot_be_written_are_told(
    fabric: Fabric, gpu_fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path, on_gpu: bool
):
    (tmp_path / "taken").touch()
    used = gpu_fabric if on_gpu else fabric

    with pytest.raises(OSError, match="taken"):
        infer_cams(
            used, classifier, [replace(records[0], name="taken/a"), *records[1:]], settings=SETTINGS, folder=tmp_path
        )


def test_finished_folder_is_left_alone(
    fabric: Fabric, classifier: Classifier, records: Sequence[Record], tmp_path: Path
):
    infer_cams(fabric, classifier, records, settings=SETTINGS, folder=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    infer_cams(fabric, classifier, records, settings=SETTINGS, folder=tmp_path)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


def test_processes_do_each_photo_once_even_if_one_is_late(
    classifier: Classifier, records: Sequence[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written: list[tuple[int, str]] = []

    def write_and_note(folder: Path, name: str, cams: StoredCams) -> None:
        write_cams(folder, name, cams)
        written.append((threading.get_ident(), name))

    monkeypatch.setattr("tag2mask.cams.inference.write_cams", write_and_note)
    meeting = threading.Barrier(2, timeout=60)
    processes = [Slow(rank, meeting) for rank in range(2)]
    settings = replace(SETTINGS, scales=(1.0,), batch_pixels=1)

    with ThreadPoolExecutor(2) as pool:
        for process in processes:
            pool.submit(infer_cams, process, classifier, records, settings=settings, folder=tmp_path)

    assert sorted(name for _, name in written) == sorted(record.name for record in records)
    assert sorted(Counter(process for process, _ in written).values()) == [6, 7]
