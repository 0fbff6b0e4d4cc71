"""Work on many photos, shared by the processes of a run.

Work that needs no network is done by further processes, work beside a network by threads.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tag2mask.data.records import Record
from tag2mask.progress import track

# Whoever works without a network starts in half a second and 100 MiB without it, and in four and 900 with it.
if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Inferred = TypeVar("Inferred")
Result = TypeVar("Result")


def num_cores() -> int:
    """Cores that this process may use: fewer than there are where a batch system or `taskset` says so."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def refused_together(fabric: "Fabric") -> Iterator[None]:
    """End all processes if one of them raises a ValueError or OSError in the block; the first one reports it.

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


@dataclass(frozen=True)
class Inference:
    """Work on photos one by one in which nothing learns: its processes and devices, photos and output folder."""

    fabric: "Fabric"
    """Already launched; its processes share the photos."""
    records: Sequence[Record]
    """Photos to work on, by all processes together."""
    folder: Path
    """Gets one file per photo; files that are there already are left alone."""
    num_processes: int
    """That each process of the run starts for its part, or threads where it has a network on a GPU; at least 1."""

    def share(self, done: Container[str]) -> Sequence[Record]:
        """This process's part of the photos, those with names in `done` left out, as `share_of` gives it."""
        return share_of(self.fabric, [record for record in self.records if record.name not in done])


def for_each(
    work: Callable[[Item], Result], items: Sequence[Item], *, num_processes: int, title: str, shown: bool = True,
    take: Callable[[Result], object] = lambda result: None,
) -> None:  # fmt: skip
    """Do `work` on every item, in any order; the first error stops it.

    Args:
        work: picklable; leaves its result on disk, or gives it, picklable too.
        items: picklable.
        num_processes: 0 = as many as there are cores for it; 1 works in this process.
        title: title of the progress bar.
        shown: whether progress is shown.
        take: called in this process with each result of `work`.
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


def around_network(
    items: Iterable[Item], *, prepare: Callable[[Item], Prepared], infer: Callable[[Prepared], Inferred],
    finish: Callable[[Inferred], Result], num_threads: int,
) -> Generator[Result, None, None]:  # fmt: skip
    """Do three steps on every item: the network's in this thread, those before and after it in others meanwhile.

    Memory holds one item that is prepared ahead, and at most `num_threads` + 1 that are not yet finished.

    Args:
        items: the work.
        prepare: brings an item to what the network takes.
        infer: runs the network on what `prepare` gave.
        finish: makes a result of what the network gives.
        num_threads: threads for `finish`, beside one for `prepare`; 0 does every step in this thread, item by item.

    Yields:
        What `finish` gives, in the order of the items. The first one that fails raises, after those before it.
    """
    with closing(in_threads(prepare, items, num_threads=min(num_threads, 1))) as prepared:
        yield from in_threads(finish, map(infer, prepared), num_threads=num_threads)


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int
) -> Generator[Result, None, None]:
    """Do `work` on every item in threads, while this one makes further items or uses the results.

    Args:
        work: faster in threads if it releases Python's lock, as decoding, compressing and arithmetic on arrays do.
        items: are taken in this thread, at most `num_threads` + 1 more than there were results.
        num_threads: 0 works in this thread.

    Yields:
        What `work` gives, in the order of the items. The first one that fails raises, after those before it.
    """
    if num_threads == 0:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(num_threads)
    try:
        tasks: deque[Future[Result]] = deque()
        for task in _submitted(pool, work, items):
            tasks.append(task)
            if len(tasks) > num_threads:
                yield tasks.popleft().result()
        while tasks:
            yield tasks.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def num_threads_beside(device: "torch.device", most: int = 1) -> int:
    """Threads that gain something beside a network: none on a CPU, all of whose cores the network uses itself."""
    return 0 if device.type == "cpu" else most


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


def _submitted(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Future[Result]]:
    """Submit a task for each item; if the items themselves raise an error, that is the last task."""
    try:
        for item in items:
            yield pool.submit(work, item)
    except Exception as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed


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
