"""How benchmarks take time."""

import time
from collections.abc import Callable

import torch


def best_seconds(work: Callable[[], object], num_passes: int) -> float:
    """The fewest of several passes, of the processor: what else runs on the machine does not count."""
    seconds = []
    for _ in range(num_passes):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def clock(device: torch.device) -> float:
    """Seconds, when all that the device was given to do is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
