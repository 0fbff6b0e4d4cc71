"""How far the threshold estimated without masks is from the best one, which only the masks can tell.

    python benchmarks/label_free_threshold.py runs/animals VOC12-ANIMALS --split train_official

For every method's seeds and refined maps in the run, of all photos of the split that have a mask and of each half of
them (every other photo), it prints the best threshold, the one estimated on these maps, the one at which as much is
foreground as in the seeds at theirs, and the fixed one of 0.25, each with its mIoU in percent or how far that is from
the best.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.cams.store import StoredCams, full_size_maps, read_cams, stored_maps, stored_names, stored_size
from tag2mask.config import DataSettings
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.photos import open_photo
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record
from tag2mask.evaluation.sweep import ThresholdSweep, sweep_photo
from tag2mask.pseudo_labels import estimate_threshold, foreground_shares, threshold_of_share

FIXED = 0.25


def small_photo(path: Path) -> NDArray[np.uint8]:
    """The photo at the size of stored maps, so that all fit in memory."""
    photo = open_photo(path)
    height, width = stored_size(photo.height, photo.width)
    return np.asarray(photo.resize((width, height), Image.Resampling.BOX))


def swept(records: Sequence[Record], cams: Sequence[StoredCams], num_classes: int) -> ThresholdSweep:
    """Counts of the photos at every threshold, against their masks."""
    sweep = ThresholdSweep(num_classes)
    for record, stored in zip(records, cams, strict=True):
        assert record.label_map is not None
        truth = open_label_map(record.label_map)
        sweep.add(sweep_photo(full_size_maps(stored), stored.class_ids, truth, num_classes=num_classes))
    return sweep


def estimate(photos: Sequence[NDArray[np.uint8]], cams: Sequence[StoredCams]) -> float:
    """The threshold that is estimated without masks."""
    return estimate_threshold((photo, stored_maps(stored)) for photo, stored in zip(photos, cams, strict=True))


def report(
    photos: Sequence[NDArray[np.uint8]], cams: Sequence[StoredCams], seeds: Sequence[StoredCams], sweep: ThresholdSweep
) -> str:
    """One line: number of photos, the thresholds with their mIoU, and the estimate's seconds."""
    start = time.perf_counter()
    estimated = estimate(photos, cams)
    seconds = time.perf_counter() - start
    share = foreground_shares(map(stored_maps, seeds))[round(100 * estimate(photos, seeds))]
    as_seeds = threshold_of_share(map(stored_maps, cams), float(share))
    scores = sweep.scores()
    best, at_estimate, at_share, at_fixed = (
        100 * scores.miou[round(100 * threshold)] for threshold in (scores.best(), estimated, as_seeds, FIXED)
    )
    return (
        f"{len(photos):6} {scores.best():9.2f} {best:6.2f} {estimated:9.2f} {at_estimate - best:6.2f} "
        f"{as_seeds:9.2f} {at_share - best:6.2f} {at_fixed:9.2f} {at_fixed - best:6.2f} {seconds:8.1f}"
    )


def seeds_of(folder: Path) -> Path:
    """Folder of the classifier's maps that those in `folder` were made of, which may be `folder` itself."""
    method = folder.name if folder.parent.name == "2-cams" else folder.parent.name
    run = folder.parents[1] if folder.parent.name == "2-cams" else folder.parents[2]
    return run / "2-cams" / ("acr" if method == "acr_vit" else method)


def main() -> None:
    """Print a line for each method and set of photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with maps in 2-cams and, after a refinement, 3-refined")
    parser.add_argument("data", type=Path, help="folder of the data set")
    parser.add_argument("--split", default="train", help="photos whose maps the run holds")
    arguments = parser.parse_args()
    data_set = read_data_set(DataSettings(root=arguments.data))
    records = [record for record in data_set.split(arguments.split) if record.label_map]
    photos = [small_photo(record.image) for record in records]
    print("photos  best: at   mIoU  estimate   diff  as seeds   diff     fixed   diff  seconds")
    for folder in sorted([*arguments.run.glob("2-cams/*"), *arguments.run.glob("3-refined/*/maps")]):
        if not {record.name for record in records} <= stored_names(folder):
            continue
        cams = [read_cams(folder, record.name) for record in records]
        first, second = (swept(records[half::2], cams[half::2], len(data_set.class_names)) for half in (0, 1))
        print(folder.relative_to(arguments.run))
        whole = ThresholdSweep(len(data_set.class_names))
        whole.counts[:] = first.counts + second.counts
        seeds = [read_cams(seeds_of(folder), record.name) for record in records]
        print(report(photos, cams, seeds, whole))
        print(report(photos[::2], cams[::2], seeds[::2], first))
        print(report(photos[1::2], cams[1::2], seeds[1::2], second))


if __name__ == "__main__":
    main()
