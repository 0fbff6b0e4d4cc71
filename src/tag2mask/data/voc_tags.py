"""Tags of VOC's photos where no table has them: the classes of a photo's boxes, or of its label map."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.data.digests import FileState, state_of_file
from tag2mask.data.faults import FaultLog, did_you_mean
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.photos import FileError

_known_ids: dict[FileState, tuple[int, ...]] = {}


def tags_of_boxes(
    root: Path, annotations: Mapping[str, Path], class_names: tuple[str, ...], log: FaultLog
) -> dict[str, tuple[int, ...]]:
    """Class ids of every object that has a box, difficult ones included, by photo; photos without a file are absent."""
    ids = {name: class_id for class_id, name in enumerate(class_names, start=1)}
    unknown: Counter[str] = Counter()
    tags = {}
    for key, path in annotations.items():
        if not path.is_file():
            continue
        try:
            names = {(element.text or "").strip() for element in ElementTree.parse(path).iterfind("object/name")}
        except ElementTree.ParseError as error:
            file = path.relative_to(root).as_posix()
            log.error("annotation", file, row=error.position[0], found=str(error), expected="VOC's XML")
            continue
        unknown.update(name for name in names if name not in ids)
        tags[key] = tuple(sorted(ids[name] for name in names if name in ids))
    for name, count in unknown.items():
        found = f"objects {name!r} in {count:,} photos"
        hint = f"They are left out. {did_you_mean(name, class_names)}".rstrip()
        log.warn("unknown-class", "Annotations", found=found, expected="a class of the data set", hint=hint)
    return tags


def tags_of_label_maps(
    root: Path, label_maps: Mapping[str, Path | None], class_names: tuple[str, ...], log: FaultLog
) -> dict[str, tuple[int, ...]]:
    """Class ids that have a pixel, by photo; photos without a label map are absent, faulty ones are noted."""
    present = {key: path for key, path in label_maps.items() if path is not None and path.is_file()}
    with ThreadPoolExecutor() as pool:
        found = dict(zip(present, pool.map(_ids_or_error, present.values()), strict=True))
    tags = {}
    for key, result in found.items():
        if isinstance(result, FileError):
            file = present[key].relative_to(root).as_posix()
            log.error(result.code, file, found=result.found, expected=result.expected, hint=result.hint)
        else:
            tags[key] = tuple(class_id for class_id in result if 0 < class_id <= len(class_names))
    return tags


def remember_label_ids(state: FileState, ids: tuple[int, ...]) -> None:
    """Keep the values of a label map that the caller knows already, so that its file in this state is not opened."""
    _known_ids[state] = ids


def _ids_or_error(path: Path) -> tuple[int, ...] | FileError:
    ids = _known_ids.get(state_of_file(path))
    if ids is None:
        try:
            ids = tuple(np.unique(open_label_map(path)).tolist())
        except FileError as error:
            return error
    return tuple(class_id for class_id in ids if class_id not in (BACKGROUND, IGNORE))
