"""Predictions of many photos: their files, and what became of those that could not be labelled."""

import csv
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lightning_fabric import Fabric

from tag2mask.config import EngineSettings, SegmenterSettings
from tag2mask.data.classes import voc_palette
from tag2mask.data.digests import digest_file
from tag2mask.data.label_maps import label_map_names, open_label_map, write_label_map
from tag2mask.data.names import without_suffix
from tag2mask.data.photos import FileError
from tag2mask.data.records import Record
from tag2mask.data.result_folders import CONTENTS_FILE, MODEL_FILE
from tag2mask.data.sizes import reduce_photo
from tag2mask.files import remove_leftovers, replacing
from tag2mask.memory import giving_back, is_want_of_memory
from tag2mask.prediction import Prediction, class_areas
from tag2mask.progress import track
from tag2mask.runs.folder import alone_in
from tag2mask.runs.manifest import Manifest, read_manifest, seconds_so_far, why_redo, write_manifest
from tag2mask.segmenter import WEIGHTS, Segmenter
from tag2mask.workers import refused_together, share_of

_NUM_NAMED = 3
_JPEG_QUALITY = 90
# Pixels, of the library that Pillow writes JPEG with.
_JPEG_LONGEST_SIDE = 65_500
_logger = logging.getLogger(__name__)


class FolderResult(NamedTuple):
    """What became of a list of photos."""

    num_photos: int
    """All of them."""
    failed: tuple[str, ...]
    """Names of those that could not be read or need too much memory, which have no files."""


def origin_of(model: Path, engine: EngineSettings) -> Manifest:
    """What predictions of this model at this precision are made from."""
    precision = engine.inference_precision or engine.precision
    # What is not named is float32, as in folders from before there was a choice.
    settings = {} if precision == "32-true" else {"engine.inference_precision": precision}
    return Manifest(settings, {"model": digest_file(model / WEIGHTS), "settings": digest_file(model / MODEL_FILE)})


def refuse_other_origin(folder: Path, origin: Manifest) -> None:
    """Refuse to add to predictions of another model or precision, so that two are never mixed in a folder.

    Raises:
        ValueError: there are files of another origin.
    """
    # Hidden files are left by a call that was killed before it had begun.
    if why_redo(origin, read_manifest(folder)) and any(folder.glob("[!.]*")):
        raise ValueError(
            f"{folder}: found files that this model did not make at this precision, expected a new folder: "
            "choose another --out"
        )


def predict_photos(
    fabric: Fabric, segmenter: Segmenter, photos: Mapping[str, Path], *, folder: Path, origin: Manifest
) -> FolderResult:
    """Predict photos outside a run as `predict_folder` does, and keep in a manifest what they are made from.

    Args:
        fabric: already launched, with one process.
        segmenter: the segmenter of the model folder.
        photos: as for `predict_folder`.
        folder: as for `predict_folder`.
        origin: what its predictions are made from, see `origin_of`.

    Raises:
        ValueError: another process predicts into the folder.
    """
    with alone_in(folder):
        remove_leftovers(folder)
        earlier, start = seconds_so_far(folder), time.monotonic()
        write_manifest(folder, replace(origin, seconds=round(earlier, 1)))
        result = predict_folder(fabric, segmenter, photos, folder=folder)
        seconds = round(earlier + time.monotonic() - start, 1)
        counts = {"photos": len(label_map_names(folder / "masks"))}
        write_manifest(folder, replace(origin, finished=True, seconds=seconds, counts=counts))
    return result


def predict_folder(fabric: Fabric, segmenter: Segmenter, photos: Mapping[str, Path], *, folder: Path) -> FolderResult:
    """Write label map and overlay of every photo; files that are there of the same photo are left alone.

    A photo is the same while its content is: `photos.json` keeps what the masks were made of, and others are deleted
    first, such as those of photos that were called the same. `areas.csv` has the photos of earlier calls too. Photos
    that cannot be read, are too long for the CRF or need more memory than there is are named in the log and skipped.

    Args:
        fabric: already launched; the processes share the photos.
        segmenter: a trained segmenter.
        photos: photo files by name; a `/` in a name makes a subfolder.
        folder: gets `masks/NAME.png`, `overlays/NAME.jpg`, `areas.csv` and `photos.json`; for this segmenter alone.
    """
    fabric.to_device(segmenter.network)
    masks = folder / "masks"
    if fabric.is_global_zero:
        _delete_other_photos(folder, photos)
    # All processes see what is left.
    fabric.barrier()
    done = label_map_names(masks)
    share = share_of(fabric, [(name, path) for name, path in photos.items() if name not in done])
    tracked = track(share, len(share), f"predictions of {folder.name}", shown=fabric.is_global_zero)
    for name, path in giving_back(tracked):
        _predict_or_skip(segmenter, path, folder, name)
    fabric.barrier()
    done = label_map_names(masks)
    if fabric.is_global_zero:
        _write_areas(folder, [name for name in _read_contents(folder) if name in done], segmenter.class_names)
    return FolderResult(len(photos), tuple(name for name in photos if name not in done))


