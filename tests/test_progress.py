import io
import logging
import sys

import pytest

from tag2mask import progress
from tag2mask.progress import track


class Terminal(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("shown", [True, False])
def test_items_come_as_they_are(shown: bool):
    assert list(track(iter("abc"), 3, "letters", shown=shown)) == ["a", "b", "c"]
    assert list(track([], 0, "nothing", shown=shown)) == []


def test_terminal_shows_what_is_done_and_how_much(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    assert list(track(range(7), 7, "CAMs of acr")) == list(range(7))

    assert "CAMs of acr" in terminal.getvalue()
    assert "7/7" in terminal.getvalue()


def test_terminal_stays_silent_for_other_processes(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    list(track(range(7), 7, "CAMs of acr", shown=False))

    assert terminal.getvalue() == ""


def test_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    times = iter([0.0, 10.0, 40.0, 50.0, 71.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    caplog.set_level(logging.INFO, "tag2mask.progress")

    list(track(range(4), 4, "CAMs of acr"))

    assert caplog.messages == ["CAMs of acr: 2 of 4, about 40 s left", "CAMs of acr: 4 of 4, about 0 s left"]
