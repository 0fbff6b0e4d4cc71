import pytest
from torch.utils.data import Dataset

from tag2mask.data.loading import SampleFault, SamplesOrFaults, collate_or_fault, raise_faults


class Roots(Dataset[float]):
    """Square roots, which negative numbers do not have."""

    def __getitem__(self, place: tuple[int, int]) -> float:
        if place[1] < 0:
            raise ValueError(f"found {place[1]}, expected 0 or more")
        return place[1] ** 0.5


def test_fault_comes_in_the_place_of_a_sample_and_of_its_batch():
    samples = SamplesOrFaults(Roots())

    loaded = [samples[0, number] for number in (4, -1, 9, -2)]

    fault = SampleFault("found -1, expected 0 or more")
    assert loaded == [2, fault, 3, SampleFault("found -2, expected 0 or more")]
    assert collate_or_fault(loaded, collate=sum) == fault
    assert collate_or_fault([2.0, 3.0], collate=sum) == 5


def test_batches_come_up_to_the_first_fault():
    batches = raise_faults([1.0, 2.0, SampleFault("found -1"), 3.0])

    assert [next(batches), next(batches)] == [1, 2]
    with pytest.raises(ValueError, match=r"^found -1$"):
        next(batches)
