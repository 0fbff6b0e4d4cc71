from dataclasses import replace

import pytest

from tag2mask.config import ClassifierSettings, MctformerSettings, Recipe, SegmenterSettings
from tag2mask.stages.work import without_pretrained


def test_trained_networks_need_neither_files_nor_the_internet():
    recipe = Recipe(classifier=ClassifierSettings(weights="a.params"), segmenter=SegmenterSettings(weights="b.pt"))

    found = without_pretrained(recipe)

    sections = (found.classifier, found.mctformer, found.refinement, found.segmenter)
    assert {section.weights for section in sections} == {"none"}
    assert replace(found.segmenter, weights="b.pt") == recipe.segmenter


@pytest.mark.parametrize("weights", ["embedded", "a.safetensors"])
def test_trained_networks_keep_the_normalisation_of_embedded_weights(weights: str):
    recipe = Recipe(
        classifier=ClassifierSettings(backbone="tf_efficientnet_lite0", weights="embedded"),
        mctformer=MctformerSettings(backbone="hybrid_lite0", weights=weights),
    )

    found = without_pretrained(recipe)

    assert (found.classifier.weights, found.mctformer.weights) == ("embedded", "embedded")
