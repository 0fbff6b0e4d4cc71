"""Which settings of a recipe decide what a stage gives, by their dotted names: when one changes, it is done again."""

from collections.abc import Sequence
from typing import Any

from tag2mask.config import PREDICTION_SETTINGS, ClassifierSection, Recipe
from tag2mask.dotted_names import flatten
from tag2mask.runs.stages import Kind, cam_settings_of, section_of

Settings = dict[str, Any]

RATE_FACTOR = "acr.reconstructor_rate_factor"
"""Setting that only matters where the reconstructor learns together with the classifier."""

_CNN = ("backbone", "weights", "output_stride", "head")
_TRANSFORMER = ("backbone", "weights", "drop_path", "fused_blocks")
_RELATIONS_NETWORK = (
    "backbone", "weights", "output_stride", "resize_range", "crop", "epochs", "batch_size", "radius", "optimizer",
)  # fmt: skip


def plain_training(recipe: Recipe, section: ClassifierSection) -> Settings:
    """Settings that decide the plain training, on tags alone, of a section's network."""
    match section:
        case "classifier":
            return _networks(recipe, section) | flatten(recipe.classifier, "classifier")
        case "mctformer":
            resizing = ("resize", "resize_range") if recipe.mctformer.augmentation == "flip" else ()
            settings = _chosen(recipe.data, "data", resizing) | flatten(recipe.mctformer, "mctformer")
            # These matter to the maps alone: the tags are learned without them.
            for name in ("fused_blocks", "patch_affinity", "scales", "long_side"):
                del settings[f"mctformer.{name}"]
            return settings | _engine(recipe)


def reconstructor_training(recipe: Recipe) -> Settings:
    """Settings that decide the training of a reconstructor alone."""
    left_out = {
        "epochs", "decay_epochs", "warm_start", "reconstructor_rate_factor", "classifier_loss", "classifier_optimizer",
    }  # fmt: skip
    own = {name: value for name, value in flatten(recipe.acr, "acr").items() if name.split(".")[1] not in left_out}
    return _networks(recipe, recipe.acr.classifier) | own


def adversarial_training(recipe: Recipe) -> Settings:
    """Settings that decide the training of a classifier and a reconstructor against each other."""
    return _networks(recipe, recipe.acr.classifier) | flatten(recipe.acr, "acr")


def pretrained_training(recipe: Recipe) -> Settings:
    """Settings that decide the training of a classifier against a reconstructor that no longer learns."""
    settings = adversarial_training(recipe)
    del settings[RATE_FACTOR]
    return settings


def cams(recipe: Recipe, trained: Kind) -> Settings:
    """Settings that decide the CAMs of the classifier that comes from a kind of training."""
    settings = flatten(cam_settings_of(trained, recipe), "cams") | _inference(recipe)
    for name in ("threshold", "batch_pixels"):
        del settings[f"cams.{name}"]
    if recipe.cams.classes == "tags":
        del settings["cams.predicted_score"]
    if section_of(trained, recipe) == "mctformer":
        settings |= _chosen(recipe.mctformer, "mctformer", ("fused_blocks", "patch_affinity"))
    return settings


def spread_cams(recipe: Recipe) -> Settings:
    """Settings that decide maps that are spread along the attention of a transformer."""
    return _chosen(recipe.mctformer, "mctformer", ("long_side",)) | _inference(recipe)


def crf(recipe: Recipe) -> Settings:
    """Settings that decide the seeds' label maps after the CRF."""
    settings = flatten(recipe.crf, "crf")
    del settings["crf.enabled"]
    match recipe.crf.background:
        case "constant":
            del settings["crf.alpha"]
            settings["cams.threshold"] = recipe.cams.threshold
        case "power":
            pass
    return settings


def relations(recipe: Recipe) -> Settings:
    """Settings that decide the labels of confident pixels, from which relations are learned."""
    match recipe.refinement.method:
        case "irn":
            return _refinement(recipe, "foreground", "uncertain")
        case _:
            return _refinement(recipe, "low_alpha", "high_alpha")


def relations_training(recipe: Recipe) -> Settings:
    """Settings that decide the training of the network that learns relations from these labels."""
    return _refinement(recipe, *_RELATIONS_NETWORK) | _engine(recipe)


def walk(recipe: Recipe) -> Settings:
    """Settings that decide the random walk of the maps along these relations."""
    settings = _refinement(recipe, "power", "walk_radius", "beta", "log_steps") | _inference(recipe)
    if recipe.refinement.power == 1:
        # It changes nothing then. Kept, it would redo the walks of runs from before it was a setting.
        del settings["refinement.power"]
    return settings


def labels(recipe: Recipe) -> Settings:
    """Settings that decide pseudo-labels that are made of maps."""
    settings = flatten(recipe.labels, "labels")
    if recipe.labels.threshold_source == "estimated":
        del settings["labels.threshold"]
    return settings


def segmenter_training(recipe: Recipe) -> Settings:
    """Settings that decide the training of a segmenter."""
    settings = flatten(recipe.segmenter, "segmenter")
    # These decide whether it is trained at all, and its predictions.
    for name in ("supervision", "scales", "fuse", "crf"):
        del settings[f"segmenter.{name}"]
    return settings | _engine(recipe)


def predictions(recipe: Recipe) -> Settings:
    """Settings that decide the predictions of a trained segmenter."""
    return _chosen(recipe.segmenter, "segmenter", PREDICTION_SETTINGS) | _inference(recipe)


def _networks(recipe: Recipe, section: ClassifierSection) -> Settings:
    """Settings of all trainings but a transformer's plain one: augmentation, networks, seed and arithmetic."""
    settings = _chosen(recipe.data, "data", ("resize", "resize_range", "crop")) | _engine(recipe)
    settings |= _chosen(recipe.classifier, "classifier", _CNN)
    if section == "mctformer":
        settings |= _chosen(recipe.mctformer, "mctformer", _TRANSFORMER)
    return settings


def _refinement(recipe: Recipe, *names: str) -> Settings:
    return _chosen(recipe.refinement, "refinement", ("method", "long_side", *names))


def _engine(recipe: Recipe) -> Settings:
    return _chosen(recipe.engine, "engine", ("seed", "precision", "compile"))


def _inference(recipe: Recipe) -> Settings:
    return {"engine.inference_precision": recipe.engine.inference_precision or recipe.engine.precision}


def _chosen(settings: Any, section: str, names: Sequence[str]) -> Settings:
    """Some fields of a section, with all that lies below them."""
    flat = flatten(settings, section)
    return {name: value for name, value in flat.items() if name.split(".")[1] in names}
