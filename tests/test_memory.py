import sys
from pathlib import Path

import numpy as np
import pytest
from free_memory import expect_given_back

from tag2mask import memory
from tag2mask.memory import give_back_free, giving_back, peak_mib, restart_peak


def test_peak_remembers_what_is_given_back_until_it_starts_anew():
    restart_peak()
    before = peak_mib()
    block = np.ones(256 * 2**20, np.uint8)

    during = peak_mib()
    del block

    assert during >= before + 128
    # The system counts pages in batches, a thread at a time.
    assert peak_mib() >= during - 16
    restart_peak()
    assert peak_mib() <= during - 128


def test_free_memory_below_what_is_still_used_is_given_back():
    with expect_given_back():
        give_back_free()


def test_free_memory_is_given_back_after_every_tenth_item():
    items = giving_back(range(20))
    taken = [next(items) for _ in range(10)]

    with expect_given_back():
        # Only now is the tenth done.
        taken.append(next(items))
    with expect_given_back():
        taken.extend(items)

    assert taken == list(range(20))


def test_peak_is_unknown_where_the_system_has_no_word_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")
    monkeypatch.setitem(sys.modules, "resource", None)

    assert peak_mib() is None


def test_peak_is_told_without_the_files_of_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")

    peak = peak_mib()

    assert peak is not None
    assert 5 < peak < 10**6
