"""Records to tensors."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from tag2mask.config import RefinementSettings, SegmenterSettings
from tag2mask.data.batch import Batch, LabelledBatch
from tag2mask.data.label_maps import open_label_map, refuse_other_size
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import reduce_photo, resize_label_map
from tag2mask.data.transforms import Normalisation, augment_both, normalise, random_crop_both


class TrainingPhotos(Dataset[Batch]):
    """Augmented photos; the sample at (epoch, index) is the same in every process and in every run of that seed.

    Args:
        records: with tags from 1 to C.
        num_classes: C, foreground classes.
        augmentation: makes a normalised square (3, S, S) of a photo, as the generator draws it.
        grid: cells per side of the drawn grid.
        seed: of every draw.
    """

    def __init__(
        self, records: Sequence[Record], num_classes: int,
        augmentation: Callable[[Image.Image, np.random.Generator], Tensor], *, grid: int, seed: int,
    ) -> None:  # fmt: skip
        self._records = records
        self._num_classes = num_classes
        self._augmentation = augmentation
        self._grid = grid
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, index = place
        record = self._records[index]
        generator = np.random.default_rng([self._seed, epoch, index])
        image = self._augmentation(open_photo(record.image), generator)
        target = generator.choice(record.tags) - 1 if record.tags else -1
        grid_draws = generator.random((1, 1, self._grid, self._grid), dtype=np.float32)
        return Batch(
            images=image[None],
            tags=multi_hot(record.tags, self._num_classes)[None],
            targets=torch.tensor([int(target)]),
            grid_draws=torch.from_numpy(grid_draws),
            names=(record.name,),
        )


class LabelledPhotos(Dataset[LabelledBatch]):
    """Augmented photos with label maps; the sample at (epoch, index) is the same in every process and run of that seed.

    Args:
        records: photos; `label_map` of each is what is learned from, made or true.
        settings: what larger photos and their label maps are brought down to, range of the random factor on their
            sides after that, and side of the crop.
        normalisation: what the network wants.
        seed: of the augmentation.

    Raises:
        ValueError: on reading a sample whose photo and label map differ in size, or a file that cannot be used.
    """

    def __init__(
        self, records: Sequence[Record], settings: RefinementSettings | SegmenterSettings, *,
        normalisation: Normalisation, seed: int,
    ) -> None:  # fmt: skip
        self._records = records
        self._settings = settings
        self._normalisation = normalisation
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: tuple[int, int]) -> LabelledBatch:
        epoch, index = place
        record, settings = self._records[index], self._settings
        assert record.label_map is not None
        photo, label_map = open_photo(record.image), open_label_map(record.label_map)
        height, width = label_map.shape
        refuse_other_size(record.label_map, (width, height), photo.size, photo=str(record.image))
        photo = reduce_photo(photo, settings.long_side)
        label_map = resize_label_map(label_map, photo.size)
        generator = np.random.default_rng([self._seed, epoch, index])
        photo, label_map = augment_both(photo, label_map, settings.resize_range, generator)
        image = normalise(photo, self._normalisation)
        cropped = random_crop_both(image, label_map, settings.crop, generator)
        return LabelledBatch(images=cropped.image[None], label_maps=cropped.label_map[None], names=(record.name,))


def multi_hot(tags: Sequence[int], num_classes: int) -> Tensor:
    """Tags, ids from 1, as (num_classes,) zeros and ones."""
    hot = torch.zeros(num_classes)
    hot[[tag - 1 for tag in tags]] = 1.0
    return hot
