"""Records to tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from tag2mask.config import DataSettings
from tag2mask.data.batch import Batch
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.transforms import Channels, augment, normalise, random_crop


class TrainingPhotos(Dataset[Batch]):
    """Augmented photos; the sample at (epoch, index) is the same in every process and in every run of that seed."""

    def __init__(
        self, records: Sequence[Record], num_classes: int, settings: DataSettings, *, mean: Channels, std: Channels,
        grid: int, seed: int,
    ) -> None:  # fmt: skip
        self._records = records
        self._num_classes = num_classes
        self._settings = settings
        self._mean = mean
        self._std = std
        self._grid = grid
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, index = place
        record = self._records[index]
        generator = np.random.default_rng([self._seed, epoch, index])
        photo = augment(open_photo(record.image), self._settings, generator)
        image = random_crop(normalise(photo, self._mean, self._std), self._settings.crop, generator)
        target = generator.choice(record.tags) - 1 if record.tags else -1
        grid_draws = generator.random((1, 1, self._grid, self._grid), dtype=np.float32)
        return Batch(
            images=image[None],
            tags=multi_hot(record.tags, self._num_classes)[None],
            targets=torch.tensor([int(target)]),
            grid_draws=torch.from_numpy(grid_draws),
            names=(record.name,),
        )


def multi_hot(tags: Sequence[int], num_classes: int) -> torch.Tensor:
    """Tags, ids from 1, as (num_classes,) zeros and ones."""
    hot = torch.zeros(num_classes)
    hot[[tag - 1 for tag in tags]] = 1.0
    return hot
