"""The outline of one object as COCO's annotations write it: polygons or run lengths, checked against the photo."""

from array import array
from math import isfinite
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask  # type: ignore[import-untyped]

from tag2mask.data.drawn_masks import Outline
from tag2mask.data.faults import FaultLog

_TOLERANCE = 1.0
"""Pixels that an outline may leave the photo by."""


class Frame(NamedTuple):
    """A photo's name, for faults, and sides in pixels."""

    file: str
    height: int
    width: int


def read_outline(segmentation: Any, class_id: int, frame: Frame, log: FaultLog) -> Outline | None:
    """One object's outline, or none where there is no part of it that can be used; what cannot is noted."""
    if isinstance(segmentation, dict):
        run_lengths = _run_lengths(segmentation, frame, log)
        return Outline(class_id, run_lengths=run_lengths) if run_lengths else None
    listed = segmentation or []
    # Some tools write the corners of an only polygon without a list around them.
    if listed and not any(isinstance(value, list) for value in listed):
        listed = [listed]
    polygons = tuple(polygon for corners in listed if corners != [] and (polygon := _polygon(corners, frame, log)))
    return Outline(class_id, polygons) if polygons else None


def _polygon(corners: Any, frame: Frame, log: FaultLog) -> bytes:
    try:
        numbers = array("d", corners)
    except TypeError:
        numbers = array("d")
    # COCO's code takes a list of four numbers for a box.
    if len(numbers) < 6 or len(numbers) % 2 or not isfinite(sum(numbers)):
        found, expected = f"a polygon of {len(numbers)} numbers", "finite x and y of at least three corners"
        log.warn("polygon", frame.file, found=found, expected=expected, hint="It is left out.")
        return b""
    x, y = numbers[::2], numbers[1::2]
    if min(numbers) < -_TOLERANCE or max(x) > frame.width + _TOLERANCE or max(y) > frame.height + _TOLERANCE:
        hint = "Its corners are moved to the photo's edge."
        log.warn("outside", frame.file, found="a polygon that leaves the photo", expected="one inside it", hint=hint)
        numbers[::2] = array("d", (min(max(value, 0.0), frame.width) for value in x))
        numbers[1::2] = array("d", (min(max(value, 0.0), frame.height) for value in y))
    return numbers.tobytes()


def _run_lengths(code: dict[str, Any], frame: Frame, log: FaultLog) -> bytes:
    size, counts = [frame.height, frame.width], code.get("counts")
    if code.get("size") == size and isinstance(counts, list) and _fill(counts, frame):
        return bytes(coco_mask.frPyObjects(code, *size)["counts"])
    if code.get("size") == size and isinstance(counts, str) and _is_whole(counts.encode(), frame):
        return counts.encode()
    expected = f"the size {size} and counts of as many pixels"
    log.error("run-lengths", frame.file, found="run lengths that do not fill the photo", expected=expected)
    return b""


def _fill(counts: list[Any], frame: Frame) -> bool:
    return all(isinstance(count, int) and count >= 0 for count in counts) and sum(counts) == frame.height * frame.width


def _is_whole(counts: bytes, frame: Frame) -> bool:
    """Whether compressed run lengths speak of every pixel and of no more: one less has no room for them."""
    return _have_room(counts, frame.height, frame.width) and not _have_room(counts, frame.height * frame.width - 1, 1)


def _have_room(counts: bytes, height: int, width: int) -> bool:
    try:
        coco_mask.decode({"size": [height, width], "counts": counts})
    except ValueError:
        return False
    return True
