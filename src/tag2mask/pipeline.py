"""The stages in order: from photos with tags to measured seeds, pseudo-labels, segmenters and predictions."""

import logging
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric

from tag2mask.cams.attention import infer_spread_cams
from tag2mask.cams.inference import infer_cams
from tag2mask.config import CamSettings, Recipe
from tag2mask.data.records import Record
from tag2mask.examples import keep_epochs, keep_restorations, one_a_class
from tag2mask.files import remove_leftovers
from tag2mask.labelling import check_label_maps, copy_label_maps, write_pseudo_labels
from tag2mask.manifest import FILE_NAME, clear, write_manifest
from tag2mask.measuring import measure
from tag2mask.memory import peak_mib, restart_peak
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.mctformer import Mctformer
from tag2mask.plan import plan
from tag2mask.prediction import Segmenter, predict_records, renew_settings
from tag2mask.recipes import save_recipe
from tag2mask.refining import write_crf_labels, write_relations, write_walked_maps
from tag2mask.report.collect import RECIPE_FILE
from tag2mask.results import write_results
from tag2mask.sharing import find_finished, take_over
from tag2mask.stages import PLAIN_TRAININGS, TRAININGS, Kind, Photos, Stage, section_of, state_of
from tag2mask.training import classifiers, labelled
from tag2mask.training.stage import TrainingStage, load_network

_logger = logging.getLogger(__name__)


