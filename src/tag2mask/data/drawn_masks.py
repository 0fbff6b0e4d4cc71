"""Label maps that are drawn from outlines on each opening, for data sets that keep no file of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask  # type: ignore[import-untyped]


class Outline(NamedTuple):
    """One object of a photo: its polygons, or the run lengths of its pixels."""

    class_id: int
    polygons: tuple[bytes, ...] = ()
    """Corners x, y, x, y, ... of each in pixels, as float64: a quarter of the memory that lists take."""
    run_lengths: bytes = b""
    """COCO's compressed code; empty where there are polygons."""


@dataclass(frozen=True)
class DrawnMask:
    """The label map of a photo that has only outlines."""

    annotations: Path
    """File that the outlines come from."""
    image_id: int
    """Id of the photo in that file."""
    height: int
    width: int
    outlines: tuple[Outline, ...]
    """In the order in which they are painted: a later one covers those before."""

    def __str__(self) -> str:
        """The place that messages name."""
        return f"{self.annotations} image {self.image_id}"

    def draw(self) -> NDArray[np.uint8]:
        """Class ids (H, W), 0 where no outline is."""
        # Column by column, as COCO's code has its pixels.
        label_map = np.zeros((self.height, self.width), np.uint8, order="F")
        for outline in self.outlines:
            label_map[self._pixels(outline)] = outline.class_id
        return np.ascontiguousarray(label_map)

    def _pixels(self, outline: Outline) -> NDArray[np.bool_]:
        if outline.polygons:
            polygons = [np.frombuffer(polygon) for polygon in outline.polygons]
            code = coco_mask.merge(coco_mask.frPyObjects(polygons, self.height, self.width))
        else:
            code = {"size": [self.height, self.width], "counts": outline.run_lengths}
        pixels: NDArray[np.uint8] = coco_mask.decode(code)
        return pixels.view(np.bool_)


LabelMap = Path | DrawnMask
"""Where a label map is: its file, or what it is drawn from."""
