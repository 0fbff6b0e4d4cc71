"""The ways in which an adversarial step is measured: the plain one, and ours with what makes it faster."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from plain_acr import PlainAcr
from torch import nn

from tag2mask.config import Recipe
from tag2mask.data.records import Record
from tag2mask.engine import launch
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.acr import Acr
from tag2mask.training.classifiers import new_classifier, new_reconstructor
from tag2mask.training.training import Training, build_learner

# Number of photos in the paper's training on PASCAL VOC 2012.
NUM_PHOTOS = 10_582


class Way(NamedTuple):
    """One way to take the step."""

    words: str
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    contiguous: bool = False
    compile: bool = False


WAYS = {
    "plain": Way("the released step line by line, fp32", contiguous=True),
    "contiguous": Way("ours, fp32, torch's default memory layout", contiguous=True),
    "channels_last": Way("ours as it comes: fp32, channels_last"),
    "bf16": Way("and --engine.precision bf16-mixed", precision="bf16-mixed"),
    "compile": Way("as it comes, and --engine.compile true", compile=True),
    "all": Way("all of it", precision="bf16-mixed", compile=True),
}


class Adversaries(NamedTuple):
    """Both networks on their device, and what trains them."""

    training: Training
    classifier: PhotoClassifier
    reconstructor: Reconstructor
    method: Acr | PlainAcr

    @property
    def device(self) -> torch.device:
        """Device on which both networks are."""
        return self.training.fabric.device


def begin(name: str, recipe: Recipe, num_classes: int) -> Adversaries:
    """New networks with the run's weights, whose dropout drops nothing."""
    adversaries = _begin(name, recipe, num_classes)
    # Only now: the method has seen that there is dropout, and calls the classifier in both modes.
    for network in (adversaries.classifier, adversaries.reconstructor):
        for layer in network.modules():
            if isinstance(layer, nn.Dropout | nn.Dropout2d):
                layer.p = 0.0
    return adversaries


def _begin(name: str, recipe: Recipe, num_classes: int) -> Adversaries:
    way = WAYS[name]
    recipe = replace(recipe, engine=replace(recipe.engine, precision=way.precision, compile=way.compile))
    records = [Record(str(number), Path(), (1,)) for number in range(NUM_PHOTOS)]
    training = Training(launch(recipe.engine), recipe, records, num_classes, Path())
    classifier = new_classifier(training, "classifier")
    reconstructor = new_reconstructor(training, classifier)
    acr = recipe.acr
    if name == "plain":
        for network in (classifier, reconstructor):
            training.fabric.to_device(network)
        return Adversaries(training, classifier, reconstructor, PlainAcr(classifier, reconstructor, acr))
    learners = (
        build_learner(training, classifier, acr.classifier_optimizer, acr.epochs, acr.batch_size),
        build_learner(training, reconstructor, acr.reconstructor_optimizer, acr.epochs, acr.batch_size),
    )
    if way.contiguous:
        for network in (classifier, reconstructor):
            network.to(memory_format=torch.contiguous_format)
    return Adversaries(training, classifier, reconstructor, Acr(*learners, acr))
