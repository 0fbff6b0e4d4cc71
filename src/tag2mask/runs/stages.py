"""What a stage of a run is, and whether a run folder already holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from tag2mask.config import CamSettings, ClassifierSection, DataSettings, Level, Method, Recipe
from tag2mask.data.faults import DataError
from tag2mask.data.records import DataSet, Record
from tag2mask.runs.manifest import Manifest, read_manifest, why_redo

Kind = Literal[
    "baseline", "mctformer", "reconstructor", "pretrained", "acr", "cams", "crf", "relations", "network", "maps",
    "labels", "segmenter", "predictions", "scores",
]  # fmt: skip
PLAIN_TRAININGS: dict[ClassifierSection, Kind] = {"classifier": "baseline", "mctformer": "mctformer"}
"""Plain training of each network, by the recipe's section that describes it."""
ADVERSARIAL_TRAININGS: tuple[Kind, ...] = ("pretrained", "acr")
CLASSIFIERS: tuple[Kind, ...] = (*PLAIN_TRAININGS.values(), "reconstructor", *ADVERSARIAL_TRAININGS)
TRAININGS: tuple[Kind, ...] = (*CLASSIFIERS, "network", "segmenter")
REFINEMENTS: tuple[Kind, ...] = ("crf", "relations", "network", "maps")
PHOTO_BY_PHOTO: tuple[Kind, ...] = ("cams", "crf", "relations", "maps", "labels")
"""Stages with one file per photo, which does not depend on the other photos and is kept when these change."""

FOLDERS: dict[Kind, str] = {
    **{kind: f"1-classifier/{kind}" for kind in CLASSIFIERS},
    "cams": "2-cams/{method}",
    "crf": "3-refined/{method}/crf",
    "relations": "3-refined/{method}/relations",
    "network": "3-refined/{method}/network",
    "maps": "3-refined/{method}/maps",
    "labels": "4-pseudo-labels/{method}",
    "segmenter": "5-segmenter/{method}",
    "predictions": "6-predictions/{method}",
    "scores": "scores/{level}-{method}",
}
"""Folders of the stages, below the run folder."""


@dataclass(frozen=True)
class Stage:
    """One folder of a run and what decides its content."""

    kind: Kind
    """What kind of work it does."""
    method: str
    """The method whose seeds it makes or builds on; `TWIN` for the fully supervised segmenter; empty for the training
    of a classifier."""
    folder: str
    """Path below the run folder."""
    records: Sequence[Record]
    """Photos it works on."""
    manifest: Manifest
    """The manifest that its folder should have, unfinished."""
    before: tuple["Stage", ...]
    """Stages whose results it reads; the properties below say what each is for."""
    foreign: bool = False
    """Whether the folder holds somebody else's files, which are taken as they are."""
    level: Level | None = None
    """What is measured, if the stage is a measurement."""

    @property
    def source(self) -> "Stage":
        """The stage whose files it works on."""
        return self.before[0]

    @property
    def training(self) -> "Stage":
        """For maps: the training whose network makes them."""
        return self.before[-1]

    @property
    def seeds(self) -> "Stage":
        """For pseudo-labels: the maps that tell how much is foreground, where that is estimated."""
        return self.before[-1]


class StageState(NamedTuple):
    """Whether a run folder holds a stage, and why not."""

    stage: Stage
    state: Literal["up to date", "unfinished", "to do"]
    reason: str
    """Why it is to do, or what is remarkable; mostly empty where it is done."""


class Photos(NamedTuple):
    """Photos of a run by what they are used for, and the names of the classes."""

    train: Sequence[Record]
    """All that train the classifier."""
    seed: Sequence[Record]
    """Those whose seeds are made and measured."""
    label: Sequence[Record]
    """Those that are given pseudo-labels, which train the segmenter."""
    val: Sequence[Record]
    """Those that the segmenter predicts."""
    class_names: tuple[str, ...]
    """Foreground classes in the order of their ids."""

    @property
    def tagged(self) -> list[Record]:
        """Training photos that have a tag: those that adversarial learning can use."""
        return [record for record in self.train if record.tags]

    @property
    def mapped(self) -> list[Record]:
        """Photos to be labelled or measured, each once."""
        return list({record.name: record for record in (*self.seed, *self.label)}.values())


