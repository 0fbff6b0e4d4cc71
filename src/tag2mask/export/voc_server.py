"""Predictions of the PASCAL VOC 2012 test photos as the archive that its evaluation server takes."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

from tag2mask.data.classes import VOC_CLASS_NAMES
from tag2mask.data.label_maps import open_label_map
from tag2mask.export.destination import check_destination
from tag2mask.files import replacing

# The competition for what was trained on more than VOC, as a pretrained backbone is.
_FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"


def write_voc_package(masks: Path, archive: Path, *, names: Sequence[str], class_names: Sequence[str]) -> None:
    """Pack label maps as `results/VOC2012/Segmentation/comp6_test_cls/NAME.png`.

    Args:
        masks: folder of the predictions, `NAME.png` each.
        archive: to be written: `.tar`, or compressed `.tar.gz`.
        names: of the test photos, all of which the server wants.
        class_names: names of ids 1, 2, ... in the predictions.

    Raises:
        ValueError: the classes are not VOC's 20 in their order, the archive cannot be written, a prediction is missing,
            or one has other ids.
    """
    if tuple(class_names) != VOC_CLASS_NAMES:
        raise ValueError(
            f"VOC package: found {len(class_names)} classes ({', '.join(class_names[:3])}, ...), expected the "
            f"{len(VOC_CLASS_NAMES)} of VOC in their order ({', '.join(VOC_CLASS_NAMES[:3])}, ...)"
        )
    check_destination(archive, ".tar", ".tar.gz")
    for name in names:
        _check(masks / f"{name}.png")
    with replacing(archive) as path, tarfile.open(path, "w:gz" if archive.suffix == ".gz" else "w") as package:
        for name in names:
            package.add(masks / f"{name}.png", f"{_FOLDER}/{name}.png", filter=_without_owner)


def _check(path: Path) -> None:
    top = int(open_label_map(path).max())
    if top > len(VOC_CLASS_NAMES):
        raise ValueError(f"{path}: found class id {top}, expected 0 to {len(VOC_CLASS_NAMES)}, 255 not among them")


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The file without its owner and time: who made it and when is nobody's business."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member
