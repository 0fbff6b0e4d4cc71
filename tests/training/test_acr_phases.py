"""What the two phases move and leave, which terms they have, and which forward passes they share."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tag2mask.config import AcrSettings, ClassifierLoss, ReconstructorLoss, ReconstructorSettings, RemnantSettings
from tag2mask.data.batch import Batch
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.classifier import Classifier
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.acr import (
    Acr,
    ClassifierAlone,
    ReconstructorAlone,
    update_classifier,
    update_reconstructor,
)
from tag2mask.training.learner import FixedNetwork
from tag2mask.training.segments import resize_to_side

SETTINGS = AcrSettings(remnants=RemnantSettings(grid=4))
RECONSTRUCTOR_TERMS = ("classification", "whole", "target", "non_target")
CLASSIFIER_TERMS = ("classification", "target", "non_target")


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moved(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def learning(network: nn.Module) -> set[str]:
    """Names of all parameters but BatchNorm's."""
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return {name for name, _ in network.named_parameters() if name.rpartition(".")[0] not in norms}


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """By name; zeros where there is none."""
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in network.named_parameters()
    }


def drop_gradients(*networks: nn.Module) -> None:
    for network in networks:
        network.zero_grad(set_to_none=True)


def only(weights: ReconstructorLoss | ClassifierLoss, term: str, terms: tuple[str, ...]):
    """The same weights, with all terms but one at 0."""
    return replace(weights, **{name: 0.0 for name in terms if name != term})


def test_reconstructor_updating_phase_moves_all_of_the_reconstructor_but_batch_norm(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable, fabric: Fabric
):
    network = new_reconstructor()
    before, classifier_before = state(network), state(classifier)
    method = ReconstructorAlone(FixedNetwork(fabric, classifier), learn(network), SETTINGS)

    losses = method.training_step(batch, 0)

    assert moved(network, before) == learning(network)
    assert moved(classifier, classifier_before) == set()
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert losses.keys() == {f"reconstructor/{name}" for name in RECONSTRUCTOR_TERMS}


def test_classifier_updating_phase_moves_all_of_the_classifier_but_batch_norm(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable, fabric: Fabric
):
    network = new_reconstructor()
    before, reconstructor_before = state(classifier), state(network)
    method = ClassifierAlone(learn(classifier), FixedNetwork(fabric, network), SETTINGS)

    losses = method.training_step(batch, 0)

    assert moved(classifier, before) == learning(classifier)
    assert moved(network, reconstructor_before) == set()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert losses.keys() == {f"classifier/{name}" for name in CLASSIFIER_TERMS}


def test_adversarial_step_moves_both_and_leaves_no_gradient_of_the_other_phase(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    network = new_reconstructor()
    before, reconstructor_before = state(classifier), state(network)
    alone, learner = new_reconstructor(), learn(network)
    cams = classifier(batch.images).cams.detach()

    Acr(learn(classifier), learner, SETTINGS).training_step(batch, 0)
    update_reconstructor(learn(alone), batch, cams, settings=SETTINGS, epoch=0)

    assert moved(classifier, before) == learning(classifier)
    assert moved(network, reconstructor_before) == learning(network)
    assert network.training
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, gradients(alone)[name], msg=name)


