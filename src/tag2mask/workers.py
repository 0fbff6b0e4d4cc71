"""Work on many photos, shared by the processes of a run, and by further ones where it needs no network."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from tag2mask.progress import track

# Whoever works without a network starts in half a second and 100 MiB without it, and in four and 900 with it.
if TYPE_CHECKING:
    from lightning_fabric import Fabric

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_cores() -> int:
    """Cores that this process may use: fewer than there are where a batch system or `taskset` says so."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def refused_together(fabric: "Fabric") -> Iterator[None]:
    """End all processes where one of them is refused in the block, which the first one tells.

    They wait for each other at the end of the block, and must not do so within it. Their group ends with a refusal.

    Raises:
        ValueError: what the first process that was refused would have told by itself.
    """
    if fabric.world_size == 1:
        yield
        return
    # Only here: whoever works without a network starts without torch.
    from torch.distributed import all_gather_object, destroy_process_group

    refusal: str | None = None
    try:
        yield
    except (ValueError, OSError) as error:
        refusal = str(error)
    refusals: list[str | None] = [None] * fabric.world_size
    all_gather_object(refusals, refusal)
    told = next((refusal for refusal in refusals if refusal is not None), None)
    if told is not None:
        # A process that ends with its group's threads still at work may be aborted by them.
        destroy_process_group()
        raise ValueError(told) if fabric.is_global_zero else SystemExit(1)


def share_of(fabric: "Fabric", waiting: Sequence[Item]) -> Sequence[Item]:
    """This process's part of what all processes found waiting to be done.

    They wait for each other here, so that all have seen what is there before the first one adds to it.
    """
    fabric.barrier()
    return waiting[fabric.global_rank :: fabric.world_size]


def for_each(
    work: Callable[[Item], Result], items: Sequence[Item], *, num_processes: int, title: str, shown: bool = True,
    take: Callable[[Result], object] = lambda result: None,
) -> None:  # fmt: skip
    """Do `work` on every item, in any order; the first error stops it.

    Args:
        work: picklable; leaves its result on disk, or gives it, picklable too.
        items: picklable.
        num_processes: 0 = as many as there are cores for it; 1 works in this process.
        title: of the progress bar.
        shown: silent where false.
        take: is called in this process with what `work` gave.
    """
    num_processes = min(num_processes or num_cores(), len(items))
    if num_processes <= 1:
        for item in track(items, len(items), title, shown=shown):
            take(work(item))
        return
    # Forked processes would inherit torch's threads, which may hold locks.
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(num_processes, context, _begin, (os.getpid(),)) as pool:
        # Submitting is what starts the processes, which inherit what is held back.
        with _ctrl_c_held_back():
            # Nothing else holds them, so that each result is gone once it was taken.
            tasks = as_completed([pool.submit(work, item) for item in items])
        try:
            for task in track(tasks, len(items), title, shown=shown):
                take(task.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # They would finish their photos, and those already handed to them, while nothing seems to happen.
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise


def end_with(parent: int) -> None:
    """Let this process end soon after the one that started it, which may be killed without a chance to tell.

    Args:
        parent: number of that process; one that is gone already ends this one too.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal, but only the first one can tell it well, and it comes after this."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    # Not every system lets a process inherit it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