def section_of(kind: str, recipe: Recipe) -> ClassifierSection:
    """Section of the recipe that describes the classifier that comes from a kind of training."""
    if kind in ADVERSARIAL_TRAININGS:
        return recipe.acr.classifier
    return "mctformer" if kind == "mctformer" else "classifier"


def cam_settings_of(kind: str, recipe: Recipe) -> CamSettings:
    """Settings of the CAMs of the classifier that comes from a kind of training: a transformer has its own scales."""
    match section_of(kind, recipe):
        case "classifier":
            return recipe.cams
        case "mctformer":
            return replace(recipe.cams, scales=recipe.mctformer.scales)


def refined_methods(recipe: Recipe) -> Sequence[Method]:
    """Methods whose seeds are made into labels: the last method where the recipe does not say.

    Raises:
        ValueError: the seeds of one of them are not made.
    """
    if recipe.refined_methods is None:
        return recipe.methods[-1:]
    unknown = [method for method in recipe.refined_methods if method not in recipe.methods]
    if unknown:
        raise ValueError(
            f"refined_methods has {', '.join(unknown)}, but methods only {', '.join(recipe.methods) or 'none'}: "
            "only seeds that are made can be refined"
        )
    return recipe.refined_methods


def photos_of(data_set: DataSet, settings: DataSettings) -> Photos:
    """The photos that the settings' splits name."""
    train = _split(data_set, settings, "train_split")
    return Photos(
        train=train,
        seed=_split(data_set, settings, "seed_split"),
        label=_split(data_set, settings, "label_split") if settings.label_split else train,
        val=_split(data_set, settings, "val_split") if settings.val_split else (),
        class_names=data_set.class_names,
    )


def _split(data_set: DataSet, settings: DataSettings, name: str) -> Sequence[Record]:
    """Records of the split that a setting names; the setting is named in the error if there is no such split."""
    try:
        return data_set.split(getattr(settings, name))
    except DataError as error:
        if error.faults[0].code != "unknown-split":
            raise
        raise DataError([replace(error.faults[0], file=f"data.{name}")]) from error


def state_of(stage: Stage, run: Path) -> StageState:
    """Whether the run folder holds the stage and, if not, why."""
    if stage.foreign:
        return StageState(stage, "up to date", "somebody else's, taken as they are")
    found = read_manifest(run / stage.folder)
    reason = why_redo(stage.manifest, found)
    if reason is not None:
        return StageState(stage, "to do", reason)
    assert found is not None
    if found.photos != stage.manifest.photos:
        return StageState(stage, "unfinished", _other_photos(stage.manifest.photos, found.photos))
    return StageState(stage, "up to date" if found.finished else "unfinished", "")


def _other_photos(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Message saying how the photos that a stage is asked for differ from those that it was begun with."""
    changed = sum(found.get(name) != content for name, content in wanted.items())
    left_out = len(found.keys() - wanted.keys())
    parts = [f"{changed} new or changed"] * bool(changed) + [f"{left_out} no longer asked for"] * bool(left_out)
    return f"of its photos {' and '.join(parts)}"


def states_of(stages: Sequence[Stage], run: Path) -> list[StageState]:
    """What the run folder holds of the stages, in their order."""
    return [state_of(stage, run) for stage in stages]


def seconds_with_all_before(stage: Stage, run: Path) -> float:
    """Seconds that the stage took, together with all stages that it builds on."""
    found = {part.folder: read_manifest(run / part.folder) for part in _with_all_before(stage)}
    return sum(manifest.seconds for manifest in found.values() if manifest)


def _with_all_before(stage: Stage) -> list[Stage]:
    return [stage, *(part for direct in stage.before for part in _with_all_before(direct))]
