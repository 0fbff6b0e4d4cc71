"""Which stages a recipe asks for, in order, and what decides the content of each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tag2mask.config import TWIN, Level, Method, Recipe
from tag2mask.data.digests import digest_file
from tag2mask.data.records import Record
from tag2mask.recipes.paths import weights_file
from tag2mask.runs import stage_settings
from tag2mask.runs.contradictions import check_acr, check_spreading, check_thresholds, check_warmup, why_without_twin
from tag2mask.runs.foreign import foreign_stage, is_foreign
from tag2mask.runs.manifest import Manifest, digest, digest_photos, digest_records, read_manifest
from tag2mask.runs.stage_settings import Settings
from tag2mask.runs.stages import (
    FOLDERS,
    PHOTO_BY_PHOTO,
    PLAIN_TRAININGS,
    Kind,
    Photos,
    Stage,
    refined_methods,
)


def plan(recipe: Recipe, photos: Photos, run: Path) -> list[Stage]:
    """The stages of `recipe` in the order in which they are done.

    Args:
        recipe: settings that decide which stages there are.
        photos: photos of the run by split.
        run: run folder. Maps that somebody else put into its `2-cams` need no training, labels in its
            `4-pseudo-labels` no maps, predictions in its `6-predictions` no segmenter: stages for these alone are left
            out.

    Raises:
        ValueError: settings contradict each other.
    """
    check_thresholds(recipe)
    chosen = refined_methods(recipe)
    labelled = [method for method in chosen if is_foreign("labels", method, run)]
    predicted = [name for name in (*chosen, TWIN) if is_foreign("predictions", name, run)]
    refined = [method for method in chosen if method not in (*labelled, *predicted)]
    recipe = replace(recipe, methods=_mapped_methods(recipe, (*labelled, *predicted)))

    trainings = _trainings(recipe, photos, run)
    stages = list(trainings.values())
    for seeds in _seeds(recipe, photos, trainings, refined, run):
        stages += [seeds, *_measured(seeds, "seed", photos)]
        if seeds.method in refined:
            stages += _after_seeds(recipe, photos, seeds, run)
    for method in labelled:
        labels = foreign_stage("labels", method, run, photos.label)
        stages += [labels, *_after_labels(recipe, photos, labels, run)]
    if TWIN not in predicted:
        stages += _twin(recipe, photos, run)
    for name in predicted:
        predictions = foreign_stage("predictions", name, run, photos.val)
        stages += [predictions, *_measured(predictions, "segmenter", photos)]
    for stage in stages:
        check_warmup(recipe, stage.kind)
    return stages


def refuse_contradictions(recipe: Recipe, run: Path) -> None:
    """Refuse settings that contradict each other whatever the photos are, before these are read.

    Raises:
        ValueError: what `plan` raises.
    """
    plan(recipe, Photos((), (), (), (), ()), run)


def _mapped_methods(recipe: Recipe, later: Sequence[str]) -> tuple[Method, ...]:
    """Methods that need maps: those without `later` files of another origin, and `acr` where `acr_vit` spreads it."""
    mapped = {method for method in recipe.methods if method not in later}
    if "acr_vit" in mapped:
        mapped.add("acr")
    return tuple(method for method in recipe.methods if method in mapped)


def _trainings(recipe: Recipe, photos: Photos, run: Path) -> dict[Kind, Stage]:
    """The trainings of the networks that make maps, and of the reconstructor, in their order."""
    methods = tuple(method for method in recipe.methods if not is_foreign("cams", method, run))
    adversarial = bool({"pretrained", "acr"} & {*methods})
    if "acr_vit" in methods:
        check_spreading(recipe)
    if adversarial:
        check_acr(replace(recipe, methods=methods))
    first = PLAIN_TRAININGS[recipe.acr.classifier]
    alone = adversarial and recipe.acr.reconstructor_epochs > 0
    warm = adversarial and recipe.acr.warm_start
    wanted = {*methods} | ({"mctformer"} if "acr_vit" in methods else set()) | ({first} if alone or warm else set())
    stages: dict[Kind, Stage] = {}
    for section, kind in PLAIN_TRAININGS.items():
        if kind in wanted:
            stages[kind] = _training(kind, stage_settings.plain_training(recipe, section), photos, (), run)
    before: tuple[Stage, ...] = (stages[first],) if warm else ()
    if alone:
        settings = stage_settings.reconstructor_training(recipe)
        stages["reconstructor"] = _training("reconstructor", settings, photos, (stages[first],), run)
        before = (*before, stages["reconstructor"])
    if "pretrained" in methods:
        unread = _kept_unread(stage_settings.RATE_FACTOR, run / FOLDERS["pretrained"])
        settings = stage_settings.pretrained_training(recipe) | unread
        stages["pretrained"] = _training("pretrained", settings, photos, before, run)
    if "acr" in methods:
        stages["acr"] = _training("acr", stage_settings.adversarial_training(recipe), photos, before, run)
    return stages


def _training(kind: Kind, settings: Settings, photos: Photos, before: tuple[Stage, ...], run: Path) -> Stage:
    # Plain trainings alone can learn from photos without tags.
    records = photos.train if kind in PLAIN_TRAININGS.values() else photos.tagged
    settings, weights = _known_weights(settings, run / FOLDERS[kind])
    return _stage(kind, "", records, settings, before, {"classes": digest(photos.class_names)} | weights)


def _kept_unread(setting: str, folder: Path) -> Settings:
    """A setting that a training does not read, with the value in its manifest, if that has it.

    Manifests had it once: without it, the stage and all that was made of it would count as changed.
    """
    found = read_manifest(folder)
    return {setting: found.settings[setting]} if found and setting in found.settings else {}


def _seeds(
    recipe: Recipe, photos: Photos, trainings: Mapping[Kind, Stage], refined: Sequence[Method], run: Path
) -> list[Stage]:
    """The maps of every method; those that go on to labels are of all photos."""
    seeds: dict[Method, Stage] = {}
    # `acr_vit` spreads the seeds of `acr`, wherever it stands in the list.
    for method in sorted(recipe.methods, key=lambda method: method == "acr_vit"):
        all_photos = method in refined or (method == "acr" and "acr_vit" in refined)
        records = photos.mapped if all_photos else photos.seed
        if is_foreign("cams", method, run):
            seeds[method] = foreign_stage("cams", method, run, records)
        elif method == "acr_vit":
            before = (seeds["acr"], trainings["mctformer"])
            seeds[method] = _stage("cams", method, records, stage_settings.spread_cams(recipe), before)
        else:
            seeds[method] = _stage("cams", method, records, stage_settings.cams(recipe, method), (trainings[method],))
    return list(seeds.values())


def _after_seeds(recipe: Recipe, photos: Photos, cams: Stage, run: Path) -> list[Stage]:
    """CRF, refinement and pseudo-labels of one method, and what follows from these."""
    method = cams.method
    stages: list[Stage] = []
    source = cams
    if recipe.crf.enabled:
        # Without a refinement these are what the pseudo-labels are made of; else they are only there to be measured.
        records = photos.seed if recipe.refinement.method != "none" else photos.mapped
        source = _stage("crf", method, records, stage_settings.crf(recipe), (cams,))
        stages += [source, *_measured(source, "crf", photos)]
    if recipe.refinement.method != "none":
        stages += _refinement(recipe, photos, cams, run)
        source = stages[-1]
        stages += _measured(source, "refined", photos)
    # What the CRF made of the seeds is taken as it is.
    settings = {} if source.kind == "crf" else stage_settings.labels(recipe)
    before: tuple[Stage, ...] = (source,)
    if settings.get("labels.threshold_source") == "estimated":
        # Last come the seeds that tell how much is foreground: not the spread ones, but those that were spread.
        seeds = cams.source if cams.before and cams.source.kind == "cams" else cams
        before = (source,) if source is seeds else (source, seeds)
    labels = _stage("labels", method, photos.mapped, settings, before)
    return [*stages, labels, *_after_labels(recipe, photos, labels, run)]


def _after_labels(recipe: Recipe, photos: Photos, labels: Stage, run: Path) -> list[Stage]:
    """The measurement of pseudo-labels, and the segmenter that learns from them."""
    measured = _measured(labels, "pseudo-label", photos)
    if "pseudo_labels" not in recipe.segmenter.supervision or is_foreign("predictions", labels.method, run):
        return measured
    return measured + _segmenters(recipe, photos, labels.method, labels, run)


def _refinement(recipe: Recipe, photos: Photos, cams: Stage, run: Path) -> list[Stage]:
    """Labels of confident pixels, the network that learns relations from them, and the random walk along these."""
    method = cams.method
    relations = _stage("relations", method, photos.label, stage_settings.relations(recipe), (cams,))
    folder = run / FOLDERS["network"].format(method=method)
    settings, weights = _known_weights(stage_settings.relations_training(recipe), folder)
    network = _stage("network", method, photos.label, settings, (relations,), weights)
    return [relations, network, _stage("maps", method, photos.mapped, stage_settings.walk(recipe), (cams, network))]


def _twin(recipe: Recipe, photos: Photos, run: Path) -> list[Stage]:
    """The fully supervised segmenter, which learns from the true masks, if there is to be one."""
    asked = "masks" in recipe.segmenter.supervision and not why_without_twin(recipe, photos)
    return _segmenters(recipe, photos, TWIN, None, run) if asked and _masked(photos.label) else []


def _segmenters(recipe: Recipe, photos: Photos, method: str, labels: Stage | None, run: Path) -> list[Stage]:
    """A segmenter and its predictions; without pseudo-labels, the fully supervised one."""
    records = _masked(photos.label) if labels is None else photos.label
    before = () if labels is None else (labels,)
    inputs = {"classes": digest(photos.class_names)}
    if labels is None:
        inputs["label maps"] = _digest_label_maps(records)
    folder = run / FOLDERS["segmenter"].format(method=method)
    settings, weights = _known_weights(stage_settings.segmenter_training(recipe), folder)
    segmenter = _stage("segmenter", method, records, settings, before, inputs | weights)
    if not photos.val:
        return [segmenter]
    predictions = _stage("predictions", method, photos.val, stage_settings.predictions(recipe), (segmenter,))
    return [segmenter, predictions, *_measured(predictions, "segmenter", photos)]


def _measured(stage: Stage, level: Level, photos: Photos) -> list[Stage]:
    """The measurement of a stage on its photos that are to be measured and have a true mask, if there are any."""
    its_own = {record.name for record in stage.records}
    to_measure = photos.val if level == "segmenter" else photos.seed
    records = [record for record in _masked(to_measure) if record.name in its_own]
    if not records:
        return []
    inputs = {"label maps": _digest_label_maps(records)}
    if not _depends_on_classes(stage):
        # Files of another origin know the classes by their ids, scores by their names.
        inputs["classes"] = digest(photos.class_names)
    return [_stage("scores", stage.method, records, {}, (stage,), inputs, level=level)]


def _depends_on_classes(stage: Stage) -> bool:
    """Whether the stage, or one that it builds on, is redone when class names change."""
    return "classes" in stage.manifest.inputs or any(_depends_on_classes(before) for before in stage.before)


def _masked(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.label_map]


def _digest_label_maps(records: Sequence[Record]) -> str:
    return digest([digest_file(file) for record in records if (file := record.label_map_file)])


def _stage(
    kind: Kind, method: str, records: Sequence[Record], settings: Settings, before: tuple[Stage, ...],
    inputs: Mapping[str, str] = {}, *, level: Level | None = None,
) -> Stage:  # fmt: skip
    """A stage that reads these photos, what the stages before it made, and further inputs."""
    read = {stage.folder: stage.manifest.digest for stage in before}
    photos: dict[str, str] = {}
    # A threshold that is estimated follows from all photos.
    if kind in PHOTO_BY_PHOTO and settings.get("labels.threshold_source") != "estimated":
        photos = digest_photos(records)
    else:
        read["photos"] = digest_records(records)
    folder = FOLDERS[kind].format(method=method, level=level)
    return Stage(kind, method, folder, records, Manifest(settings, {**read, **inputs}, photos), before, level=level)


def _known_weights(settings: Settings, folder: Path) -> tuple[Settings, dict[str, str]]:
    """Settings of a training, and as inputs what its files of pretrained weights hold: where they lie decides nothing.

    A training that began with the same weights keeps the path that it knows them by. Where the file is gone nobody can
    tell that it was another one, so that its name decides: a finished training stays finished.
    """
    paths: dict[str, str] = {}
    inputs: dict[str, str] = {}
    for setting in [name for name in settings if name.endswith(".weights")]:
        file = weights_file(settings[setting])
        if file is None:
            continue
        # A classifier may begin with two.
        name = setting if setting.removesuffix(".weights") in PLAIN_TRAININGS else "weights"
        content = digest_file(file) if file.is_file() else None
        if content:
            inputs[name] = content
        found = read_manifest(folder)
        if found and name in found.inputs and setting in found.settings:
            is_same = found.inputs[name] == content if content else Path(found.settings[setting]).name == file.name
            if is_same:
                paths[setting] = found.settings[setting]
                inputs[name] = found.inputs[name]
    return settings | paths, inputs
