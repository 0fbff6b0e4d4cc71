"""Which photos form a batch: a function of seed, epoch and process alone, so a resumed run sees the same batches."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index), shuffled anew in each epoch.

    Every process takes its share of the same batches, so that any number of processes sees the same photos in a step.
    The photos of the last, incomplete batch wait for the next epoch's shuffle.
    """

    def __init__(self, num_records: int, batch_size: int, *, seed: int, rank: int, world_size: int) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch size {batch_size} cannot be shared by {world_size} processes: make it a multiple")
        if num_records < batch_size:
            raise ValueError(f"{num_records} photos to train on, but a batch takes {batch_size}: lower the batch size")
        self.seed = seed
        self._num_batches = num_records // batch_size
        self.epoch = 0
        self._num_records = num_records
        self._batch_size = batch_size
        self._share = slice(rank, None, world_size)

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self._num_records)
        for start in range(0, self._num_batches * self._batch_size, self._batch_size):
            batch = order[start : start + self._batch_size]
            yield [(self.epoch, int(index)) for index in batch[self._share]]
