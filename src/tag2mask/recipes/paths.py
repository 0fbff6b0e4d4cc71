"""Which settings of a recipe are paths: they are kept so that a run can be looked at and gone on with from anywhere."""

from dataclasses import replace
from pathlib import Path

from tag2mask.config import Recipe

_NAMES_OF_WEIGHTS = ("none", "embedded", "timm")


def weights_file(weights: str) -> Path | None:
    """The file that a setting of pretrained weights means, whether it is there or not; None for the other choices."""
    return None if weights in _NAMES_OF_WEIGHTS else Path(weights)


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with every path from the root of the disk, as it is understood in the folder of this process.

    A split is a path where a file of here is meant; names of splits stay, and lists in the folder of the photos.
    """
    data = recipe.data
    return replace(
        recipe,
        data=replace(
            data,
            root=data.root.absolute() if data.root else None,
            train_split=_absolute_list(data.train_split),
            seed_split=_absolute_list(data.seed_split),
            label_split=_absolute_list(data.label_split) if data.label_split else None,
            val_split=_absolute_list(data.val_split) if data.val_split else None,
        ),
        classifier=replace(recipe.classifier, weights=_absolute_weights(recipe.classifier.weights)),
        mctformer=replace(recipe.mctformer, weights=_absolute_weights(recipe.mctformer.weights)),
        refinement=replace(recipe.refinement, weights=_absolute_weights(recipe.refinement.weights)),
        segmenter=replace(recipe.segmenter, weights=_absolute_weights(recipe.segmenter.weights)),
    )


def _absolute_weights(weights: str) -> str:
    file = weights_file(weights)
    return str(file.absolute()) if file else weights


def _absolute_list(split: str) -> str:
    path = Path(split)
    # A split called train is none of a file called train that happens to be here.
    is_path = len(path.parts) > 1 or path.suffix
    return str(path.absolute()) if is_path and path.is_file() else split
