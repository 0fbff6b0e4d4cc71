"""Means over the processes of a run."""

from torch import Tensor, distributed


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of the values over all processes; overwrites `values`, and returns them unchanged if there is one process.

    Losses divided by such a mean, and averaged over the processes, are those of one process with all photos.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    distributed.all_reduce(values)
    return values / distributed.get_world_size()
