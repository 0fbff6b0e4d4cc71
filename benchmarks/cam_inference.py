"""Time of multi-scale CAM inference: photos of one size in batches, against one photo, scale and mirror at a time.

    python benchmarks/cam_inference.py --recipe animals_lite0 --photos 8

Both see the same drawn photos and take turns; the largest difference between their maps is printed. The batches obey
`--engine.inference_precision bf16-mixed`; one at a time stays in float32.
"""

import argparse
import time
from contextlib import nullcontext

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tag2mask.cams.multiscale import batches_of_one_size, inference_sizes, multiscale_cams, raw_maps, scaled_pixels
from tag2mask.config import CamSettings
from tag2mask.data.transforms import normalise
from tag2mask.engine import inference_arithmetic, launch
from tag2mask.networks.classifier import PhotoClassifier, build_classifier
from tag2mask.recipes import load_recipe

NUM_CLASSES = 6
SIZE = (384, 288)
CLASSES = [0, 3]


@torch.inference_mode()
def one_by_one(classifier: PhotoClassifier, photos: list[Image.Image], settings: CamSettings) -> list[Tensor]:
    """Maps of every photo, each forward pass with one image."""
    device = next(classifier.parameters()).device
    fused = []
    for photo in photos:
        maps = []
        for size in inference_sizes(photo.size, settings):
            resized = photo.resize(size, Image.Resampling.BICUBIC)
            image = normalise(resized, classifier.backbone.normalisation)[None].to(device)
            maps.append(torch.stack([classifier(image).cams, classifier(image.flip(3)).cams])[:, 0, CLASSES])
        fused.append(multiscale_cams(maps, photo.height, photo.width).cpu())
    return fused


@torch.inference_mode()
def batched(classifier: PhotoClassifier, photos: list[Image.Image], settings: CamSettings) -> list[Tensor]:
    """Maps of every photo, as many photos and their mirror images in a forward pass as `batch_pixels` allows."""
    fused = []
    for indices in batches_of_one_size([photo.size for photo in photos], settings):
        batch = [photos[index] for index in indices]
        outputs = raw_maps(classifier, scaled_pixels(batch, settings))
        fused += [
            multiscale_cams([scale.maps[:, place, CLASSES] for scale in outputs], photo.height, photo.width).cpu()
            for place, photo in enumerate(batch)
        ]
    return fused


def draw_photos(count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Smooth noise in colours."""
    generator = np.random.default_rng(0)
    small = [Image.fromarray(generator.integers(256, size=(18, 24, 3), dtype=np.uint8)) for _ in range(count)]
    return [photo.resize(size, Image.Resampling.BICUBIC) for photo in small]


def main() -> None:
    """Print photos per second of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="animals_lite0")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments, flags = parser.parse_known_args()
    recipe = load_recipe(arguments.recipe, flags)
    torch.manual_seed(0)
    classifier = build_classifier(recipe.classifier, NUM_CLASSES).eval().to(memory_format=torch.channels_last)
    fabric = launch(recipe.engine)
    fabric.to_device(classifier)
    photos = draw_photos(arguments.photos, SIZE)
    arithmetic = {one_by_one: nullcontext(), batched: inference_arithmetic(fabric, recipe.engine)}
    seconds = dict.fromkeys(arithmetic, 0.0)
    for timed in range(arguments.rounds + 1):
        results = {}
        for way in seconds:
            start = time.perf_counter()
            with arithmetic[way]:
                results[way] = way(classifier, photos, recipe.cams)
            seconds[way] += (time.perf_counter() - start) * bool(timed)
    worst = max(float((a - b).abs().max()) for a, b in zip(results[one_by_one], results[batched], strict=True))
    rates = {way.__name__: arguments.rounds * len(photos) / seconds[way] for way in seconds}
    ratio = seconds[one_by_one] / seconds[batched]
    print(f"recipe {arguments.recipe}, {len(photos)} photos of {SIZE[0]}x{SIZE[1]}, {torch.get_num_threads()} threads")
    print(
        ", ".join(f"{name} {rate:.2f} photos per second" for name, rate in rates.items())
        + f": {ratio:.2f} times as fast"
    )
    print(f"largest difference between maps: {worst:.1e}")


if __name__ == "__main__":
    main()
