"""Commands in processes of their own, which a test may kill; what takes seconds to import is imported once for all."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path


def ready_processes() -> ForkServerContext:
    """Starts processes that have imported torch already, but run nothing of this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tag2mask.cli", "tag2mask.pipeline", "tag2mask.results"])
    return context


def start(*arguments: object, told: Path) -> ForkServerProcess:
    """Start a command, which writes what it tells to a file."""
    typed = [str(argument) for argument in arguments]
    # As a daemon it ends with this process, should a test fail before it ends it.
    process = ready_processes().Process(target=_run, args=(typed, told), daemon=True)
    process.start()
    return process


def kill_when(happened: Callable[[], bool], *arguments: object, told: Path) -> None:
    """Start a command and kill -9 it as soon as something has happened."""
    process = start(*arguments, told=told)
    while process.is_alive() and not happened():
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, told.read_text()


def work_together(work: Callable[..., None], *arguments: object) -> list[int | None]:
    """Let the two processes of a run do `work`, given their fabric and the arguments; gives their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = [ready_processes().Process(target=_launch, args=(rank, port, work, arguments)) for rank in ("0", "1")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    return [process.exitcode for process in both]


def on_two_devices(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command on two processes to its end."""
    command = [sys.executable, "-m", "tag2mask", *map(str, arguments), "--engine.devices", "2"]
    return subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )


def lives(process: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that ended and was not waited for is still known.
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_end(*processes: int) -> list[int]:
    """Wait a while for processes to end; gives those that still live."""
    deadline = time.monotonic() + 60
    while any(map(lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [*filter(lives, processes)]


def _launch(rank: str, port: str, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    import torch

    from tag2mask.config import EngineSettings
    from tag2mask.engine import launch

    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    work(launch(EngineSettings(accelerator="cpu", devices=2)), *arguments)


def _run(arguments: list[str], told: Path) -> None:
    import torch

    from tag2mask.cli import main

    torch.set_num_threads(1)
    with told.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.exit(main(arguments))