def predict_records(
    fabric: Fabric, segmenter: Segmenter, records: Sequence[Record], *, folder: Path, settings: SegmenterSettings
) -> None:
    """Predict photos of a data set as `predict_folder` does, with other settings than those of the training.

    Raises:
        ValueError: a photo could not be read or needs too much memory.
    """
    segmenter = Segmenter(segmenter.network, settings, segmenter.class_names)
    result = predict_folder(fabric, segmenter, {record.name: record.image for record in records}, folder=folder)
    with refused_together(fabric):
        if result.failed:
            some = ", ".join(result.failed[:_NUM_NAMED])
            raise ValueError(
                f"{folder}: {len(result.failed)} of {result.num_photos} photos failed, as told above: {some}"
            )


def _other_name(name: str, photo: Path) -> str:
    """A photo's name without suffix if it is called with it, and the other way round."""
    return without_suffix(name) if Path(name).name == photo.name else f"{name}{photo.suffix}"


def _delete_other_photos(folder: Path, photos: Mapping[str, Path]) -> None:
    """Delete predictions of other photos that had the names of these, and keep the digests of these.

    Those of a photo by its other name too, or it would be there twice once there is another one of its name.
    """
    before = _read_contents(folder)
    contents = {name: _digest(photo) for name, photo in photos.items()}
    made = label_map_names(folder / "masks")
    others = [name for name, content in contents.items() if name in made and content != before.get(name)]
    elsewhere = made - photos.keys()
    renamed = [
        other
        for name, photo in photos.items()
        if (other := _other_name(name, photo)) in elsewhere and before.get(other) == contents[name]
    ]
    for name in [*others, *renamed]:
        (folder / "masks" / f"{name}.png").unlink()
        (folder / "overlays" / f"{name}.jpg").unlink(missing_ok=True)
    if others:
        some = ", ".join(others[:_NUM_NAMED]) + ", ..." * (len(others) > _NUM_NAMED)
        _logger.info(
            "%d of %d photos are redone, for their masks in %s were not made of them: %s",
            len(others), len(photos), folder, some,
        )  # fmt: skip
    # After the masks of others are gone and before one is made: a mask that is there is always of what this file says.
    with replacing(folder / CONTENTS_FILE) as temporary:
        temporary.write_text(json.dumps(before | contents, indent=0) + "\n", encoding="utf-8")


def _read_contents(folder: Path) -> dict[str, str]:
    """Digest, by name, of each photo with predictions in the folder, those of earlier calls too."""
    path = folder / CONTENTS_FILE
    contents: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return contents


def _digest(photo: Path) -> str:
    """Digest of a file's content; empty for one that cannot be read, which the prediction reports."""
    try:
        return digest_file(photo)
    except OSError:
        return ""


def _predict_or_skip(segmenter: Segmenter, photo: Path, folder: Path, name: str) -> None:
    """Predict a photo and write its files, or tell why it has none."""
    try:
        _write_prediction(segmenter.predict(photo), folder, name)
    except FileError as error:
        _logger.warning("skipped %s", error)
    except OverflowError:
        _logger.warning(
            "skipped %s: too long for a CRF, bring it down by segmenter.long_side (config.json of the model)", photo
        )
    except (MemoryError, RuntimeError) as error:
        if not is_want_of_memory(error):
            raise
        _logger.warning(
            "skipped %s: out of memory, bring it down by segmenter.long_side (config.json of the model)", photo
        )


def _write_prediction(prediction: Prediction, folder: Path, name: str) -> None:
    with replacing(folder / "overlays" / f"{name}.jpg") as temporary:
        overlay = reduce_photo(prediction.overlay, _JPEG_LONGEST_SIDE)
        overlay.save(temporary, format="JPEG", quality=_JPEG_QUALITY)
    # Last, for a photo with a mask counts as done.
    write_label_map(folder / "masks" / f"{name}.png", prediction.label_map, voc_palette())


def _write_areas(folder: Path, names: Sequence[str], class_names: Sequence[str]) -> None:
    # A file name that is not UTF-8 is written with the bytes that it has.
    with (
        replacing(folder / "areas.csv") as path,
        path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["photo", "class", "pixels", "share"])
        for name in names:
            label_map = open_label_map(folder / "masks" / f"{name}.png")
            for class_name, pixels in class_areas(label_map, class_names).items():
                writer.writerow([name, class_name, pixels, f"{pixels / label_map.size:.6f}"])
