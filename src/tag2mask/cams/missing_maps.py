"""Activation maps that a stage has not written yet, shared by the processes of a run."""

from collections.abc import Callable
from typing import TypeVar

from tag2mask.cams.store import stored_names
from tag2mask.data.records import Record
from tag2mask.memory import giving_back
from tag2mask.progress import track
from tag2mask.workers import Inference, around_network, num_threads_beside, refused_together

Prepared = TypeVar("Prepared")
Inferred = TypeVar("Inferred")


def write_missing_maps(
    inference: Inference, *, prepare: Callable[[Record], Prepared], infer: Callable[[Prepared], Inferred],
    write: Callable[[Inferred], object], title: str,
) -> None:  # fmt: skip
    """Write the activation maps that a folder lacks; those that are there already are left alone.

    Args:
        inference: its folder gets one file per photo.
        prepare: reads what the network takes of one photo.
        infer: lets the network work, in this thread.
        write: makes the maps of what the network gives, and writes them.
        title: of the progress bar.
    """
    fabric = inference.fabric
    share = inference.share(stored_names(inference.folder))
    num_threads = num_threads_beside(fabric.device, inference.num_processes)
    written = around_network(share, prepare=prepare, infer=infer, finish=write, num_threads=num_threads)
    with refused_together(fabric):
        for _ in giving_back(track(written, len(share), title, shown=fabric.is_global_zero)):
            pass
