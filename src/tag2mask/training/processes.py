"""Numbers that several processes share."""

from torch import Tensor, distributed


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of every process's values, which are overwritten; themselves where there is one process.

    Losses divided by such a mean, and averaged over the processes, are those of one process with all photos.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    distributed.all_reduce(values)
    return values / distributed.get_world_size()
