"""Label maps that a stage has not written yet, shared by the processes of a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.data.label_maps import label_map_names
from tag2mask.data.records import Record
from tag2mask.workers import for_each, refused_together, share_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def write_missing(
    fabric: "Fabric", write: Callable[[Record], None], records: Sequence[Record], *, folder: Path,
    num_processes: int, title: str,
) -> None:  # fmt: skip
    """Write the label maps that a folder lacks; those that are there already are left alone.

    Args:
        fabric: launched; its processes share the photos.
        write: picklable; writes the label map of one photo.
        records: photos.
        folder: one PNG a photo.
        num_processes: that each of them starts for its part; 0 = one a core.
        title: of the progress bar.
    """
    done = label_map_names(folder)
    share = share_of(fabric, [record for record in records if record.name not in done])
    with refused_together(fabric):
        for_each(write, share, num_processes=num_processes, title=title, shown=fabric.is_global_zero)
