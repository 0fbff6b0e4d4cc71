"""Activation maps that a stage has not written yet, shared by the processes of a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tag2mask.cams.store import stored_names
from tag2mask.data.records import Record
from tag2mask.memory import giving_back
from tag2mask.progress import track
from tag2mask.workers import around_network, num_threads_beside, refused_together, share_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Prepared = TypeVar("Prepared")
Inferred = TypeVar("Inferred")


def write_missing_maps(
    fabric: "Fabric", records: Sequence[Record], *, prepare: Callable[[Record], Prepared],
    infer: Callable[[Prepared], Inferred], write: Callable[[Inferred], object], folder: Path, title: str,
    num_threads: int = 1,
) -> None:  # fmt: skip
    """Write the activation maps that a folder lacks; those that are there already are left alone.

    Args:
        fabric: launched; its processes share the photos.
        records: photos.
        prepare: reads what the network takes of one photo.
        infer: lets the network work, in this thread.
        write: makes the maps of what the network gives, and writes them.
        folder: one file a photo.
        title: of the progress bar.
        num_threads: of each process, that write while its network works on a GPU.
    """
    done = stored_names(folder)
    share = share_of(fabric, [record for record in records if record.name not in done])
    written = around_network(
        share, prepare=prepare, infer=infer, finish=write, num_threads=num_threads_beside(fabric.device, num_threads)
    )
    with refused_together(fabric):
        for _ in giving_back(track(written, len(share), title, shown=fabric.is_global_zero)):
            pass
