"""Commands in processes of their own, which a test may kill; what takes seconds to import is imported once for all."""

import contextlib
import multiprocessing
import signal
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


def _run(arguments: list[str], told: Path) -> None:
    import torch

    from tag2mask.cli import main

    torch.set_num_threads(1)
    with told.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.exit(main(arguments))
