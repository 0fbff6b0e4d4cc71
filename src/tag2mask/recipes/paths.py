"""Which settings of a recipe are paths: they are kept so that a run can be looked at and gone on with from anywhere."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tag2mask.config import ClassifierSettings, MctformerSettings, Recipe, RefinementSettings, SegmenterSettings
from tag2mask.data.lists import list_of_here

WithWeights = ClassifierSettings | MctformerSettings | RefinementSettings | SegmenterSettings
"""Sections of a recipe whose network may begin with pretrained weights."""
_NAMES_OF_WEIGHTS = ("none", "embedded", "timm")


def from_home(path: str) -> str:
    """A path whose `~` is the user's folder: no shell sees one that stands in a YAML file, or behind `=`."""
    # Not Path.expanduser, which fails where there is no such user.
    return os.path.expanduser(path)  # noqa: PTH111


def weights_file(weights: str) -> Path | None:
    """The file that a setting of pretrained weights means, whether it is there or not; None for the other choices."""
    return None if weights in _NAMES_OF_WEIGHTS else Path(weights)


def with_weights(recipe: Recipe, weights_of: Callable[[WithWeights], str]) -> Recipe:
    """The recipe, every network of it with the pretrained weights that its section is given."""
    return replace(
        recipe,
        classifier=replace(recipe.classifier, weights=weights_of(recipe.classifier)),
        mctformer=replace(recipe.mctformer, weights=weights_of(recipe.mctformer)),
        refinement=replace(recipe.refinement, weights=weights_of(recipe.refinement)),
        segmenter=replace(recipe.segmenter, weights=weights_of(recipe.segmenter)),
    )


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with every path from the root of the disk, as it is understood in the folder of this process.

    A split is a path where a file of here is meant; names of splits stay, and lists in the folder of the photos.
    """
    data = recipe.data
    return replace(
        with_weights(recipe, _absolute_weights),
        data=replace(
            data,
            root=data.root.absolute() if data.root else None,
            train_split=_absolute_list(data.train_split),
            seed_split=_absolute_list(data.seed_split),
            label_split=_absolute_list(data.label_split) if data.label_split else None,
            val_split=_absolute_list(data.val_split) if data.val_split else None,
        ),
    )


def _absolute_weights(network: WithWeights) -> str:
    file = weights_file(network.weights)
    return str(file.absolute()) if file else network.weights


def _absolute_list(split: str) -> str:
    path = list_of_here(split)
    return str(path.absolute()) if path else split
