"""Memory that is free below what is still used, which a process keeps until it gives it back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tag2mask.memory import peak_mib, restart_peak


@contextmanager
def expect_given_back() -> Iterator[None]:
    """Expect that 200 of 300 MB that are free before are given back to the system."""
    if sys.platform != "linux":
        pytest.skip("no other system can be asked to take it")
    # So small that they lie one after the other, where a free one leaves a gap.
    blocks = [np.ones(100_000, np.uint8) for _ in range(3_000)]
    last = blocks[-1]
    blocks.clear()
    before = _used_mib()

    yield

    assert _used_mib() <= before - 200
    assert last.all()


def _used_mib() -> int:
    restart_peak()
    used = peak_mib()
    assert used is not None
    return used
