import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_process import ready_processes, wait_for_end
from terminal import show_on_terminal

from tag2mask.workers import (
    around_network,
    for_each,
    in_threads,
    num_cores,
    num_threads_beside,
    refused_together,
    share_of,
)


def write_square(number: int, folder: Path) -> None:
    if number < 0:
        raise ValueError(f"{number} is negative")
    (folder / str(number)).write_text(str(number**2))


def test_processes_share_what_waits_after_all_have_looked():
    met = []
    fabrics = [SimpleNamespace(global_rank=rank, world_size=3, barrier=lambda: met.append(1)) for rank in range(3)]

    shares = [share_of(fabric, list("abcdefg")) for fabric in fabrics]

    assert shares == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert len(met) == 3


def refuse_one(rank: int, refused: int, folder: Path) -> None:
    """A process of two, of which one is refused."""
    # Only here: the workers of other tests import this file, and start without torch.
    import torch.distributed as processes

    processes.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    fabric: Any = SimpleNamespace(world_size=2, is_global_zero=rank == 0)
    with refused_together(fabric):
        pass
    try:
        with refused_together(fabric):
            if rank == refused:
                raise FileNotFoundError(f"{refused}.png")
    except (ValueError, SystemExit) as end:
        (folder / str(rank)).write_text(repr(end))
    assert not processes.is_initialized()


@pytest.mark.parametrize("refused", [0, 1])
def test_refusal_of_one_process_ends_all_and_is_told_by_the_first(tmp_path: Path, refused: int):
    both = [ready_processes().Process(target=refuse_one, args=(rank, refused, tmp_path)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()

    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "0").read_text() == f"ValueError('{refused}.png')"
    assert (tmp_path / "1").read_text() == "SystemExit(1)"


def test_refusal_of_a_process_alone_is_its_own():
    with pytest.raises(FileNotFoundError), refused_together(SimpleNamespace(world_size=1)):  # type: ignore[arg-type]
        raise FileNotFoundError


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells it")
def test_cores_are_those_that_this_process_may_use():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_work_is_done_on_every_item(tmp_path: Path, num_processes: int):
    for_each(partial(write_square, folder=tmp_path), [1, 2, 3], num_processes=num_processes, title="squares")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"1": "1", "2": "4", "3": "9"}


@pytest.mark.parametrize("num_processes", [1, 2])
def test_what_the_work_gives_is_taken_in_this_process(num_processes: int):
    taken: list[int] = []

    for_each(abs, [-1, 2, -3], num_processes=num_processes, title="numbers", take=taken.append)

    assert sorted(taken) == [1, 2, 3]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_error_reaches_the_caller(tmp_path: Path, num_processes: int):
    with pytest.raises(ValueError, match="-1 is negative"):
        for_each(partial(write_square, folder=tmp_path), [1, -1, 2], num_processes=num_processes, title="squares")


def test_nothing_to_do_is_nothing_done(tmp_path: Path):
    for_each(partial(write_square, folder=tmp_path), [], num_processes=0, title="squares")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("shown", [True, False])
def test_processes_beside_the_first_show_no_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_processes: int, shown: bool
):
    terminal = show_on_terminal(monkeypatch)

    work = partial(write_square, folder=tmp_path)
    for_each(work, [1, 2], num_processes=num_processes, title="squares", shown=shown)

    assert ("squares" in terminal.getvalue()) == shown


class Steps:
    """Notes which threads do the steps on numbers; two steps, by name and number, meet before either goes on."""

    def __init__(self, *meeting: tuple[str, int]) -> None:
        self.threads: dict[tuple[str, int], int] = {}
        self._meeting = meeting
        self._barrier = threading.Barrier(2, timeout=30)

    def prepare(self, number: int) -> int:
        return self._note("prepare", number)

    def infer(self, number: int) -> int:
        return self._note("infer", number)

    def finish(self, number: int) -> int:
        return self._note("finish", number) * 10

    def done(self, numbers: list[int], num_threads: int) -> Iterator[int]:
        return around_network(
            numbers, prepare=self.prepare, infer=self.infer, finish=self.finish, num_threads=num_threads
        )

    def _note(self, step: str, number: int) -> int:
        self.threads[step, number] = threading.get_ident()
        if number < 0:
            raise ValueError(f"{step} of {number}")
        if (step, number) in self._meeting:
            self._barrier.wait()
        return number


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_steps_around_a_network_give_results_in_order(num_threads: int):
    steps = Steps()

    results = list(steps.done([3, 1, 2, 5, 4], num_threads))

    assert results == [30, 10, 20, 50, 40]
    beside = {step for (step, _), thread in steps.threads.items() if thread != threading.get_ident()}
    assert beside == ({"prepare", "finish"} if num_threads else set())


