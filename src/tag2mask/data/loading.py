"""Faults of photos on their way out of a loading process, as the one line that they are.

torch wraps what a loading process raises into the text of its traceback. So a fault is handed over like a batch, and
raised where the batches arrive.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from torch.utils.data import Dataset

Sample = TypeVar("Sample")


class SampleFault(NamedTuple):
    """Is given instead of a sample or batch that could not be made."""

    line: str
    """What was found, what was expected, and where."""


class SamplesOrFaults(Dataset[Sample | SampleFault]):
    """Samples of a data set, and a fault for each that it refuses."""

    def __init__(self, samples: Dataset[Sample]) -> None:
        self._samples = samples

    def __getitem__(self, place: tuple[int, int]) -> Sample | SampleFault:
        try:
            return self._samples[place]
        except ValueError as error:
            return SampleFault(str(error))


def collate_or_fault(
    samples: list[Sample | SampleFault], collate: Callable[[list[Sample]], Sample]
) -> Sample | SampleFault:
    """The samples as one batch, or the first fault among them."""
    whole = []
    for sample in samples:
        if isinstance(sample, SampleFault):
            return sample
        whole.append(sample)
    return collate(whole)


def raise_faults(batches: Iterable[Sample | SampleFault]) -> Iterator[Sample]:
    """The batches, up to the first fault.

    Raises:
        ValueError: that fault.
    """
    for batch in batches:
        if isinstance(batch, SampleFault):
            raise ValueError(batch.line)
        yield batch
