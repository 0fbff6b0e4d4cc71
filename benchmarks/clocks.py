"""How benchmarks take time."""

import time
from collections.abc import Callable

import torch


def best_seconds(work: Callable[[], object], num_passes: int) -> float:
    """Processor seconds of the fastest of several passes, so that other work on the machine does not count."""
    seconds = []
    for _ in range(num_passes):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def clock(device: torch.device) -> float:
    """Clock in seconds, read when the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
