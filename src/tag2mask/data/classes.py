"""Class names and the ids that label maps use for them."""

from collections import Counter
from pathlib import Path

from tag2mask.data.faults import FaultLog

BACKGROUND = 0
IGNORE = 255
MAX_CLASSES = 254
BACKGROUND_NAME = "background"
VOC_CLASS_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def voc_palette() -> list[tuple[int, int, int]]:
    """The 256 colours of PASCAL VOC's palette: bit i of the id goes to bit 7 - i // 3 of channel i % 3."""
    colours = []
    for class_id in range(256):
        channels = [0, 0, 0]
        for bit in range(8):
            channels[bit % 3] |= (class_id >> bit & 1) << (7 - bit // 3)
        colours.append((channels[0], channels[1], channels[2]))
    return colours


def is_background(name: str) -> bool:
    """Whether this names id 0, which is no tag: every photo has a background."""
    return name.strip().casefold() == BACKGROUND_NAME


def read_class_names(path: Path, log: FaultLog) -> tuple[str, ...] | None:
    """Names of `classes.txt`, one per line in the order of their ids; a first line `background` is id 0, not a class.

    None where the file does not exist or cannot be used, which is then noted.
    """
    if not path.is_file():
        return None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        log.error("classes", path.name, found=str(error), expected="UTF-8 text")
        return None
    names = lines[1:] if lines and is_background(lines[0]) else lines
    for row, line in enumerate(lines[1:], start=2):
        if is_background(line):
            expected = "it in the first line or nowhere, as it is no class"
            log.error("classes", path.name, row=row, found=repr(line), expected=expected)
    names = [name for name in names if not is_background(name)]
    if not names:
        log.error("classes", path.name, found="no class", expected="one class name per line")
        return None
    if "" in names:
        row = lines.index("") + 1
        log.error("classes", path.name, row=row, found="an empty line", expected="a class name", hint="Lines count.")
    for name, count in Counter(names).items():
        if name and count > 1:
            row = len(lines) - lines[::-1].index(name)
            log.error("classes", path.name, row=row, found=f"{name!r} {count} times", expected="each class once")
    return tuple(names)
