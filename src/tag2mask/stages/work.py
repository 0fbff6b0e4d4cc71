"""The work of every kind of stage: from photos, settings and the stages before to the files of its folder."""

from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric

from tag2mask.cams.attention import infer_spread_cams
from tag2mask.cams.inference import infer_cams
from tag2mask.config import Recipe
from tag2mask.data.records import Record
from tag2mask.engine import inference_arithmetic
from tag2mask.networks.affinitynet import AffinityNet
from tag2mask.networks.backbones.hybrid_vit import HYBRID_BACKBONE
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.irnet import BoundaryNet
from tag2mask.networks.mctformer import Mctformer
from tag2mask.recipes.paths import WithWeights, with_weights
from tag2mask.runs.stages import FOLDERS, PLAIN_TRAININGS, Photos, Stage, cam_settings_of, section_of
from tag2mask.segmenter import Segmenter
from tag2mask.stages.crf_labels import write_crf_labels, write_relations
from tag2mask.stages.examples import keep_epochs, keep_restorations, one_a_class
from tag2mask.stages.labels import copy_label_maps, write_pseudo_labels
from tag2mask.stages.predictions import predict_records
from tag2mask.stages.scores import measure
from tag2mask.stages.walked_maps import write_walked_maps
from tag2mask.training import classifiers, labelled
from tag2mask.training.learner import FixedNetwork
from tag2mask.training.training import Training, load_network
from tag2mask.workers import Inference, num_cores, refused_together


