"""Which stages a recipe asks for, what each is made from, and which of them a run folder already holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tag2mask.config import DataSettings, Method, Recipe
from tag2mask.data.records import DataSet, Record
from tag2mask.manifest import FILE_NAME, Manifest, digest, digest_file, digest_records, flatten, read_manifest, why_redo

Kind = Literal["baseline", "reconstructor", "pretrained", "acr", "cams", "scores"]
TRAININGS: tuple[Kind, ...] = ("baseline", "reconstructor", "pretrained", "acr")


@dataclass(frozen=True)
class Stage:
    """One folder of a run and what decides its content."""

    kind: Kind
    """What is done."""
    method: Method | None
    """Whose CAMs or scores these are; None for a training."""
    folder: str
    """Below the run folder."""
    manifest: Manifest
    """As it should be, unfinished."""
    before: tuple["Stage", ...]
    """Stages whose results it reads."""
    foreign: bool = False
    """Whether the folder holds somebody else's maps, which are taken as they are."""


class StageState(NamedTuple):
    """A stage of a run folder."""

    stage: Stage
    state: Literal["up to date", "unfinished", "to do"]
    reason: str
    """Why it is to do, or what is remarkable; mostly empty where it is done."""


class Photos(NamedTuple):
    """Photos of a run."""

    train: Sequence[Record]
    """All that train the classifier."""
    seed: Sequence[Record]
    """Those whose seeds are made."""
    class_names: tuple[str, ...]
    """Foreground classes in the order of their ids."""

    @property
    def tagged(self) -> list[Record]:
        """Training photos that have a tag: those that adversarial learning can use."""
        return [record for record in self.train if record.tags]

    @property
    def masked(self) -> list[Record]:
        """Seed photos that have a true label map."""
        return [record for record in self.seed if record.label_map]


def photos_of(data_set: DataSet, settings: DataSettings) -> Photos:
    """The photos that the settings' two splits name."""
    return Photos(data_set.split(settings.train_split), data_set.split(settings.seed_split), data_set.class_names)


def plan(recipe: Recipe, photos: Photos, run: Path) -> list[Stage]:
    """The stages of `recipe` in the order in which they are done.

    Args:
        recipe: settings.
        photos: of the run.
        run: maps that somebody else put into its `2-cams` need no training and are only measured.

    Raises:
        ValueError: settings contradict each other.
    """
    foreign = {method for method in recipe.methods if _is_foreign(run / "2-cams" / method)}
    ours = replace(recipe, methods=tuple(method for method in recipe.methods if method not in foreign))
    if set(ours.methods) & {"pretrained", "acr"}:
        _check(ours)
    stages = _trainings(ours, photos)
    by_kind = {stage.kind: stage for stage in stages}
    for method in recipe.methods:
        folder = f"2-cams/{method}"
        if method in foreign:
            files = sorted((run / folder).rglob("*.npz"))
            manifest = Manifest({}, {"files": digest([(path.name, digest_file(path)) for path in files])})
            cams = Stage("cams", method, folder, manifest, (), foreign=True)
        else:
            cams = _stage("cams", method, folder, _cam_settings(recipe), photos.seed, (by_kind[method],))
        stages.append(cams)
        if photos.masked:
            scores = _stage("scores", method, f"scores/seed-{method}", {}, photos.masked, (cams,))
            label_maps = [digest_file(record.label_map) for record in photos.masked if record.label_map]
            scores.manifest.inputs["label maps"] = digest(label_maps)
            stages.append(scores)
    return stages


def state_of(stage: Stage, run: Path) -> StageState:
    """Whether the run folder holds the stage, and if not why."""
    if stage.foreign:
        return StageState(stage, "up to date", "somebody else's, taken as they are")
    found = read_manifest(run / stage.folder)
    reason = why_redo(stage.manifest, found)
    if reason is not None:
        return StageState(stage, "to do", reason)
    assert found is not None
    return StageState(stage, "up to date" if found.finished else "unfinished", "")


def seconds_with_all_before(stage: Stage, run: Path) -> float:
    """Time that the stage took, with all that it builds on."""
    found = {part.folder: read_manifest(run / part.folder) for part in _with_all_before(stage)}
    return sum(manifest.seconds for manifest in found.values() if manifest)


def _is_foreign(folder: Path) -> bool:
    """Whether maps lie there that no manifest tells the origin of."""
    return not (folder / FILE_NAME).exists() and any(folder.rglob("*.npz"))


