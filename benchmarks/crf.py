"""Dense CRF: time on one core against pydensecrf, and photos per second on one process and on two.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/crf.py FOLDER_OF_PHOTOS --photos 6

Each time includes all work for a photo, lattices too. Both see the same potentials and take turns, in either order;
a photo's time is the least of its rounds. Compiling is done before, on the first photo. Processor time is compared, so
that other work on the machine counts little; photos per second are by the clock.
"""

import argparse
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pydensecrf.densecrf as dcrf
from numpy.typing import NDArray
from PIL import Image

from tag2mask.config import CrfPreset, RefinementSettings
from tag2mask.data.sizes import resize_maps
from tag2mask.refinement.crf import PRESETS, DenseCrf, background_by_power, irn_relations, unary_from_maps

Photo = NDArray[np.uint8]
Array = NDArray[np.float32]
NUM_LABELS = (2, 3, 4)


def read_photos(folder: Path, count: int) -> list[Photo]:
    """Photos evenly spaced in the folder's list."""
    paths = sorted(folder.glob("*.jpg"))
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths[:: max(len(paths) // count, 1)][:count]]


def drawn_maps(photo: Photo, num_classes: int) -> Array:
    """Smooth activation maps in [0, 1]."""
    coarse = np.random.default_rng(num_classes).random((num_classes, 7, 9), np.float32)
    return resize_maps(coarse, *photo.shape[:2]).clip(0, 1)


def ours(photo: Photo, unary: Array, preset: CrfPreset) -> Array:
    return DenseCrf(photo, PRESETS[preset]).infer(unary)


def reference(photo: Photo, unary: Array, preset: CrfPreset) -> Array:
    kernels = PRESETS[preset]
    height, width, _ = photo.shape
    crf = dcrf.DenseCRF2D(width, height, len(unary))
    crf.setUnaryEnergy(unary.reshape(len(unary), -1))
    crf.addPairwiseGaussian(sxy=kernels.gaussian_sxy, compat=kernels.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=kernels.bilateral_sxy, srgb=kernels.bilateral_srgb, rgbim=photo.copy(), compat=kernels.bilateral_compat
    )
    return np.array(crf.inference(10), np.float32).reshape(unary.shape)


def compare(photos: list[Photo], preset: CrfPreset, num_labels: int, rounds: int) -> None:
    """Print seconds per photo, their ratio and how many labels agree."""
    seconds = np.full((2, len(photos)), np.inf)
    agreements = []
    for index, photo in enumerate(photos):
        maps = drawn_maps(photo, num_labels - 1)
        unary = unary_from_maps(maps, background_by_power(maps, 6))
        results = [unary, unary]
        for turn in range(rounds):
            for way in (0, 1) if turn % 2 else (1, 0):
                start = time.process_time()
                results[way] = (ours, reference)[way](photo, unary, preset)
                seconds[way, index] = min(seconds[way, index], time.process_time() - start)
        agreements.append((results[0].argmax(axis=0) == results[1].argmax(axis=0)).mean())
    own, theirs = seconds.mean(axis=1)
    print(
        f"{preset:9} {num_labels} labels: {1000 * own:4.0f} ms, pydensecrf {1000 * theirs:4.0f} ms,"
        f" ratio {own / theirs:.3f} (worst photo {(seconds[0] / seconds[1]).max():.3f}),"
        f" same labels on {min(agreements):.4%} of the pixels or more",
        flush=True,
    )


def label(photo: Photo) -> int:
    """The work of a photo in a run: IRN's labels of two classes."""
    relations = irn_relations(photo, drawn_maps(photo, 2), np.uint8([1, 2]), settings=RefinementSettings())
    return int(relations.max())


def warm_up(photo: Photo, all_ready: Barrier) -> None:
    """Load what is compiled, and wait for the other processes."""
    label(photo)
    all_ready.wait()


def photos_a_second(photos: list[Photo], num_processes: int) -> float:
    """Rate of processes that have all done a photo before."""
    context = multiprocessing.get_context("spawn")
    all_ready = context.Barrier(num_processes + 1)
    with context.Pool(num_processes, warm_up, (photos[0], all_ready)) as pool:
        all_ready.wait()
        start = time.perf_counter()
        pool.map(label, photos, chunksize=1)
        return len(photos) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    photos = read_photos(arguments.folder, arguments.photos)
    sizes = ", ".join(sorted({f"{photo.shape[1]}x{photo.shape[0]}" for photo in photos}))
    print(f"{len(photos)} photos of {sizes}")
    ours(photos[0], unary_from_maps(drawn_maps(photos[0], 1), np.zeros(photos[0].shape[:2], np.float32)), "cams")
    for preset in PRESETS:
        for num_labels in NUM_LABELS:
            compare(photos, preset, num_labels, arguments.rounds)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for num_processes in (1, 2, 2, 1):
        rates[num_processes].append(photos_a_second(5 * photos, num_processes))
    one, two = (max(rate) for rate in rates.values())
    print(f"IRN's labels: {one:.1f} photos per second on 1 process, {two:.1f} on 2: {two / one:.2f} times as many")


if __name__ == "__main__":
    main()
