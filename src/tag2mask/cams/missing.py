"""Activation maps that a stage has not written yet, shared by the processes of a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.cams.store import StoredCams, stored_names, write_cams
from tag2mask.data.records import Record
from tag2mask.progress import track
from tag2mask.workers import refused_together, share_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def write_missing_maps(
    fabric: "Fabric", make: Callable[[Record], StoredCams], records: Sequence[Record], *, folder: Path, title: str
) -> None:
    """Write the activation maps that a folder lacks; those that are there already are left alone.

    Args:
        fabric: launched; its processes share the photos.
        make: gives the maps of one photo.
        records: photos.
        folder: one file a photo.
        title: of the progress bar.
    """
    done = stored_names(folder)
    share = share_of(fabric, [record for record in records if record.name not in done])
    with refused_together(fabric):
        for record in track(share, len(share), title, shown=fabric.is_global_zero):
            write_cams(folder, record.name, make(record))
