"""The augmentation with which DeiT, and MCTformer after it, train vision transformers; timm does it.

Touvron et al., "Training data-efficient image transformers & distillation through attention", 2021, arXiv:2012.12877.
"""

# ruff: noqa: NPY002 - numpy's global state is timm's to draw from, and ours to put back.

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor

from tag2mask.data.transforms import Normalisation

# Two of RandAugment's operations at magnitude 9 of 10, drawn with deviation 0.5; DeiT's code.
_RAND_AUGMENT = "rand-m9-mstd0.5-inc1"
# Share of the photos of which a rectangle is replaced by noise; DeiT's code.
_ERASING = 0.25


class DeitAugmentation:
    """A random part of a photo, resized, mirrored half of the time, changed by RandAugment and erased in places.

    DeiT also names a colour jitter of 0.4, which timm leaves out beside RandAugment.

    Args:
        side: of the square that a photo becomes, in pixels.
        normalisation: what comes last.
    """

    def __init__(self, side: int, normalisation: Normalisation) -> None:
        self._transform = create_transform(
            side, is_training=True, interpolation="bicubic", auto_augment=_RAND_AUGMENT,
            mean=normalisation.mean, std=normalisation.std, re_prob=_ERASING, re_mode="pixel",
        )  # fmt: skip

    def __call__(self, photo: Image.Image, generator: np.random.Generator) -> Tensor:
        """The photo as (3, side, side), normalised: a function of the generator's state alone."""
        with _drawing_from(generator):
            image: Tensor = self._transform(photo)
        return image


@contextmanager
def _drawing_from(generator: np.random.Generator) -> Iterator[None]:
    """Let Python, numpy and torch draw what `generator` decides, and afterwards go on as if nothing had been drawn.

    timm's transforms draw from the global state of all three.
    """
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = generator.integers(2**32, size=3).tolist()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    # Not torch.manual_seed, which seeds accelerators too.
    torch.default_generator.manual_seed(seeds[2])
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
