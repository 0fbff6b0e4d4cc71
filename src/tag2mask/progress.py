"""Progress of long work: a bar on a terminal, a line at least every 30 seconds in a log."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")
# Rank of a process on its node, and of its node as Lightning's launcher and torchrun give it.
_RANKS = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
# Job names by which SLURM's users tell Lightning that its tasks do not work together.
_INTERACTIVE = ("bash", "interactive")
_SECONDS_BETWEEN_LINES = 30.0
# The first items are slow, and what is very fast is soon done.
_ITEMS_BEFORE_ESTIMATE = 3
_SECONDS_BEFORE_ESTIMATE = 1.0
_logger = logging.getLogger(__name__)


def is_first_process() -> bool:
    """Whether this is the one process, of all that a command has on all nodes, that shows progress and logs."""
    ranks = ("SLURM_PROCID",) if _by_slurm() else _RANKS
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def _by_slurm() -> bool:
    """Whether SLURM gives the ranks: as Lightning decides it, which takes seconds to import."""
    by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    by_srun = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in _INTERACTIVE
    return by_srun and not by_torchrun


def track(items: Iterable[Item], total: int, description: str, *, shown: bool = True) -> Iterator[Item]:
    """Yield `items`, showing how many of `total` are done and the time that is left.

    Args:
        items: what is worked on.
        total: how many there are.
        description: what is being done.
        shown: silent where false (all processes but the first).
    """
    if not shown or total == 0:
        yield from items
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("left"), _TimeLeft(), console=Console(stderr=True)) as progress:
            yield from progress.track(items, total=total, description=description)
    else:
        yield from _track_in_lines(items, total, description)


class _TimeLeft(TimeRemainingColumn):
    """The time that is left, once it can be told."""

    def render(self, task: Task) -> Text:
        if _can_estimate(int(task.completed), task.elapsed or 0.0):
            return super().render(task)
        return Text("-:--:--", style="progress.remaining")


def _can_estimate(done: int, seconds: float) -> bool:
    return done >= _ITEMS_BEFORE_ESTIMATE and seconds >= _SECONDS_BEFORE_ESTIMATE


def _track_in_lines(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            left = f", about {(now - start) / done * (total - done):.0f} s left"
            told = left if _can_estimate(done, now - start) else ""
            _logger.info("%s: %d of %d%s", description, done, total, told)
            last = now
