"""The stages whose label maps a dense CRF makes: sharpened seeds, and confident labels to learn relations from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tag2mask.cams.store import read_cams, stored_maps
from tag2mask.config import CamSettings, CrfSettings, RefinementSettings
from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import write_label_map
from tag2mask.data.photos import FileError, open_photo
from tag2mask.data.records import Record
from tag2mask.data.sizes import reduce_photo, reduced_size, resize_label_map, resize_maps
from tag2mask.refinement.crf import affinity_relations, irn_relations, seed_labels
from tag2mask.stages.missing import write_missing
from tag2mask.workers import Inference

LabelMaker = Callable[[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]], NDArray[np.uint8]]


def write_crf_labels(inference: Inference, *, cams: Path, settings: CrfSettings, cam_settings: CamSettings) -> None:
    """Write the label maps of seeds after a dense CRF; those that are there already are left alone.

    Args:
        inference: its folder gets one PNG per photo.
        cams: folder of the photos' activation maps.
        settings: settings of the CRF.
        cam_settings: its threshold is the score of a constant background.
    """
    maker = partial(seed_labels, settings=settings, threshold=cam_settings.threshold)
    write = partial(_write_label, cams=cams, folder=inference.folder, maker=maker, settings=settings)
    write_missing(inference, write, title="CRF")


def write_relations(inference: Inference, *, cams: Path, settings: RefinementSettings) -> None:
    """Write the confident labels that relations between pixels are learned from; all other pixels are 255.

    Args:
        inference: its folder gets one PNG per photo; those that are there already are left alone.
        cams: folder of the photos' activation maps.
        settings: which pixels count as confident.
    """
    makers: dict[str, LabelMaker] = {
        "irn": partial(irn_relations, settings=settings),
        "affinity": partial(affinity_relations, settings=settings),
    }
    maker = makers[settings.method]
    write = partial(_write_label, cams=cams, folder=inference.folder, maker=maker, settings=settings)
    write_missing(inference, write, title="sure labels")


def _write_label(
    record: Record, *, cams: Path, folder: Path, maker: LabelMaker, settings: CrfSettings | RefinementSettings
) -> None:
    stored = read_cams(cams, record.name)
    width, height = reduced_size((stored.width, stored.height), settings.long_side)
    photo = np.asarray(reduce_photo(open_photo(record.image), settings.long_side))
    try:
        label_map = maker(photo, resize_maps(stored_maps(stored), height, width), stored.class_ids)
    except OverflowError as error:
        section = "crf" if isinstance(settings, CrfSettings) else "refinement"
        raise FileError(
            "too-large", record.image, found=f"{width:,} x {height:,} pixels", expected="fewer for a CRF",
            hint=f"Bring it down by {section}.long_side.",
        ) from error  # fmt: skip
    label_map = resize_label_map(label_map, (stored.width, stored.height))
    write_label_map(folder / f"{record.name}.png", label_map, voc_palette())
