"""Memory that is free below what is still used, which a process keeps until it gives it back."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest


@contextmanager
def expect_given_back() -> Iterator[None]:
    """Expect that 200 of 300 MB that are free before are given back to the system."""
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the system cannot be asked to take it")
    # So small that they lie one after the other, where a free one leaves a gap.
    blocks = [np.ones(100_000, np.uint8) for _ in range(3_000)]
    last = blocks[-1]
    blocks.clear()
    before = _used_mib()

    yield

    assert _used_mib() <= before - 200
    assert last.all()


def _used_mib() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) // 2**10
