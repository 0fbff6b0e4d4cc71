"""Settings that cannot work or contradict each other, refused before anything is planned, and what has no effect."""

from dataclasses import asdict

from tag2mask.config import LabelSettings, OptimizerSettings, Recipe, ReconstructorSettings
from tag2mask.evaluation.thresholds import NUM_STEPS
from tag2mask.runs.stages import Kind, Photos, section_of

_ROUNDING = 1e-6


def check_thresholds(recipe: Recipe) -> None:
    """Refuse a threshold between the measured ones, and one with only unlabelled (255) pixels on one of its sides."""
    for name, threshold in (("cams", recipe.cams.threshold), ("labels", recipe.labels.threshold)):
        if abs(threshold * NUM_STEPS - round(threshold * NUM_STEPS)) > _ROUNDING:
            raise ValueError(f"{name}.threshold is {threshold}, expected a multiple of {1 / NUM_STEPS}")
    uncertain, threshold = recipe.labels.uncertain, recipe.labels.threshold
    most = most_uncertain(threshold)
    if uncertain > most and recipe.labels.threshold_source == "fixed" and not _are_made_by_crf(recipe):
        sure = "background" if threshold < 1 - threshold else "of a class"
        raise ValueError(
            f"labels.uncertain is {uncertain}, but labels.threshold is {threshold}: no pixel of a map would be {sure} "
            f"for sure, expected labels.uncertain of at most {most:.2g}"
        )


def most_uncertain(threshold: float) -> float:
    """Limit of `labels.uncertain`: the distance from the threshold to the nearer end of the maps' range.

    Args:
        threshold: one of 0, 0.01, ... 1, fixed or estimated.
    """
    return round(min(threshold, 1 - threshold), 6)


def check_spreading(recipe: Recipe) -> None:
    """Refuse to spread seeds that are not made, or to spread them twice."""
    if "acr" not in recipe.methods:
        raise ValueError("methods has acr_vit, which spreads the seeds of acr, but not acr: add it")
    if recipe.acr.classifier == "mctformer" and recipe.mctformer.patch_affinity:
        raise ValueError(
            "methods has acr_vit, but with acr.classifier mctformer the seeds of acr are spread already: leave out "
            "acr_vit, or set mctformer.patch_affinity to false"
        )


def check_acr(recipe: Recipe) -> None:
    """Refuse settings of the adversarial training that contradict each other."""
    acr = recipe.acr
    if "pretrained" in recipe.methods and not acr.reconstructor_epochs:
        raise ValueError("methods has pretrained, but acr.reconstructor_epochs is 0: no reconstructor is trained")
    if acr.reconstructor.classify != (acr.reconstructor_loss.classification > 0):
        raise ValueError(
            f"acr.reconstructor.classify is {acr.reconstructor.classify}, but acr.reconstructor_loss.classification is "
            f"{acr.reconstructor_loss.classification}: a head needs a weight, and a weight a head"
        )
    restored = acr.reconstructor_loss
    if not (restored.target or restored.non_target):
        raise ValueError(
            "acr.reconstructor_loss: target and non_target are 0, so that no segment is restored, which is what the "
            "classifier learns against: give one of them a weight"
        )
    adversarial = acr.classifier_loss
    if not (adversarial.classification or adversarial.target or adversarial.non_target):
        raise ValueError("acr.classifier_loss: every weight is 0, so nothing is learned")
    check_side(acr.reconstructor, recipe.data.crop)


def check_side(settings: ReconstructorSettings, crop: int) -> None:
    """Refuse a U-Net that does not fit the side at which photos are restored."""
    side = settings.image_side or crop
    step = 2**settings.depth
    if side % step:
        name = "reconstructor.image_side" if settings.image_side else "data.crop"
        fitting = max(depth for depth in range(settings.depth) if side % 2**depth == 0)
        raise ValueError(
            f"{name} is {side}, but a reconstructor of depth {settings.depth} needs a multiple of {step}: "
            f"take {max(1, round(side / step)) * step}" + (f", or reconstructor.depth {fitting}" if fitting else "")
        )


def check_warmup(recipe: Recipe, kind: Kind) -> None:
    """Refuse learning rates that still rise when the training of this kind of stage ends."""
    for name, (optimizer, num_epochs) in _optimizers(recipe, kind).items():
        rising = optimizer.warmup_epochs
        if rising >= num_epochs:
            raise ValueError(
                f"{name}.warmup_epochs is {rising}, but the training has {num_epochs} epoch{'s' * (num_epochs != 1)}: "
                f"lower {name}.warmup_epochs below {num_epochs}"
            )


def unread_label_settings(recipe: Recipe) -> str:
    """Message saying which changed settings of labels are not read; empty if all are."""
    usual = asdict(LabelSettings())
    changed = [name for name, value in asdict(recipe.labels).items() if value != usual[name]]
    if _are_made_by_crf(recipe):
        names, why = changed, "as labels are what the CRF makes without a refinement"
    elif recipe.labels.threshold_source == "estimated":
        names = ["threshold"] if "threshold" in changed else []
        why = "as labels.threshold_source is estimated: set that to fixed to have labels made with it"
    else:
        return ""
    return f"{', '.join(f'labels.{name}' for name in names)}: not read, {why}" if names else ""


def why_without_twin(recipe: Recipe, photos: Photos) -> str:
    """Message saying why there is no fully supervised segmenter beside the one of pseudo-labels; empty if there is one.

    It serves as a comparison, which needs the same photos. Where it is the only segmenter, those with masks will do.
    """
    num_masked = sum(record.label_map is not None for record in photos.label)
    is_compared = "pseudo_labels" in recipe.segmenter.supervision
    if "masks" not in recipe.segmenter.supervision or not num_masked:
        return ""
    if not is_compared or num_masked == len(photos.label):
        return ""
    split = recipe.data.label_split or recipe.data.train_split
    return (
        f"{num_masked:,} of {len(photos.label):,} photos of {split} have a mask, too few to compare with a segmenter "
        "that learns from all of them"
    )


def _are_made_by_crf(recipe: Recipe) -> bool:
    """Whether the labels are what the CRF makes of the seeds, without a threshold."""
    return recipe.refinement.method == "none" and recipe.crf.enabled


def _optimizers(recipe: Recipe, kind: Kind) -> dict[str, tuple[OptimizerSettings, int]]:
    """Optimiser settings and number of epochs of each network of a training, by the settings' dotted name."""
    acr = recipe.acr
    epochs = acr.decay_epochs or acr.epochs
    match kind:
        case "baseline" | "mctformer":
            section = section_of(kind, recipe)
            plain = recipe.plain_training(section)
            return {f"{section}.optimizer": (plain.optimizer, plain.epochs)}
        case "reconstructor":
            return {"acr.reconstructor_optimizer": (acr.reconstructor_optimizer, acr.reconstructor_epochs)}
        case "pretrained":
            return {"acr.classifier_optimizer": (acr.classifier_optimizer, epochs)}
        case "acr":
            return {
                "acr.classifier_optimizer": (acr.classifier_optimizer, epochs),
                "acr.reconstructor_optimizer": (acr.reconstructor_optimizer, epochs),
            }
        case "network":
            return {"refinement.optimizer": (recipe.refinement.optimizer, recipe.refinement.epochs)}
        case "segmenter":
            return {"segmenter.optimizer": (recipe.segmenter.optimizer, recipe.segmenter.epochs)}
    return {}
