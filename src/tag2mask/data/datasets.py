"""Records to tensors."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from tag2mask.config import Augmentation, DataSettings
from tag2mask.data.augmentation import DeitAugmentation
from tag2mask.data.batch import Batch, LabelledBatch
from tag2mask.data.label_maps import open_label_map, refuse_other_size
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import reduce_photo, resize_label_map
from tag2mask.data.transforms import Channels, augment, augment_both, normalise, random_crop, random_crop_both


class TrainingPhotos(Dataset[Batch]):
    """Augmented photos; the sample at (epoch, index) is the same in every process and in every run of that seed.

    Args:
        records: photos.
        num_classes: C, foreground classes.
        settings: side of the crop and, for `flip`, range of the resizing.
        mean: of the input normalisation, for photos in [0, 1].
        std: likewise.
        grid: cells a side of the drawn grid.
        seed: of every draw.
        augmentation: `flip`: resized, mirrored and cropped; `deit`: DeiT's.
    """

    def __init__(
        self, records: Sequence[Record], num_classes: int, settings: DataSettings, *, mean: Channels, std: Channels,
        grid: int, seed: int, augmentation: Augmentation = "flip",
    ) -> None:  # fmt: skip
        self._augmented: Callable[[Image.Image, np.random.Generator], Tensor]
        match augmentation:
            case "flip":
                self._augmented = partial(_resized_and_cropped, settings=settings, mean=mean, std=std)
            case "deit":
                self._augmented = DeitAugmentation(settings.crop, mean, std)
        self._records = records
        self._num_classes = num_classes
        self._grid = grid
        self._seed = seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, index = place
        record = self._records[index]
        generator = np.random.default_rng([self._seed, epoch, index])
        image = self._augmented(open_photo(record.image), generator)
        target = generator.choice(record.tags) - 1 if record.tags else -1
        grid_draws = generator.random((1, 1, self._grid, self._grid), dtype=np.float32)
        return Batch(
            images=image[None],
            tags=multi_hot(record.tags, self._num_classes)[None],
            targets=torch.tensor([int(target)]),
            grid_draws=torch.from_numpy(grid_draws),
            names=(record.name,),
        )


def _resized_and_cropped(
    photo: Image.Image, generator: np.random.Generator, *, settings: DataSettings, mean: Channels, std: Channels
) -> Tensor:
    return random_crop(normalise(augment(photo, settings, generator), mean, std), settings.crop, generator)


class LabelledPhotos(Dataset[LabelledBatch]):
    """Augmented photos with label maps; the sample at (epoch, index) is the same in every process and run of that seed.

    Args:
        records: photos; `label_map` of each is what is learned from, made or true.
        resize_range: of the random factor on the photo's sides.
        crop: side in pixels of the square crop.
        mean: of the input normalisation, for photos in [0, 1].
        std: likewise.
        seed: of the augmentation.
        long_side: larger photos and their label maps are brought down to it before; 0 = none.

    Raises:
        ValueError: on reading a sample whose photo and label map differ in size, or a file that cannot be used.
    """

    def __init__(
        self, records: Sequence[Record], *, resize_range: tuple[float, float], crop: int, mean: Channels, std: Channels,
        seed: int, long_side: int = 0,
    ) -> None:  # fmt: skip
        self._records = records
        self._resize_range = resize_range
        self._crop = crop
        self._mean = mean
        self._std = std
        self._seed = seed
        self._long_side = long_side

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: tuple[int, int]) -> LabelledBatch:
        epoch, index = place
        record = self._records[index]
        assert record.label_map is not None
        photo, label_map = open_photo(record.image), open_label_map(record.label_map)
        height, width = label_map.shape
        refuse_other_size(record.label_map, (width, height), photo.size, photo=str(record.image))
        photo = reduce_photo(photo, self._long_side)
        label_map = resize_label_map(label_map, photo.size)
        generator = np.random.default_rng([self._seed, epoch, index])
        photo, label_map = augment_both(photo, label_map, self._resize_range, generator)
        image = normalise(photo, self._mean, self._std)
        cropped = random_crop_both(image, label_map, self._crop, generator)
        return LabelledBatch(images=cropped.image[None], label_maps=cropped.label_map[None], names=(record.name,))


def multi_hot(tags: Sequence[int], num_classes: int) -> Tensor:
    """Tags, ids from 1, as (num_classes,) zeros and ones."""
    hot = torch.zeros(num_classes)
    hot[[tag - 1 for tag in tags]] = 1.0
    return hot
