import io
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_process import ready_processes, wait_for_end

from tag2mask.workers import for_each, num_cores, refused_together, share_of


class Terminal(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


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
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    work = partial(write_square, folder=tmp_path)
    for_each(work, [1, 2], num_processes=num_processes, title="squares", shown=shown)

    assert ("squares" in terminal.getvalue()) == shown


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
