"""Memory of this process: its peak stage by stage, what it can give back, and which errors tell that it ran out."""

import ctypes
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

_ITEMS_BETWEEN_GIVING_BACK = 10
_WORDS = ("out of memory", "can't allocate memory", "DefaultCPUAllocator")


def restart_peak() -> None:
    """Forget the peak so far, where the system allows it."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_mib() -> int | None:
    """Highest resident memory in MiB since `restart_peak`, or since the start where the system cannot forget.

    None where the system does not tell it.
    """
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    told = [int(line.split()[1]) // 2**10 for line in lines if line.startswith("VmHWM:")]
    if told:
        return told[0]
    try:
        # Absent on Windows.
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    return peak // 2**20 if sys.platform == "darwin" else peak // 2**10


def giving_back(items: Iterable[Item]) -> Iterator[Item]:
    """Yield `items`, and give back what is free after every tenth.

    For work on photos of many sizes: without it the process would grow with their number, by gigabytes.
    """
    for number, item in enumerate(items, start=1):
        yield item
        if number % _ITEMS_BETWEEN_GIVING_BACK == 0:
            give_back_free()


def give_back_free() -> None:
    """Give free memory of this process back to the system, where its allocator can be asked to (glibc).

    After many arrays of different sizes that is most of the process's memory, and little of it fits the next ones.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def is_want_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    # torch has errors of several types for it, and the command line asks without importing torch.
    is_named_so = type(error).__name__ in ("MemoryError", "OutOfMemoryError")
    return is_named_so or any(words in str(error) for words in _WORDS)
