"""Does the stages of a run as planned: checks first, skips what is up to date, takes over what another run finished."""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric

from tag2mask.config import TWIN, Recipe
from tag2mask.data.result_folders import MANIFEST_FILE
from tag2mask.files import remove_leftovers, remove_leftovers_at_top
from tag2mask.memory import peak_mib, restart_peak
from tag2mask.recipes import save_recipe
from tag2mask.results import renew_model_card, write_results
from tag2mask.runs.contradictions import unread_label_settings, why_without_twin
from tag2mask.runs.folder import RECIPE_FILE, alone_in, is_run, refuse_other_photos
from tag2mask.runs.foreign import FOREIGN_FILES, unread_files
from tag2mask.runs.manifest import keep_photos, seconds_so_far, write_manifest
from tag2mask.runs.plan import plan
from tag2mask.runs.sharing import REPLACED, find_finished, forget_replaced, set_aside, take_over
from tag2mask.runs.stages import TRAININGS, Kind, Photos, Stage, state_of
from tag2mask.segmenter import renew_settings
from tag2mask.stages.labels import check_label_maps, check_maps, check_predictions, note_on_unlabelled_classes
from tag2mask.stages.work import StageWork
from tag2mask.training.loop import CHECKPOINT
from tag2mask.workers import refused_together

_logger = logging.getLogger(__name__)


