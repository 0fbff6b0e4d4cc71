import os

import pytest

from tag2mask.environment import facts


def test_memory_is_a_size_where_the_system_tells_it():
    size, unit = dict(facts())["memory"].split()

    assert float(size) > 0
    assert unit == "GiB"


def test_memory_is_unknown_where_the_system_does_not_tell_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sysconf")

    assert dict(facts())["memory"] == "unknown"