@pytest.mark.parametrize("term", RECONSTRUCTOR_TERMS)
def test_reconstructor_term_of_weight_0_is_as_if_left_out(
    term: str, batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    cams = classifier(batch.images).cams.detach()
    weights = SETTINGS.reconstructor_loss
    found = {}
    for name, chosen in (
        ("all", weights),
        ("without", replace(weights, **{term: 0.0})),
        ("alone", only(weights, term, RECONSTRUCTOR_TERMS)),
    ):
        network = new_reconstructor()
        settings = replace(SETTINGS, reconstructor_loss=chosen)
        losses = update_reconstructor(learn(network), batch, cams, settings=settings, epoch=0).losses
        found[name] = losses, gradients(network)

    everything, without, alone = (found[name][0] for name in ("all", "without", "alone"))
    assert everything.keys() - without.keys() == alone.keys() == {f"reconstructor/{term}"}
    # Each term is the same whatever others are decoded with it.
    torch.testing.assert_close(everything, everything | without | alone)
    for name, gradient in found["all"][1].items():
        torch.testing.assert_close(gradient, found["without"][1][name] + found["alone"][1][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("term", CLASSIFIER_TERMS)
def test_classifier_term_of_weight_0_is_as_if_left_out(
    term: str, batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    weights = SETTINGS.classifier_loss
    found = {}
    for name, chosen in (
        ("all", weights),
        ("without", replace(weights, **{term: 0.0})),
        ("alone", only(weights, term, CLASSIFIER_TERMS)),
    ):
        learner = learn(copy.deepcopy(classifier))
        settings = replace(SETTINGS, classifier_loss=chosen)
        output = learner(batch.images)
        losses = update_classifier(learner, learn(new_reconstructor()), batch, output=output, settings=settings)
        found[name] = losses, gradients(learner.network)

    everything, without, alone = (found[name][0] for name in ("all", "without", "alone"))
    assert everything.keys() - without.keys() == alone.keys() == {f"classifier/{term}"}
    torch.testing.assert_close(everything, everything | without | alone)
    for name, gradient in found["all"][1].items():
        torch.testing.assert_close(gradient, found["without"][1][name] + found["alone"][1][name], rtol=1e-3, atol=1e-6)


def test_one_forward_for_both_phases_equals_two(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    shared = learn(copy.deepcopy(classifier)), learn(new_reconstructor())
    apart = learn(classifier), learn(new_reconstructor())
    method = Acr(*shared, SETTINGS)

    for epoch in range(2):
        losses = method.training_step(batch, epoch)
        with apart[0].frozen() as fixed, torch.no_grad():
            cams = fixed(batch.images).cams
        expected = update_reconstructor(apart[1], batch, cams, settings=SETTINGS, epoch=epoch).losses
        output = apart[0](batch.images)
        expected |= update_classifier(apart[0], apart[1], batch, output=output, settings=SETTINGS)

        assert losses == expected
    for ours, theirs in zip(shared, apart, strict=True):
        assert moved(ours.network, state(theirs.network)) == set()


class DropsHalf(nn.Module):
    """A backbone whose maps differ between training and evaluation mode."""

    channels, strides, normalisation = (3,), (8,), Normalisation((0.0,) * 3, (1.0,) * 3)

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(0.5)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.dropout(resize_to_side(images, 8))]

    def truncate(self, depth: int) -> None:
        """It has one depth, which stays."""


def test_reconstructor_learns_from_maps_without_dropout(batch: Batch, new_reconstructor: Callable, learn: Callable):
    classifier = Classifier(DropsHalf(), num_classes=3, head="linear")
    cams = classifier.eval()(batch.images).cams.detach()

    losses = Acr(learn(classifier), learn(new_reconstructor()), SETTINGS).training_step(batch, 0)
    expected = update_reconstructor(learn(new_reconstructor()), batch, cams, settings=SETTINGS, epoch=0).losses

    assert {name: losses[name] for name in expected} == expected


def test_classifier_is_judged_by_features_without_dropout(batch: Batch, classifier: Classifier, learn: Callable):
    features = ReconstructorSettings(
        features=(-1,), feature_channels=(3,), width=2, depth=4, dropout=0, classify=False, freeze_backbone=True
    )
    settings = replace(SETTINGS, reconstructor_loss=ReconstructorLoss(classification=0))
    torch.manual_seed(0)
    reconstructor = learn(Reconstructor(DropsHalf(), None, features))
    learner, other = learn(copy.deepcopy(classifier)), learn(classifier)

    losses = Acr(learner, reconstructor, settings).training_step(batch, 0)
    output = other(batch.images)
    expected = update_classifier(other, reconstructor, batch, output=output, settings=settings)

    assert {name: losses[name] for name in expected} == expected


def test_frozen_backbone_stays_and_its_features_are_made_once(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    shared, apart = new_reconstructor(freeze_backbone=True), new_reconstructor(freeze_backbone=True)
    calls: list[int] = []
    shared.backbone.register_forward_hook(lambda *_: calls.append(1))
    before = state(shared)

    losses = Acr(learn(copy.deepcopy(classifier)), learn(shared), SETTINGS).training_step(batch, 0)
    learner, other = learn(classifier), learn(apart)
    output = learner(batch.images)
    expected = update_reconstructor(other, batch, output.cams.detach(), settings=SETTINGS, epoch=0).losses
    expected |= update_classifier(learner, other, batch, output=output, settings=SETTINGS)

    assert losses == expected
    assert len(calls) == 1
    assert moved(shared, before) == {name for name in learning(shared) if not name.startswith("backbone.")}


def test_reconstructor_learns_to_restore_eight_photos(
    drawn_batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable, fabric: Fabric
):
    method = ReconstructorAlone(FixedNetwork(fabric, classifier), learn(new_reconstructor(), 0.2), SETTINGS)

    losses = [method.training_step(drawn_batch, 0) for _ in range(15)]

    for name in ("whole", "target", "non_target"):
        falling = [loss[f"reconstructor/{name}"].item() for loss in losses]
        assert falling[-1] < 0.7 * falling[0], name


def test_classifier_learns_to_make_a_fixed_reconstructor_fail(
    drawn_batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable, fabric: Fabric
):
    loss = replace(SETTINGS.classifier_loss, classification=0.0)
    settings = replace(SETTINGS, classifier_loss=loss, remnants=RemnantSettings(grid=4, enabled=False))
    reconstructor = learn(new_reconstructor(), 0.2)
    alone = ReconstructorAlone(FixedNetwork(fabric, classifier), reconstructor, settings)
    for _ in range(8):
        alone.training_step(drawn_batch, 0)
    method = ClassifierAlone(learn(classifier, 0.1), reconstructor, settings)

    totals = []
    for _ in range(10):
        losses = method.training_step(drawn_batch, 0)
        totals.append(0.8 * losses["classifier/target"].item() + 0.3 * losses["classifier/non_target"].item())
    assert totals[-1] < 1.05 * totals[0]
