"""The data of docs/results.md, made of PASCAL VOC 2012: photos of five animals and the people beside them.

    python benchmarks/voc12_animals.py VOCdevkit/VOC2012 train_aug.txt voc12-animals

VOC2012 holds JPEGImages, ImageSets/Segmentation and SegmentationClassAug, the masks of VOC and SBD as one folder of
class ids; train_aug.txt names the usual 10,582 photos. A photo counts if its mask shows an animal. Larger photos are
brought down to a long side of 384 pixels; other classes of VOC become background; tags are the classes in the mask.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.data.classes import BACKGROUND_NAME, IGNORE, VOC_CLASS_NAMES, voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.progress import track

ANIMALS = ("cat", "cow", "dog", "horse", "sheep")
CLASSES = ("cat", "cow", "dog", "horse", "person", "sheep")
LONG_SIDE = 384
# A third of the training photos, about as many of each animal.
BALANCED = Path(__file__).parent / "lists/voc12_animals_train_bal.txt"


class Photo(NamedTuple):
    """What is kept of one photo."""

    name: str
    split: str
    shown: tuple[str, ...]


def renumbered(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map ids of VOC's classes to those of `CLASSES`, from 1; 255 stays 255."""
    ids = np.zeros(256, np.uint8)
    ids[IGNORE] = IGNORE
    for number, name in enumerate(CLASSES, start=1):
        ids[VOC_CLASS_NAMES.index(name) + 1] = number
    return ids[mask]


def photos_of(voc: Path, names: Sequence[str], split: str, out: Path) -> Iterator[Photo]:
    """Write photos and masks of those photos that show an animal, and return what is kept of each."""
    for name in track(names, len(names), split):
        mask = renumbered(open_label_map(voc / "SegmentationClassAug" / f"{name}.png"))
        shown = tuple(CLASSES[number - 1] for number in np.unique(mask) if 0 < number < IGNORE)
        if not set(shown) & set(ANIMALS):
            continue
        photo = Image.open(voc / "JPEGImages" / f"{name}.jpg").convert("RGB")
        scale = min(1.0, LONG_SIDE / max(photo.size))
        size = (round(photo.width * scale), round(photo.height * scale))
        photo.resize(size, Image.Resampling.LANCZOS).save(out / "JPEGImages" / f"{name}.jpg", quality=85)
        smaller = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        write_label_map(out / "SegmentationClass" / f"{name}.png", smaller, voc_palette())
        yield Photo(name, split, shown)


def make(voc: Path, train_aug: Path, out: Path) -> None:
    lists = out / "ImageSets/Segmentation"
    for folder in (lists, out / "JPEGImages", out / "SegmentationClass"):
        folder.mkdir(parents=True)
    official = voc / "ImageSets/Segmentation"
    train = list(photos_of(voc, train_aug.read_text().split(), "train", out))
    val = list(photos_of(voc, (official / "val.txt").read_text().split(), "val", out))
    names = {photo.name for photo in train}
    splits = {
        "train": names,
        "train_bal": names & set(BALANCED.read_text().split()),
        "train_official": names & set((official / "train.txt").read_text().split()),
        "val": {photo.name for photo in val},
    }
    for split, members in splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in sorted(members)))
        print(f"{split}: {len(members):,} photos")
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in (BACKGROUND_NAME, *CLASSES)))
    with (out / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "split", *CLASSES))
        for photo in sorted([*train, *val]):
            writer.writerow((photo.name, photo.split, *(int(name in photo.shown) for name in CLASSES)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voc", type=Path, metavar="VOC2012")
    parser.add_argument("train_aug", type=Path, help="list of the photos whose masks SBD adds, one name per line")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists, expected a folder that does not")
    make(options.voc, options.train_aug, options.out)


if __name__ == "__main__":
    main()