def _check(recipe: Recipe) -> None:
    """Refuse settings that contradict each other."""
    acr = recipe.acr
    if "pretrained" in recipe.methods and not acr.reconstructor_epochs:
        raise ValueError("methods has pretrained, but acr.reconstructor_epochs is 0: no reconstructor is trained")
    if acr.reconstructor.classify != (acr.reconstructor_loss.classification > 0):
        raise ValueError(
            f"acr.reconstructor.classify is {acr.reconstructor.classify}, but acr.reconstructor_loss.classification is "
            f"{acr.reconstructor_loss.classification}: a head needs a weight, and a weight a head"
        )
    for name in ("reconstructor_loss", "classifier_loss"):
        weights = [value for value in vars(getattr(acr, name)).values() if isinstance(value, float)]
        if not any(weights):
            raise ValueError(f"acr.{name}: every weight is 0, so nothing is learned")


def _trainings(recipe: Recipe, photos: Photos) -> list[Stage]:
    methods, acr = set(recipe.methods), recipe.acr
    adversarial = bool(methods & {"pretrained", "acr"})
    alone = adversarial and acr.reconstructor_epochs > 0
    stages: list[Stage] = []
    baseline: tuple[Stage, ...] = ()
    reconstructor: tuple[Stage, ...] = ()
    if "baseline" in methods or alone or (adversarial and acr.warm_start):
        baseline = (_training("baseline", _baseline_settings(recipe), photos, ()),)
        stages += baseline
    if alone:
        settings = _baseline_settings(recipe) | _reconstructor_settings(recipe)
        reconstructor = (_training("reconstructor", settings, photos, baseline),)
        stages += reconstructor
    begins_as = baseline if acr.warm_start else ()
    for method in recipe.methods:
        if method != "baseline":
            settings = _network_settings(recipe) | flatten(acr, "acr")
            stages.append(_training(method, settings, photos, (*begins_as, *reconstructor)))
    return stages


def _training(kind: Kind, settings: dict[str, Any], photos: Photos, before: tuple[Stage, ...]) -> Stage:
    # The baseline alone can learn from photos without tags.
    records = photos.train if kind == "baseline" else photos.tagged
    stage = _stage(kind, None, f"1-classifier/{kind}", settings, records, before)
    stage.manifest.inputs["classes"] = digest(photos.class_names)
    weights = Path(settings["classifier.weights"])
    if weights.is_file():
        stage.manifest.inputs["weights"] = digest_file(weights)
    return stage


def _stage(
    kind: Kind, method: Method | None, folder: str, settings: dict[str, Any], records: Sequence[Record],
    before: tuple[Stage, ...],
) -> Stage:  # fmt: skip
    inputs = {"photos": digest_records(records)} | {stage.folder: stage.manifest.digest for stage in before}
    return Stage(kind, method, folder, Manifest(settings, inputs), before)


def _with_all_before(stage: Stage) -> list[Stage]:
    return [stage, *(part for direct in stage.before for part in _with_all_before(direct))]


def _network_settings(recipe: Recipe) -> dict[str, Any]:
    """What every training depends on: augmentation, networks, seed and arithmetic."""
    chosen = {"resize", "resize_range", "crop"}
    data = {name: value for name, value in flatten(recipe.data, "data").items() if name.split(".")[1] in chosen}
    network = {"backbone", "weights", "output_stride", "head"}
    classifier = flatten(recipe.classifier, "classifier")
    classifier = {name: value for name, value in classifier.items() if name.split(".")[1] in network}
    return data | classifier | {"engine.seed": recipe.engine.seed, "engine.precision": recipe.engine.precision}


def _baseline_settings(recipe: Recipe) -> dict[str, Any]:
    return _network_settings(recipe) | flatten(recipe.classifier, "classifier")


def _reconstructor_settings(recipe: Recipe) -> dict[str, Any]:
    left_out = {"epochs", "decay_epochs", "warm_start", "classifier_loss", "classifier_optimizer"}
    settings = flatten(recipe.acr, "acr")
    return {name: value for name, value in settings.items() if name.split(".")[1] not in left_out}


def _cam_settings(recipe: Recipe) -> dict[str, Any]:
    settings = flatten(recipe.cams, "cams") | {"engine.precision": recipe.engine.precision}
    del settings["cams.threshold"]
    return settings
