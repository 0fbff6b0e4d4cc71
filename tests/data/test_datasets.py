import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tag2mask.config import DataSettings, SegmenterSettings
from tag2mask.data.augmentation import DeitAugmentation
from tag2mask.data.batch import Batch, collate
from tag2mask.data.classes import voc_palette
from tag2mask.data.datasets import LabelledPhotos, TrainingPhotos, multi_hot
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.photos import FileError, open_photo
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record
from tag2mask.data.sampling import EpochBatches
from tag2mask.data.sizes import reduce_photo, resize_label_map
from tag2mask.data.transforms import (
    FlipAugmentation,
    Normalisation,
    augment,
    augment_both,
    normalise,
    random_crop,
    random_crop_both,
)

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def settings_of(root: Path) -> DataSettings:
    return DataSettings(root=root, resize_range=(30, 50), crop=32)


@pytest.fixture
def photos(shapes: Path) -> TrainingPhotos:
    """Thirteen drawn photos, the last without tags."""
    return photos_of(shapes, seed=5)


def photos_of(root: Path, seed: int, augmentation: Literal["flip", "deit"] = "flip") -> TrainingPhotos:
    settings = settings_of(root)
    records = read_data_set(settings).split("train")
    made = {"flip": FlipAugmentation(settings, NORMALISATION), "deit": DeitAugmentation(32, NORMALISATION)}
    return TrainingPhotos(records, 3, made[augmentation], grid=4, seed=seed)


