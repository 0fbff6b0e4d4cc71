"""The stages in order: from photos with tags to measured CAM seeds of every method of a recipe."""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from tag2mask.cams.inference import infer_cams
from tag2mask.cams.store import full_size_maps, read_cams
from tag2mask.config import Recipe
from tag2mask.data.label_maps import open_label_map
from tag2mask.data.photos import open_photo, photo_size
from tag2mask.data.records import Record
from tag2mask.evaluation.sweep import ThresholdSweep, read_sweep, write_sweep
from tag2mask.files import remove_leftovers
from tag2mask.manifest import clear, write_manifest
from tag2mask.progress import track
from tag2mask.report.figures import ComparisonRow, cam_comparison, threshold_curves
from tag2mask.report.tables import ScoreRow, ThresholdSource, write_scores
from tag2mask.stages import TRAININGS, Kind, Photos, Stage, plan, seconds_with_all_before, state_of
from tag2mask.training import classifiers

_logger = logging.getLogger(__name__)
_MAX_EXAMPLES = 6


class Pipeline:
    """A recipe on its photos in a run folder."""

    def __init__(self, fabric: Fabric, recipe: Recipe, photos: Photos, run: Path) -> None:
        self.stages = plan(recipe, photos, run)
        self._fabric = fabric
        self._recipe = recipe
        self._photos = photos
        self._run = run

    def do(self, kinds: Collection[Kind]) -> None:
        """Do the stages of these kinds that are not up to date, in order."""
        for number, stage in enumerate(self.stages, start=1):
            if stage.kind in kinds:
                self._do(stage, f"stage {number}/{len(self.stages)} {stage.folder}")
        measured = [stage for stage in self.stages if stage.kind == "scores"]
        if "scores" in kinds and measured and self._fabric.is_global_zero:
            for stage in measured:
                self._write_scores(stage)
            self._draw(measured)

    def _do(self, stage: Stage, title: str) -> None:
        fabric, folder = self._fabric, self._run / stage.folder
        state = state_of(stage, self._run)
        # All processes have read the state before the first one changes it.
        fabric.barrier()
        if state.state == "up to date":
            _logger.info("%s: up to date%s", title, f" ({state.reason})" if state.reason else "")
            return
        self._need_all_before(stage)
        _logger.info("%s: %s", title, state.reason or "goes on where it was stopped")
        if stage.kind in TRAININGS:
            classifiers.check(self._training(stage), stage.kind)
        if fabric.is_global_zero:
            remove_leftovers(folder)
            if state.state == "to do":
                clear(folder)
                write_manifest(folder, stage.manifest)
        fabric.barrier()
        left_out = len(self._photos.train) - len(self._photos.tagged)
        if left_out and stage.kind in TRAININGS and stage.kind != "baseline":
            _logger.info("%s: leaves out %d photos without tags", stage.kind, left_out)
        start = time.monotonic()
        seconds = self._perform(stage, folder)
        if seconds is None:
            seconds = time.monotonic() - start
        if fabric.is_global_zero:
            counts = {"photos": len(self._records(stage))}
            write_manifest(folder, replace(stage.manifest, finished=True, seconds=round(seconds, 1), counts=counts))
        fabric.barrier()

    def _need_all_before(self, stage: Stage) -> None:
        for before in stage.before:
            state = state_of(before, self._run)
            if state.state != "up to date":
                why = state.reason or "it was stopped half way"
                raise ValueError(f"{stage.folder} needs {before.folder}, which is to do first: {why}")

    def _perform(self, stage: Stage, folder: Path) -> float | None:
        """Do the work; a training gives the seconds of all its sessions."""
        baseline, reconstructor = (self._run / "1-classifier" / name for name in ("baseline", "reconstructor"))
        match stage.kind:
            case "baseline":
                return classifiers.train_baseline(self._training(stage))
            case "reconstructor":
                return classifiers.train_reconstructor(self._training(stage), baseline)
            case "pretrained":
                return classifiers.train_pretrained(self._training(stage), baseline, reconstructor)
            case "acr":
                return classifiers.train_acr(self._training(stage), baseline, reconstructor)
            case "cams":
                self._infer_cams(stage, folder)
            case "scores":
                self._sweep(stage, folder)
        return None

    def _records(self, stage: Stage) -> Sequence[Record]:
        match stage.kind:
            case "baseline":
                # It alone can learn from photos without tags.
                return self._photos.train
            case "cams":
                return self._photos.seed
            case "scores":
                return self._photos.masked
            case _:
                return self._photos.tagged

    def _training(self, stage: Stage) -> classifiers.TrainingStage:
        num_classes = len(self._photos.class_names)
        return classifiers.TrainingStage(
            self._fabric, self._recipe, self._records(stage), num_classes, self._run / stage.folder
        )

    def _infer_cams(self, stage: Stage, folder: Path) -> None:
        (training,) = stage.before
        blank = classifiers.new_classifier(self._training(training))
        network = classifiers.load_network(blank, self._run / training.folder, "classifier")
        infer_cams(self._fabric, network, self._photos.seed, settings=self._recipe.cams, folder=folder)

    def _sweep(self, stage: Stage, folder: Path) -> None:
        """Count the pixels of every threshold: `sweep.npz`."""
        if not self._fabric.is_global_zero:
            return
        (cams,) = stage.before
        sweep = ThresholdSweep(len(self._photos.class_names))
        records = self._photos.masked
        for record in track(records, len(records), f"scores of {stage.method}"):
            stored = read_cams(self._run / cams.folder, record.name)
            assert record.label_map is not None
            sweep.add(full_size_maps(stored), stored.class_ids, open_label_map(record.label_map))
        write_sweep(folder / "sweep.npz", sweep)

    def _write_scores(self, stage: Stage) -> None:
        """The rows of a measured stage, with the time of all that led to it."""
        assert stage.method is not None
        sweep = read_sweep(self._run / stage.folder / "sweep.npz")
        scores = sweep.scores()
        seconds = seconds_with_all_before(stage.before[0], self._run)
        rows = []
        thresholds: dict[ThresholdSource, float] = {
            "best on this split": scores.best(),
            "fixed": self._recipe.cams.threshold,
        }
        for source, threshold in thresholds.items():
            values = scores.at(threshold, self._photos.class_names)
            rows.append(ScoreRow(
                method=stage.method, level="seed", split=self._recipe.data.seed_split, **asdict(values),
                threshold=threshold, threshold_source=source, num_photos=sweep.num_photos, seconds=seconds,
            ))  # fmt: skip
        write_scores(self._run / "scores.json", rows)

    def _draw(self, measured: Sequence[Stage]) -> None:
        """Curves of all methods over the threshold, and their CAMs of the same photos side by side."""
        sweeps = {str(stage.method): read_sweep(self._run / stage.folder / "sweep.npz") for stage in measured}
        threshold_curves(self._run / "seed_curves.png", {name: sweep.scores() for name, sweep in sweeps.items()})
        folders = {str(stage.method): self._run / stage.before[0].folder for stage in measured}
        rows = [self._comparison(record, record.tags[0], folders) for record in self._examples()]
        cam_comparison(self._run / "seed_cams.png", rows)

    def _examples(self) -> list[Record]:
        """The middle one of the photos whose first tag is a class, for the first six classes that have one."""
        records = self._photos.masked
        examples = []
        for class_id in range(1, len(self._photos.class_names) + 1):
            of_class = [record for record in records if record.tags[:1] == (class_id,)]
            if of_class:
                examples.append(of_class[len(of_class) // 2])
        return examples[:_MAX_EXAMPLES]

    def _comparison(self, record: Record, class_id: int, folders: dict[str, Path]) -> ComparisonRow:
        assert record.label_map is not None
        stored = {name: read_cams(folder, record.name) for name, folder in folders.items()}
        blank = np.zeros((photo_size(record.image)[1], photo_size(record.image)[0]), np.float32)
        cams = {
            name: dict(zip(cams.class_ids.tolist(), full_size_maps(cams), strict=True)).get(class_id, blank)
            for name, cams in stored.items()
        }
        return ComparisonRow(
            photo=np.asarray(open_photo(record.image)),
            class_name=self._photos.class_names[class_id - 1],
            cams=cams,
            mask=open_label_map(record.label_map) == class_id,
        )