class Pipeline:
    """A recipe on its photos in a run folder.

    Args:
        fabric: launched.
        recipe: settings.
        photos: of the run.
        run: folder.
        siblings: run folders whose finished stages are taken over where they are equal, in place of being done again.
        warnings: lines of the check of the data, for the report.
    """

    def __init__(
        self, fabric: Fabric, recipe: Recipe, photos: Photos, *, run: Path, siblings: Sequence[Path] = (),
        warnings: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.stages = plan(recipe, photos, run)
        self._fabric = fabric
        self._recipe = recipe
        self._photos = photos
        self._run = run
        self._siblings = siblings
        self._warnings = warnings

    def check(self, goal: Stage) -> None:
        """Refuse what cannot work on the way to one stage; nothing is done.

        Raises:
            ValueError: a network cannot be built, a batch cannot be filled, or files of unknown origin are in the way.
        """
        self._check(self._up_to(goal))

    def do(self, kinds: Collection[Kind]) -> None:
        """Do the stages of these kinds that are not up to date, in order."""
        self._begin([stage for stage in self.stages if stage.kind in kinds])
        for number, stage in enumerate(self.stages, start=1):
            if stage.kind in kinds:
                self._do(stage, f"stage {number}/{len(self.stages)} {stage.folder}")
        if "scores" in kinds:
            self._write_results()

    def reach(self, goal: Stage) -> None:
        """Do one stage and those that it builds on, where they are not up to date, and write the results."""
        stages = self._up_to(goal)
        self._begin(stages)
        for number, stage in enumerate(stages, start=1):
            self._do(stage, f"stage {number}/{len(stages)} {stage.folder}")
        self._write_results()

    def _up_to(self, goal: Stage) -> list[Stage]:
        needed = _folders_up_to(goal)
        return [stage for stage in self.stages if stage.folder in needed]

    def _begin(self, stages: Sequence[Stage]) -> None:
        """Keep the recipe of a run; one that is refused leaves the older one."""
        self._check(stages)
        save_recipe(self._run / RECIPE_FILE, self._recipe)

    def _check(self, stages: Sequence[Stage]) -> None:
        """Tell what cannot work before anything is trained or deleted."""
        for stage in stages:
            state = state_of(stage, self._run).state
            if state == "to do":
                _refuse_unknown_files(self._run / stage.folder)
            if stage.kind in TRAININGS and state != "up to date" and not find_finished(stage, self._siblings):
                self._check_training(stage)

    def _write_results(self) -> None:
        if self._fabric.is_global_zero:
            write_results(self._recipe, self._photos, self.stages, run=self._run, warnings=self._warnings)

    def _do(self, stage: Stage, title: str) -> None:
        fabric, folder = self._fabric, self._run / stage.folder
        state = state_of(stage, self._run)
        # All processes have read the state before the first one changes it.
        fabric.barrier()
        if stage.foreign and stage.kind == "labels":
            check_label_maps(stage.records, folder, len(self._photos.class_names))
        if state.state == "up to date":
            _logger.info("%s: up to date%s", title, f" ({state.reason})" if state.reason else "")
            self._renew_settings(stage)
            return
        missing = self._missing_before(stage)
        if missing and stage.kind == "scores":
            _logger.info("%s: left out, it %s", title, missing)
            return
        if missing:
            raise ValueError(f"{stage.folder} {missing}")
        source = find_finished(stage, self._siblings)
        if source:
            _logger.info("%s: taken from %s", title, source)
            if fabric.is_global_zero:
                clear(folder)
                take_over(source / stage.folder, folder)
            self._renew_settings(stage)
            fabric.barrier()
            return
        _logger.info("%s: %s", title, state.reason or "goes on where it was stopped")
        if fabric.is_global_zero and state.state == "to do":
            clear(folder)
            write_manifest(folder, stage.manifest)
        self._make(stage, folder)

    def _make(self, stage: Stage, folder: Path) -> None:
        """Begin a stage or go on with it, in a folder with its manifest, and note there that it is finished."""
        fabric = self._fabric
        if fabric.is_global_zero:
            remove_leftovers(folder)
        fabric.barrier()
        left_out = len(self._photos.train) - len(self._photos.tagged)
        if left_out and stage.kind in ("reconstructor", "pretrained", "acr"):
            _logger.info("%s: leaves out %d photos without tags", stage.kind, left_out)
        restart_peak()
        start = time.monotonic()
        seconds = self._perform(stage, folder)
        if seconds is None:
            seconds = time.monotonic() - start
        fabric.barrier()
        if fabric.is_global_zero:
            counts = {"photos": len(stage.records), "peak_memory_mib": peak_mib()}
            write_manifest(folder, replace(stage.manifest, finished=True, seconds=round(seconds, 1), counts=counts))
        fabric.barrier()

    def _renew_settings(self, stage: Stage) -> None:
        """Settings of predictions alone do not make a segmenter train again, but its folder has to know them."""
        if stage.kind == "segmenter" and self._fabric.is_global_zero:
            renew_settings(self._run / stage.folder, self._recipe.segmenter)

    def _missing_before(self, stage: Stage) -> str | None:
        """In words which stage has to be done first, None where all are."""
        for before in stage.before:
            state = state_of(before, self._run)
            if state.state != "up to date":
                why = state.reason or "it was stopped half way"
                return f"needs {before.folder}, which is to do first: {why}"
        return None

    def _check_training(self, stage: Stage) -> None:
        """Build all that a training needs."""
        training = self._training(stage)
        try:
            match stage.kind:
                case "network":
                    labelled.check_relations(training)
                case "segmenter":
                    labelled.check_segmenter(training)
                case "baseline" | "mctformer":
                    classifiers.check_plain(training, section_of(stage.kind, self._recipe))
                case _:
                    classifiers.check_adversarial(training)
        except ValueError as error:
            raise ValueError(f"{stage.folder}: {error}") from error

    def _perform(self, stage: Stage, folder: Path) -> float | None:
        """Do the work; a training gives the seconds of all its sessions."""
        fabric, recipe = self._fabric, self._recipe
        first = PLAIN_TRAININGS[recipe.acr.classifier]
        plain, reconstructor = (self._run / "1-classifier" / name for name in (first, "reconstructor"))
        match stage.kind:
            case "baseline" | "mctformer":
                return classifiers.train_plain(self._watched_training(stage), section_of(stage.kind, recipe))
            case "reconstructor":
                return classifiers.train_reconstructor(self._training(stage), plain)
            case "pretrained":
                return classifiers.train_pretrained(self._watched_training(stage), plain, reconstructor)
            case "acr":
                seconds = classifiers.train_acr(self._watched_training(stage), plain, reconstructor)
                self._keep_restorations(stage, folder)
                return seconds
            case "cams" if stage.method == "acr_vit":
                cams, trained = stage.before
                infer_spread_cams(
                    fabric, self._load_transformer(trained), stage.records,
                    cams=self._run / cams.folder, folder=folder, settings=recipe.mctformer,
                )  # fmt: skip
            case "cams":
                (trained,) = stage.before
                network = self._load_classifier(trained)
                infer_cams(fabric, network, stage.records, settings=self._cam_settings(trained), folder=folder)
            case "crf":
                write_crf_labels(
                    fabric, stage.records, cams=self._source(stage), folder=folder,
                    settings=recipe.crf, cam_settings=recipe.cams, num_processes=self._num_processes,
                )  # fmt: skip
            case "relations":
                write_relations(
                    fabric, stage.records, cams=self._source(stage), folder=folder,
                    settings=recipe.refinement, num_processes=self._num_processes,
                )  # fmt: skip
            case "network":
                return labelled.train_relations(self._training(stage))
            case "maps":
                cams, trained = stage.before
                relations = load_network(
                    labelled.new_relations_network(self._training(trained)), self._run / trained.folder, "network"
                )
                write_walked_maps(
                    fabric, relations, stage.records,
                    cams=self._run / cams.folder, folder=folder, settings=recipe.refinement,
                )  # fmt: skip
            case "labels":
                if fabric.is_global_zero:
                    self._write_labels(stage, folder)
            case "segmenter":
                return self._train_segmenter(stage, folder)
            case "predictions":
                segmenter = Segmenter.load(self._source(stage))
                predict_records(fabric, segmenter, stage.records, folder=folder, settings=recipe.segmenter)
            case "scores":
                if fabric.is_global_zero:
                    measure(stage, self._source(stage), folder, class_names=self._photos.class_names)
        return None

    def _source(self, stage: Stage) -> Path:
        """Folder of the stage before, where there is one."""
        (before,) = stage.before
        return self._run / before.folder

    @property
    def _num_processes(self) -> int:
        engine = self._recipe.engine
        return engine.workers or max(1, (os.cpu_count() or 1) // engine.devices)

    def _training(self, stage: Stage) -> TrainingStage:
        records = stage.records
        if stage.kind in ("network", "segmenter") and stage.before:
            labels = self._source(stage)
            records = [replace(record, label_map=labels / f"{record.name}.png") for record in records]
        num_classes = len(self._photos.class_names)
        return TrainingStage(self._fabric, self._recipe, records, num_classes, self._run / stage.folder)

    def _watched_training(self, stage: Stage) -> TrainingStage:
        """A training that keeps the CAMs of a few photos after each epoch."""
        folder = self._run / stage.folder
        return replace(
            self._training(stage),
            after_epoch=keep_epochs(self._fabric, self._examples(), folder, self._recipe.cams),
        )

    def _keep_restorations(self, stage: Stage, folder: Path) -> None:
        if self._fabric.is_global_zero:
            classifier = self._load_classifier(stage)
            reconstructor = classifiers.new_reconstructor(self._training(stage), classifier.backbone)
            keep_restorations(
                classifier, load_network(reconstructor, folder, "reconstructor"), self._examples(),
                folder=folder / "restored", recipe=self._recipe,
            )  # fmt: skip

    def _examples(self) -> list[Record]:
        return one_a_class(self._photos.seed, len(self._photos.class_names))

    def _load_classifier(self, stage: Stage) -> PhotoClassifier:
        blank = classifiers.new_classifier(self._training(stage), section_of(stage.kind, self._recipe))
        return load_network(blank, self._run / stage.folder, "classifier")

    def _cam_settings(self, trained: Stage) -> CamSettings:
        recipe = self._recipe
        match section_of(trained.kind, recipe):
            case "classifier":
                return recipe.cams
            case "mctformer":
                return replace(recipe.cams, scales=recipe.mctformer.scales)

    def _load_transformer(self, stage: Stage) -> Mctformer:
        network = self._load_classifier(stage)
        assert isinstance(network, Mctformer)
        return network

    def _write_labels(self, stage: Stage, folder: Path) -> None:
        (source,) = stage.before
        before = self._run / source.folder
        match source.kind:
            case "crf":
                copy_label_maps(stage.records, before, folder)
            case _:
                write_pseudo_labels(stage.records, before, folder, settings=self._recipe.labels)

    def _train_segmenter(self, stage: Stage, folder: Path) -> float:
        """Train it and keep it as a model folder."""
        training = self._training(stage)
        seconds = labelled.train_segmenter(training)
        if self._fabric.is_global_zero:
            network = load_network(labelled.new_segmenter(training), folder, "model")
            Segmenter(network, self._recipe.segmenter, self._photos.class_names).save(folder)
        return seconds


def _folders_up_to(stage: Stage) -> set[str]:
    return {stage.folder}.union(*(_folders_up_to(before) for before in stage.before))


def _refuse_unknown_files(folder: Path) -> None:
    """A stage would go on with files that no manifest tells the settings of; hidden ones are left by a killed run."""
    if (folder / FILE_NAME).exists():
        return
    if any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*")):
        raise ValueError(f"{folder}: found files without {FILE_NAME}, expected both: delete the folder to do it anew")