def assert_same(first: Batch, second: Batch) -> None:
    for name in ("images", "tags", "targets", "grid_draws"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert first.names == second.names


def test_sample_is_a_batch_of_one_photo(photos: TrainingPhotos):
    sample = photos[0, 2]

    assert len(photos) == 13
    assert sample.images.shape == (1, 3, 32, 32)
    assert sample.tags.tolist() == [[1, 1, 0]]
    assert sample.targets.shape == (1,)
    assert sample.grid_draws.shape == (1, 1, 4, 4)
    assert sample.names == ("02",)


def test_photo_is_augmented_normalised_and_cropped(photos: TrainingPhotos, shapes: Path):
    generator = np.random.default_rng([5, 3, 2])
    augmented = augment(open_photo(shapes / "02.png"), settings_of(shapes), generator)

    expected = random_crop(normalise(augmented, NORMALISATION), 32, generator)

    assert torch.equal(photos[3, 2].images[0], expected)


def test_photo_for_a_transformer_is_augmented_as_deit_does(shapes: Path):
    augmentation = DeitAugmentation(32, NORMALISATION)

    expected = augmentation(open_photo(shapes / "02.png"), np.random.default_rng([5, 3, 2]))

    assert torch.equal(photos_of(shapes, 5, "deit")[3, 2].images[0], expected)


@pytest.mark.parametrize("augmentation", ["flip", "deit"])
def test_sample_is_a_function_of_seed_epoch_and_index(augmentation: Literal["flip", "deit"], shapes: Path):
    photos = photos_of(shapes, 5, augmentation)
    sample = photos[3, 2]

    assert_same(photos_of(shapes, 5, augmentation)[3, 2], sample)
    for other in (photos[4, 2], photos_of(shapes, 6, augmentation)[3, 2]):
        assert not torch.equal(other.images, sample.images)
        assert not torch.equal(other.grid_draws, sample.grid_draws)


def test_target_is_drawn_uniformly_from_the_tags(photos: TrainingPhotos):
    targets = Counter(photos[epoch, 2].targets.item() for epoch in range(200))

    assert targets.keys() == {0, 1}
    assert 70 < targets[0] < 130
    assert {photos[epoch, 1].targets.item() for epoch in range(10)} == {1}


def test_photo_without_tags_has_no_target(photos: TrainingPhotos):
    sample = photos[0, 12]

    assert sample.targets.tolist() == [-1]
    assert sample.tags.tolist() == [[0, 0, 0]]


def test_grid_is_drawn_evenly_from_0_to_1(photos: TrainingPhotos):
    draws = torch.stack([photos[epoch, 0].grid_draws for epoch in range(100)])

    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.histc(draws, 4, 0, 1).tolist() == pytest.approx([400] * 4, abs=80)


def test_tags_become_zeros_and_ones():
    assert multi_hot((1, 4), 5).tolist() == [1, 0, 0, 1, 0]
    assert multi_hot((), 2).tolist() == [0, 0]


def test_batch_is_its_photos_in_order(photos: TrainingPhotos):
    samples = [photos[0, index] for index in (4, 0)]

    batch = collate(samples)

    assert batch.names == ("04", "00")
    for name in ("images", "tags", "targets", "grid_draws"):
        assert torch.equal(getattr(batch, name), torch.cat([getattr(sample, name) for sample in samples]))


def test_batch_moves_with_everything_in_it(photos: TrainingPhotos):
    moved = photos[0, 0].to(torch.device("meta"))

    assert {tensor.device.type for tensor in (moved.images, moved.tags, moved.targets, moved.grid_draws)} == {"meta"}
    assert moved.names == ("00",)


@pytest.mark.parametrize("augmentation", ["flip", "deit"])
def test_photos_in_a_started_process_are_the_same(augmentation: Literal["flip", "deit"], shapes: Path):
    photos = photos_of(shapes, 5, augmentation)

    # How they come to a process that does not inherit the memory of this one.
    sent: TrainingPhotos = pickle.loads(pickle.dumps(photos))

    assert_same(sent[3, 2], photos[3, 2])


@pytest.mark.parametrize("augmentation", ["flip", "deit"])
def test_loading_processes_give_what_one_gives(augmentation: Literal["flip", "deit"], shapes: Path):
    photos = photos_of(shapes, 5, augmentation)

    def load(num_workers: int) -> list[Batch]:
        batches = EpochBatches(13, 4, seed=0, rank=0, world_size=1)
        loader = DataLoader(
            photos, batch_sampler=batches, collate_fn=collate,
            num_workers=num_workers, persistent_workers=num_workers > 0,
        )  # fmt: skip
        loaded = []
        for epoch in range(2):
            batches.epoch = epoch
            loaded += list(loader)
        return loaded

    for alone, shared in zip(load(0), load(2), strict=True):
        assert_same(alone, shared)


def labelled_records(root: Path) -> Sequence[Record]:
    return read_data_set(DataSettings(root=root)).split("train")


def labelled_photos(records: Sequence[Record], *, seed: int = 5, long_side: int = 0) -> LabelledPhotos:
    settings = SegmenterSettings(resize_range=(0.7, 1.3), crop=32, long_side=long_side)
    return LabelledPhotos(records, settings, normalisation=NORMALISATION, seed=seed)


def test_labelled_sample_is_photo_and_label_map_augmented_alike(shapes: Path):
    sample = labelled_photos(labelled_records(shapes))[3, 2]

    generator = np.random.default_rng([5, 3, 2])
    label_map = open_label_map(shapes / "masks" / "02.png")
    photo, label_map = augment_both(open_photo(shapes / "02.png"), label_map, (0.7, 1.3), generator)
    expected = random_crop_both(normalise(photo, NORMALISATION), label_map, 32, generator)
    assert torch.equal(sample.images, expected.image[None])
    assert torch.equal(sample.label_maps, expected.label_map[None])
    assert sample.label_maps.dtype == torch.int64
    assert sample.names == ("02",)


def test_large_labelled_photo_is_brought_down_before_its_random_factor(shapes: Path, tmp_path: Path):
    records = labelled_records(shapes)
    small = reduce_photo(open_photo(shapes / "02.png"), 24)
    small.save(tmp_path / "small.png")
    label_map = resize_label_map(open_label_map(shapes / "masks" / "02.png"), small.size)
    write_label_map(tmp_path / "mask.png", label_map, voc_palette())
    before = replace(records[2], image=tmp_path / "small.png", label_map=tmp_path / "mask.png")

    sample = labelled_photos(records, long_side=24)[3, 2]

    expected = labelled_photos([*records[:2], before])[3, 2]
    assert torch.equal(sample.images, expected.images)
    assert torch.equal(sample.label_maps, expected.label_maps)


def test_labelled_photo_that_is_small_enough_is_the_same_bit_for_bit(shapes: Path):
    records = labelled_records(shapes)

    sample, expected = labelled_photos(records, long_side=48)[3, 2], labelled_photos(records)[3, 2]

    assert torch.equal(sample.images, expected.images)
    assert torch.equal(sample.label_maps, expected.label_maps)


def test_labelled_sample_is_a_function_of_seed_epoch_and_index(shapes: Path):
    records = labelled_records(shapes)
    sample = labelled_photos(records)[3, 2]

    again = labelled_photos(records)[3, 2]
    others = [labelled_photos(records)[4, 2], labelled_photos(records, seed=6)[3, 2]]

    assert torch.equal(again.images, sample.images)
    assert torch.equal(again.label_maps, sample.label_maps)
    assert not any(torch.equal(other.images, sample.images) for other in others)


def test_labelled_batch_is_its_photos_in_order_and_moves(shapes: Path):
    photos = labelled_photos(labelled_records(shapes))
    samples = [photos[0, index] for index in (4, 0)]

    batch = collate(samples)
    moved = batch.to(torch.device("meta"))

    assert len(photos) == 13
    assert batch.names == moved.names == ("04", "00")
    assert torch.equal(batch.images, torch.cat([sample.images for sample in samples]))
    assert torch.equal(batch.label_maps, torch.cat([sample.label_maps for sample in samples]))
    assert {moved.images.device.type, moved.label_maps.device.type} == {"meta"}


def test_label_map_of_another_size_than_its_photo_is_told(shapes: Path):
    first, second, *_ = labelled_records(shapes)
    photos = labelled_photos([replace(first, label_map=second.label_map)])

    with pytest.raises(ValueError, match=r"01\.png: found 40x44 pixels, expected 48x36 as .*00\.png$"):
        photos[0, 0]


def test_label_map_that_is_not_there_is_told(shapes: Path, tmp_path: Path):
    photos = labelled_photos([replace(labelled_records(shapes)[0], label_map=tmp_path / "none.png")])

    with pytest.raises(FileError, match=r"none\.png: found No such file"):
        photos[0, 0]
