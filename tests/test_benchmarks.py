"""Benchmarks import, and our ACR iteration equals the plain one that they time it against."""

import copy
from importlib import import_module
from pathlib import Path

import pytest
import torch

from tag2mask.networks.classifier import build_classifier
from tag2mask.networks.reconstructor import build_reconstructor
from tag2mask.recipes import load_recipe

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NUM_CLASSES = 2


@pytest.fixture(autouse=True)
def beside_each_other(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Benchmarks are scripts, which find each other in their folder."""
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_benchmark_imports(name: str):
    if name == "crf":
        pytest.importorskip("pydensecrf.densecrf")

    module = import_module(name)

    assert Path(module.__file__) == BENCHMARKS / f"{name}.py"


def test_losses_of_an_acr_step_equal_those_of_the_plain_iteration(tiny_recipe: Path):
    acr_step, plain_acr = import_module("acr_step"), import_module("plain_acr")
    recipe = load_recipe(str(tiny_recipe))
    torch.manual_seed(0)
    classifier = build_classifier(recipe.classifier, NUM_CLASSES)
    reconstructor = build_reconstructor(recipe.classifier, recipe.acr.reconstructor, NUM_CLASSES)
    batch = plain_acr.draw_batch(recipe, NUM_CLASSES)
    plain = plain_acr.PlainAcr(copy.deepcopy(classifier), copy.deepcopy(reconstructor), recipe.acr)
    ours = acr_step.build_ours(classifier, reconstructor, recipe.acr)

    # The losses of the second step tell whether the first one moved both networks alike.
    for _ in range(2):
        expected = plain.training_step(batch, epoch=0)
        losses = ours.training_step(batch, epoch=0)

        torch.testing.assert_close(losses, expected, rtol=0, atol=1e-5)