class Pipeline:
    """A recipe on its photos in a run folder.

    Args:
        fabric: already launched.
        recipe: settings.
        photos: photos of the run by split.
        run: run folder; stages are written below it.
        siblings: run folders whose finished stages are taken over where they are equal, instead of being done again.
        warnings: warnings of the check of the data, for the report.
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
        self._sources = (run / REPLACED, *siblings)
        self._warnings = warnings
        self._work = StageWork(fabric, recipe, photos, run)

    def check(self, goal: Stage) -> None:
        """Refuse what cannot work on the way to one stage; nothing is done.

        Raises:
            ValueError: a network cannot be built, a batch cannot be filled, files of unknown origin are in the way, or
                somebody else's maps or labels are not those of the photos.
        """
        self._check(self._up_to(goal))

    def do(self, kinds: Collection[Kind]) -> None:
        """Do the stages of these kinds that are not up to date, in order.

        Raises:
            ValueError: a stage cannot work, or another process works in the run folder.
        """
        stages = [stage for stage in self.stages if stage.kind in kinds]
        with self._begun(stages):
            self._do_all(stages, of=self.stages)
            if "scores" in kinds:
                self._write_results()

    def reach(self, goal: Stage) -> None:
        """Do one stage and those that it builds on, where they are not up to date, and write the results.

        Raises:
            ValueError: a stage cannot work, or another process works in the run folder.
        """
        stages = self._up_to(goal)
        with self._begun(stages):
            self._do_all(stages, of=stages)
            self._write_results()

    def _up_to(self, goal: Stage) -> list[Stage]:
        needed = _folders_up_to(goal)
        return [stage for stage in self.stages if stage.folder in needed]

    @contextmanager
    def _begun(self, stages: Sequence[Stage]) -> Iterator[None]:
        """Write the recipe and keep other processes out of the run folder; if refused, the older recipe stays."""
        with ExitStack() as kept:
            with refused_together(self._fabric):
                self._tell_without_effect({stage.kind for stage in stages})
                self._check(stages)
                if self._fabric.is_global_zero:
                    kept.enter_context(alone_in(self._run))
                    # Those of a stage go when it is gone on with.
                    remove_leftovers_at_top(self._run)
            save_recipe(self._run / RECIPE_FILE, self._recipe)
            yield

    def _tell_without_effect(self, kinds: Collection[Kind]) -> None:
        """Warn of files and settings for these kinds of stages that are not used; name a segmenter that is left out."""
        for line in unread_files(self._recipe, self._run):
            _logger.info("warning: %s", line)
        unread = unread_label_settings(self._recipe)
        if unread and "labels" in kinds:
            _logger.info("warning: %s", unread)
        why = why_without_twin(self._recipe, self._photos)
        if why and "segmenter" in kinds:
            _logger.info("5-segmenter/%s: left out: %s", TWIN, why)

    def _check(self, stages: Sequence[Stage]) -> None:
        """Refuse what cannot work before anything is trained or deleted."""
        # All of them: the folder of the photos is kept for those of a later command too.
        refuse_other_photos(self._run, self.stages, self._recipe.data.root)
        for part in {part.folder: part for stage in stages for part in (stage, *stage.before)}.values():
            if part.foreign:
                self._check_foreign(part)
            else:
                _refuse_unknown_files(part, self._run)
        self._check_waiting(stages)

    def _check_waiting(self, stages: Sequence[Stage]) -> None:
        """Refuse if there is nothing to do, or if all of it needs stages that are neither done nor asked for."""
        if not stages and not is_run(self._run):
            raise ValueError(f"{self._run}: nothing to do with these settings, photos and masks")
        waiting = [stage for stage in stages if state_of(stage, self._run).state != "up to date"]
        asked = {stage.folder for stage in stages}
        missing = {stage.folder: self._missing_before(stage, but=asked) for stage in waiting}
        if waiting and all(missing.values()):
            blocked = f"{waiting[0].folder} {missing[waiting[0].folder]}"
            if waiting[0].kind != "scores":
                raise ValueError(blocked)
            if len(waiting) == len(stages):
                raise ValueError(f"{self._run}: nothing to measure, {blocked}")
        for stage in waiting:
            if stage.kind in TRAININGS and not missing[stage.folder] and not find_finished(stage, self._sources):
                self._work.check_training(stage)

    def _check_foreign(self, stage: Stage) -> None:
        folder, num_classes = self._run / stage.folder, len(self._photos.class_names)
        match stage.kind:
            case "cams":
                untagged = check_maps(stage.records, folder, num_classes)
            case "labels":
                untagged = check_label_maps(stage.records, folder, num_classes)
            case _:
                if not stage.records:
                    raise ValueError(f"{folder}: found predictions, but data.val_split names no photos of them")
                check_predictions(stage.records, folder / "masks", num_classes)
                untagged = []
        if untagged:
            _logger.info(
                "warning: %s: found classes that the tags lack in %d of %d photos, such as %s, expected those of the "
                "tags alone", stage.folder, len(untagged), len(stage.records), untagged[0],
            )  # fmt: skip

    def _write_results(self) -> None:
        if self._fabric.is_global_zero:
            write_results(self._recipe, self._photos, self.stages, run=self._run, warnings=self._warnings)

    def _do_all(self, stages: Sequence[Stage], *, of: Sequence[Stage]) -> None:
        """Do stages in order, each announced by its number among all of them."""
        for number, stage in enumerate(of, start=1):
            if stage in stages:
                self._do(stage, f"stage {number}/{len(of)} {stage.folder}")
                self._warn_of_labels(stage)

    def _do(self, stage: Stage, title: str) -> None:
        fabric, folder = self._fabric, self._run / stage.folder
        # All processes have seen what is there before the first one changes it.
        with refused_together(fabric):
            state = state_of(stage, self._run)
            finished = state.state == "up to date"
            missing = None if finished else self._missing_before(stage)
            if missing and stage.kind != "scores":
                raise ValueError(f"{stage.folder} {missing}")
            source = None if finished else find_finished(stage, self._sources)
        if finished:
            _logger.info("%s: up to date%s", title, f" ({state.reason})" if state.reason else "")
            self._tidy(stage)
            return
        if missing:
            _logger.info("%s: left out, it %s", title, missing)
            return
        if source:
            _logger.info("%s: taken from %s", title, source)
            if fabric.is_global_zero:
                take_over(stage, source, self._run)
            self._tidy(stage)
            fabric.barrier()
            return
        _logger.info("%s: %s", title, state.reason or "resumes where it was stopped")
        if fabric.is_global_zero and state.state == "to do":
            set_aside(stage, self._run)
        self._make(stage, folder)
        self._tidy(stage)

    def _make(self, stage: Stage, folder: Path) -> None:
        """Begin or resume a stage in its folder, and note in the manifest there when it is finished."""
        fabric = self._fabric
        earlier = 0.0
        if fabric.is_global_zero:
            remove_leftovers(folder)
            earlier = seconds_so_far(folder)
            keep_photos(folder, stage.manifest.photos)
            write_manifest(folder, replace(stage.manifest, seconds=round(earlier, 1)))
        fabric.barrier()
        left_out = len(self._photos.train) - len(self._photos.tagged)
        if left_out and stage.kind in ("reconstructor", "pretrained", "acr"):
            _logger.info("%s: leaves out %d photos without tags", stage.kind, left_out)
        restart_peak()
        start = time.monotonic()
        if stage.kind in TRAININGS:
            seconds = self._work.train(stage)
        else:
            self._work.write(stage)
            seconds = earlier + time.monotonic() - start
        fabric.barrier()
        if fabric.is_global_zero:
            peak = peak_mib()
            counts = {"photos": len(stage.records)} | ({} if peak is None else {"peak_memory_mib": peak})
            write_manifest(folder, replace(stage.manifest, finished=True, seconds=round(seconds, 1), counts=counts))
        fabric.barrier()

    def _tidy(self, stage: Stage) -> None:
        """Delete what a finished stage no longer needs, also if the run that finished it was killed before this."""
        if self._fabric.is_global_zero and stage.kind in TRAININGS:
            folder = self._run / stage.folder
            (folder / CHECKPOINT).unlink(missing_ok=True)
            forget_replaced(stage, self._run)
            if stage.kind == "segmenter":
                # Those of predictions alone do not make it train again, but its folder has to know them.
                renew_settings(folder, self._recipe.segmenter)
                renew_model_card(self._recipe, self._photos, stage, stages=self.stages, run=self._run)

    def _warn_of_labels(self, stage: Stage) -> None:
        """Tell what a segmenter cannot learn from the labels, before it is trained."""
        if stage.kind != "labels":
            return
        with refused_together(self._fabric):
            if self._fabric.is_global_zero:
                note = note_on_unlabelled_classes(stage.records, self._run / stage.folder, self._photos.class_names)
                if note:
                    _logger.info("warning: %s: %s", stage.folder, note)

    def _missing_before(self, stage: Stage, *, but: Collection[str] = ()) -> str | None:
        """Message saying which stage has to be done first; None if all are done, those in the folders `but` aside."""
        for before in stage.before:
            state = state_of(before, self._run)
            if state.state != "up to date" and before.folder not in but:
                why = state.reason or "it was stopped half way"
                return f"needs {before.folder}, which must be done first: {why}"
        return None


def _folders_up_to(stage: Stage) -> set[str]:
    return {stage.folder}.union(*(_folders_up_to(before) for before in stage.before))


def _refuse_unknown_files(stage: Stage, run: Path) -> None:
    """Refuse files without a manifest, whose settings nobody knows; hidden files are left by a killed run."""
    folder = run / stage.folder
    if (folder / MANIFEST_FILE).exists():
        return
    found = next((path for path in sorted(folder.rglob("[!.]*")) if path.is_file()), None)
    if found and stage.kind in FOREIGN_FILES:
        raise ValueError(
            f"{folder}: found {found.relative_to(folder)} without {MANIFEST_FILE}, expected files of your own as "
            f"{FOREIGN_FILES[stage.kind]}: convert them or move them there, or move them elsewhere to have the stage "
            "done"
        )
    if found:
        raise ValueError(f"{folder}: found files but no {MANIFEST_FILE}: delete the folder to redo this stage")