class StageWork:
    """Does the stages of a run; in which order, and whether at all, is decided elsewhere.

    Args:
        fabric: already launched.
        recipe: settings of all stages.
        photos: photos of the run by split.
        run: run folder; stages are written below it.
    """

    def __init__(self, fabric: Fabric, recipe: Recipe, photos: Photos, run: Path) -> None:
        self._fabric = fabric
        self._recipe = recipe
        self._photos = photos
        self._run = run

    def check_training(self, stage: Stage) -> None:
        """Build all that a training needs.

        Raises:
            ValueError: a network cannot be built, or a batch cannot be filled.
        """
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

    def train(self, stage: Stage) -> float:
        """Do a training, or resume it after its last whole epoch; returns the seconds of all epochs of all sessions."""
        first = PLAIN_TRAININGS[self._recipe.acr.classifier]
        plain, reconstructor = self._run / FOLDERS[first], self._run / FOLDERS["reconstructor"]
        match stage.kind:
            case "baseline" | "mctformer":
                return classifiers.train_plain(self._watched_training(stage), section_of(stage.kind, self._recipe))
            case "reconstructor":
                return classifiers.train_reconstructor(self._training(stage), plain)
            case "pretrained":
                return classifiers.train_pretrained(self._watched_training(stage), plain, reconstructor)
            case "acr":
                seconds = classifiers.train_acr(self._watched_training(stage), plain, reconstructor)
                self._keep_restorations(stage)
                return seconds
            case "network":
                return labelled.train_relations(self._training(stage))
            case "segmenter":
                return self._train_segmenter(stage)
        raise AssertionError(stage.kind)

    def write(self, stage: Stage) -> None:
        """Do a stage that is not a training; files that are there already are left alone."""
        with inference_arithmetic(self._fabric, self._recipe.engine):
            self._write(stage, self._run / stage.folder)

    def _write(self, stage: Stage, folder: Path) -> None:
        recipe, source = self._recipe, self._run / stage.source.folder
        inference = self._inference(stage)
        match stage.kind:
            case "cams" if stage.method == "acr_vit":
                network = self._load_transformer(stage.training)
                infer_spread_cams(inference, network, cams=source, settings=recipe.mctformer)
            case "cams":
                settings = cam_settings_of(stage.training.kind, recipe)
                classifier = self._load_classifier(stage.training)
                infer_cams(self._fabric, classifier, stage.records, settings=settings, folder=folder)
            case "crf":
                write_crf_labels(inference, cams=source, settings=recipe.crf, cam_settings=recipe.cams)
            case "relations":
                write_relations(inference, cams=source, settings=recipe.refinement)
            case "maps":
                relations = self._load_relations_network(stage.training)
                write_walked_maps(inference, relations, cams=source, settings=recipe.refinement)
            case "labels" if stage.source.kind == "crf":
                copy_label_maps(inference, labels=source)
            case "labels":
                seeds = self._run / stage.seeds.folder
                write_pseudo_labels(inference, maps=source, seeds=seeds, settings=recipe.labels)
            case "predictions":
                segmenter = Segmenter.load(source)
                predict_records(self._fabric, segmenter, stage.records, folder=folder, settings=recipe.segmenter)
            case "scores":
                with refused_together(self._fabric):
                    if self._fabric.is_global_zero:
                        measure(
                            stage, source, folder, class_names=self._photos.class_names,
                            num_processes=self._num_processes,
                        )  # fmt: skip

    @property
    def _num_processes(self) -> int:
        engine = self._recipe.engine
        return engine.workers or max(1, num_cores() // engine.devices)

    def _inference(self, stage: Stage) -> Inference:
        return Inference(self._fabric, stage.records, self._run / stage.folder, self._num_processes)

    def _training(self, stage: Stage) -> Training:
        records = stage.records
        if stage.kind in ("network", "segmenter") and stage.before:
            labels = self._run / stage.source.folder
            records = [replace(record, label_map=labels / f"{record.name}.png") for record in records]
        num_classes = len(self._photos.class_names)
        return Training(self._fabric, self._recipe, records, num_classes, self._run / stage.folder)

    def _trained(self, stage: Stage) -> Training:
        """A finished training, to load its networks: they are built without pretrained weights."""
        return replace(self._training(stage), recipe=without_pretrained(self._recipe))

    def _watched_training(self, stage: Stage) -> Training:
        """A training that keeps the CAMs of a few photos after each epoch."""
        folder = self._run / stage.folder
        return replace(
            self._training(stage),
            after_epoch=keep_epochs(self._fabric, self._examples(), folder, self._recipe.cams),
        )

    def _keep_restorations(self, stage: Stage) -> None:
        if self._fabric.is_global_zero:
            folder = self._run / stage.folder
            classifier = self._load_classifier(stage)
            reconstructor = classifiers.new_reconstructor(self._trained(stage), classifier)
            load_network(reconstructor, folder, "reconstructor")
            with FixedNetwork(self._fabric, classifier).frozen(), FixedNetwork(self._fabric, reconstructor).frozen():
                keep_restorations(
                    classifier, reconstructor, self._examples(), folder=folder / "restored", recipe=self._recipe
                )

    def _examples(self) -> list[Record]:
        return one_a_class(self._photos.seed, len(self._photos.class_names))

    def _train_segmenter(self, stage: Stage) -> float:
        """Train a segmenter and write it as a model folder."""
        seconds = labelled.train_segmenter(self._training(stage))
        if self._fabric.is_global_zero:
            folder = self._run / stage.folder
            network = load_network(labelled.new_segmenter(self._trained(stage)), folder, "model")
            Segmenter(network, self._recipe.segmenter, self._photos.class_names).save(folder)
        return seconds

    def _load_classifier(self, stage: Stage) -> PhotoClassifier:
        blank = classifiers.new_classifier(self._trained(stage), section_of(stage.kind, self._recipe))
        return load_network(blank, self._run / stage.folder, "classifier")

    def _load_transformer(self, stage: Stage) -> Mctformer:
        network = self._load_classifier(stage)
        assert isinstance(network, Mctformer)
        return network

    def _load_relations_network(self, stage: Stage) -> BoundaryNet | AffinityNet:
        blank = labelled.new_relations_network(self._trained(stage))
        return load_network(blank, self._run / stage.folder, "network")


def without_pretrained(recipe: Recipe) -> Recipe:
    """The recipe with no pretrained weights to fetch, for networks that are given trained ones: works offline."""
    return with_weights(recipe, _at_hand)


def _at_hand(network: WithWeights) -> str:
    # Embedded ones are installed, and photos are normalised as they want it, also in a hybrid that begins with a file.
    with_embedded = network.weights == "embedded" or network.backbone == HYBRID_BACKBONE
    return "embedded" if with_embedded and network.weights != "none" else "none"
