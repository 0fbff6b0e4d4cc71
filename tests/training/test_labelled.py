from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

from tag2mask.config import SegmenterSettings
from tag2mask.data.batch import collate
from tag2mask.data.classes import voc_palette
from tag2mask.data.datasets import LabelledPhotos
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.photos import open_photo
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record
from tag2mask.data.sampling import EpochBatches
from tag2mask.data.sizes import reduce_photo, resize_label_map
from tag2mask.data.transforms import Normalisation
from tag2mask.recipes import load_recipe
from tag2mask.training.labelled import new_segmenter, train_relations, train_segmenter
from tag2mask.training.loop import Trainer
from tag2mask.training.segmentation import Segmentation
from tag2mask.training.training import Training, build_learner


def brought_down(record: Record, folder: Path, long_side: int) -> Record:
    """The record with photo and label map of that size."""
    assert record.label_map is not None
    photo = reduce_photo(open_photo(record.image), long_side)
    image, mask = folder / f"{record.name}.png", folder / "masks" / f"{record.name}.png"
    photo.save(image)
    write_label_map(mask, resize_label_map(open_label_map(record.label_map), photo.size), voc_palette())
    return replace(record, image=image, label_map=mask)


@pytest.mark.parametrize(("section", "train"), [("refinement", train_relations), ("segmenter", train_segmenter)])
def test_training_on_large_photos_is_that_on_photos_brought_down(
    section: str, train: Callable[[Training], float], fabric: Fabric, whole_recipe: Path, tmp_path: Path
):
    def trained(name: str, records: Sequence[Record], long_side: int) -> dict[str, Tensor]:
        recipe = load_recipe(str(whole_recipe), [f"--{section}.long_side", str(long_side)])
        train(Training(fabric, recipe, records, num_classes=2, folder=tmp_path / name))
        (weights,) = (tmp_path / name).glob("*.safetensors")
        return load_file(weights)

    records = read_data_set(load_recipe(str(whole_recipe)).data).split("train")[:4]

    large = trained("large", records, 24)
    small = trained("small", [brought_down(record, tmp_path, 24) for record in records], 0)

    assert all(torch.equal(large[name], small[name]) for name in small)


def test_segmenter_is_trained_by_the_loop_on_the_photos_of_its_section(
    fabric: Fabric, whole_recipe: Path, tmp_path: Path
):
    recipe = load_recipe(str(whole_recipe))
    settings, seed = recipe.segmenter, recipe.engine.seed
    records = read_data_set(recipe.data).split("train")
    training = Training(fabric, recipe, records, num_classes=2, folder=tmp_path / "found")

    train_segmenter(training)

    as_given = SegmenterSettings(resize_range=(0.7, 1.3), crop=32)
    photos = LabelledPhotos(records, as_given, normalisation=Normalisation((0.5,) * 3, (0.5,) * 3), seed=seed)
    batches = EpochBatches(len(records), 4, seed=seed, rank=0, world_size=1)
    network = new_segmenter(training)
    method = Segmentation(build_learner(training, network, settings.optimizer, 1, 4), settings)
    loader = DataLoader(photos, batch_sampler=batches, collate_fn=collate)
    Trainer(fabric, 1, tmp_path / "by hand").train(method, loader)
    found = load_file(tmp_path / "found" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())
