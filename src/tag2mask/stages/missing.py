"""Label maps that a stage has not written yet, shared by the processes of a run."""

from collections.abc import Callable

from tag2mask.data.label_maps import label_map_names
from tag2mask.data.records import Record
from tag2mask.workers import Inference, for_each, refused_together


def write_missing(inference: Inference, write: Callable[[Record], None], *, title: str) -> None:
    """Write the label maps that a folder lacks; those that are there already are left alone.

    Args:
        inference: its folder gets one PNG per photo.
        write: picklable; writes the label map of one photo.
        title: title of the progress bar.
    """
    share = inference.share(label_map_names(inference.folder))
    with refused_together(inference.fabric):
        shown = inference.fabric.is_global_zero
        for_each(write, share, num_processes=inference.num_processes, title=title, shown=shown)