@pytest.mark.parametrize(
    "meeting",
    [
        (("prepare", 2), ("infer", 1)),
        (("infer", 2), ("finish", 1)),
        # Two threads.
        (("finish", 2), ("finish", 1)),
    ],
)
def test_network_works_while_what_follows_is_prepared_and_what_precedes_is_finished(
    meeting: tuple[tuple[str, int], tuple[str, int]],
):
    assert list(Steps(*meeting).done([1, 2, 3], 2)) == [10, 20, 30]


def test_no_more_items_are_taken_than_threads_can_work_on():
    taken: list[int] = []
    items = (taken.append(number) or number for number in count())

    results = in_threads(abs, items, num_threads=2)
    first, second = next(results), next(results)
    results.close()

    assert (first, second, taken) == (0, 1, [0, 1, 2, 3])


class FailsAt:
    """Steps that fail at some numbers."""

    def __init__(self, **numbers: int) -> None:
        self.numbers = numbers
        self.finished: list[int] = []

    def step(self, name: str, number: int) -> int:
        if self.numbers.get(name) == number:
            raise OSError(f"{name} of {number}")
        if name == "finish":
            self.finished.append(number)
        return number

    def do(self, num_threads: int) -> None:
        steps = {name: partial(self.step, name) for name in ("prepare", "infer", "finish")}
        for _ in around_network(range(8), num_threads=num_threads, **steps):
            pass


@pytest.mark.parametrize("num_threads", [0, 1, 2])
@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"prepare": 4}, "prepare of 4"),
        ({"infer": 4}, "infer of 4"),
        ({"finish": 4}, "finish of 4"),
        ({"finish": 4, "infer": 5}, "finish of 4"),
        ({"finish": 4, "prepare": 6}, "finish of 4"),
        ({"infer": 4, "prepare": 5}, "infer of 4"),
    ],
)
def test_first_item_that_fails_is_told_and_those_before_it_are_finished(
    numbers: dict[str, int], told: str, num_threads: int
):
    steps = FailsAt(**numbers)

    with pytest.raises(OSError, match=told):
        steps.do(num_threads)

    assert {0, 1, 2, 3} <= set(steps.finished)


def test_no_thread_outlives_the_work_or_its_failure():
    before = threading.active_count()

    list(Steps().done([1, 2], 2))
    with pytest.raises(OSError, match="infer of 3"):
        FailsAt(infer=3).do(2)

    assert threading.active_count() == before


def test_threads_count_as_the_one_that_starts_them():
    # Only here: the workers of other tests import this file, and start without torch.
    import numpy as np
    import torch

    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps the smallest numbers")
    try:
        (halved,) = in_threads(lambda number: number / np.float32(2), [np.finfo(np.float32).tiny], num_threads=1)
    finally:
        torch.set_flush_denormal(False)

    assert halved == 0


@pytest.mark.parametrize(("device", "expected"), [("cpu", 0), ("cuda", 3), ("mps", 3)])
def test_network_on_a_cpu_has_its_cores_alone(device: str, expected: int):
    assert num_threads_beside(SimpleNamespace(type=device), 3) == expected  # type: ignore[arg-type]


SLEEPERS = """
import sys, time
from functools import partial
from pathlib import Path
from tag2mask.workers import for_each, share_of
sys.path.insert(0, sys.argv[1])
from test_workers import say_and_sleep
if __name__ == "__main__":
    for_each(partial(say_and_sleep, folder=Path(sys.argv[2])), [1, 2, 3, 4], num_processes=2, title="sleep")
"""


def say_and_sleep(number: int, folder: Path) -> None:
    (folder / str(number)).write_text(str(os.getpid()))
    time.sleep(60)


def wait_for_two_files(folder: Path, process: subprocess.Popen[Any]) -> None:
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
        assert process.poll() is None


def test_processes_end_with_the_one_that_started_them(tmp_path: Path):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    folder = tmp_path / "said"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(folder)])
    wait_for_two_files(folder, process)

    process.send_signal(signal.SIGKILL)
    process.wait()

    assert wait_for_end(*(int(path.read_text()) for path in folder.iterdir())) == []


INTERRUPTED = """
import os, signal, sys, time
from functools import partial
from pathlib import Path
from tag2mask.workers import for_each, share_of

def start_slowly(number):
    time.sleep(0.2)

if __name__ == "__main__":
    # A shell lets what it starts in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for_each(start_slowly, [1, 2], num_processes=2, title="sleep")
    except KeyboardInterrupt:
        print("stopped")
else:
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(0.5)
"""


def test_ctrl_c_while_processes_start_is_told_by_the_first_alone(tmp_path: Path):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    folder = tmp_path / "started"
    folder.mkdir()
    command = [sys.executable, str(script), str(folder)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_two_files(folder, process)

    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()

    assert (out, err) == ("stopped\n", "")


def test_ctrl_c_stops_this_process_again_after_the_work(tmp_path: Path):
    for_each(partial(write_square, folder=tmp_path), [1, 2], num_processes=2, title="squares")

    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
