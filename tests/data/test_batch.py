"""Batches that a loader yields."""

import pytest
import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from tag2mask.data.batch import Batch, LabelledBatch


def test_a_loader_that_pins_memory_pins_every_tensor_of_a_batch(monkeypatch: pytest.MonkeyPatch):
    # Memory can be pinned only where there is a GPU.
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 1)
    zeros = torch.zeros(2, 1, 2, 2)

    batch = pin_memory(Batch(zeros, zeros, zeros, zeros, ("a", "b")))
    labelled = pin_memory(LabelledBatch(zeros, zeros, ("a", "b")))

    assert [float(tensor.sum()) for tensor in (batch.images, batch.tags, batch.targets, batch.grid_draws)] == [8.0] * 4
    assert [float(tensor.sum()) for tensor in (labelled.images, labelled.label_maps)] == [8.0] * 2
    assert batch.names == labelled.names == ("a", "b")
