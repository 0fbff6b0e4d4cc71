"""Progress of long work: a bar on a terminal, a line at least each 30 seconds in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 30.0
_logger = logging.getLogger(__name__)


def track(items: Iterable[Item], total: int, description: str, *, shown: bool = True) -> Iterator[Item]:
    """Yield `items`, showing how many of `total` are done and the time that is left.

    Args:
        items: the work.
        total: how many there are.
        description: what is being done.
        shown: silent where false (all processes but the first).
    """
    if not shown or total == 0:
        yield from items
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            yield from progress.track(items, total=total, description=description)
    else:
        yield from _track_in_lines(items, total, description)


def _track_in_lines(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            left = (now - start) / done * (total - done)
            _logger.info("%s: %d of %d, about %.0f s left", description, done, total, left)
            last = now
