"""The paper's text, Eqs. (2) to (14), written out photo by photo and compared with our phases, gradients included."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import AcrSettings, ClassifierLoss, ReconstructorLoss, RemnantSettings
from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import Classifier
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.acr import update_classifier, update_reconstructor

Q = 0.4
PAPER = AcrSettings(
    masking="feature_grid",
    image_space="unit",
    remnants=RemnantSettings(grid=4, probability=Q, probability_step=0),
    reconstructor_loss=ReconstructorLoss(classification=0, whole=0, target=0.5, non_target=0.5),
    classifier_loss=ClassifierLoss(
        target=0.8, non_target=0.3, target_mask="soft", non_target_mask="soft", mask_gradient=True
    ),
)


def enlarge(maps: Tensor, side: int) -> Tensor:
    """Bilinear, (K, h, w) to (K, side, side)."""
    return F.interpolate(maps[None], size=(side, side), mode="bilinear", align_corners=False)[0]


def in_blocks(grid: Tensor, side: int) -> Tensor:
    return grid.repeat_interleave(side // grid.shape[-1], 1).repeat_interleave(side // grid.shape[-1], 2)


def target_cam(cam: Tensor) -> Tensor:
    """A_t (1, h, w) from the target's raw map (h, w)."""
    positive = cam.clamp(min=0)
    lowest, highest = positive.min(), positive.max()
    return ((positive - lowest - 1e-5).clamp(min=0) / (highest - lowest + 1e-5))[None]


def unit(photo: Tensor, network: Reconstructor) -> Tensor:
    """I in [0, 1]."""
    return photo * network.std[0] + network.mean[0]


def decode(network: Reconstructor, features: Tensor) -> Tensor:
    """G_D of one photo's features (D, h, w)."""
    return network.decoder(enlarge(features, 64)[None])[0]


def reconstructor_loss(network: Reconstructor, cams: Tensor, batch: Batch) -> Tensor:
    """Eq. (7), averaged over the photos."""
    features = network.encode(network.backbone(batch.images)).features  # X of Eq. (2)
    total = torch.zeros(())
    for photo, x, cam, target, draws in zip(batch.images, features, cams, batch.targets, batch.grid_draws, strict=True):
        image = unit(photo, network)
        a = target_cam(cam[target])
        grid = (draws < Q).float()
        g, g_fine = in_blocks(grid, 8), in_blocks(grid, 64)
        x_t, x_nt = a * x, (1 - a) * x  # (3)
        x_t_ru = x_t + g * x_nt  # (8)
        x_nt_ru = x_nt + g * x_t  # (9)
        restored_t, restored_nt = decode(network, x_t_ru), decode(network, x_nt_ru)  # (4)
        v_t = enlarge(1 - a, 64) * (1 - g_fine)  # (10)
        v_nt = enlarge(a, 64) * (1 - g_fine)
        loss_t = (v_t * (image - restored_t)).abs().mean()  # (5)
        loss_nt = (v_nt * (image - restored_nt)).abs().mean()  # (6)
        total = total + 0.5 * loss_t + 0.5 * loss_nt  # (7)
    return total / len(batch.images)


def classifier_loss(classifier: Classifier, network: Reconstructor, batch: Batch) -> Tensor:
    """Eq. (14), averaged over the photos."""
    cams, (scores,) = classifier(batch.images)  # A and p of Eq. (2)
    features = network.encode(network.backbone(batch.images)).features.detach()
    total = F.binary_cross_entropy(scores.sigmoid(), batch.tags)
    for photo, x, cam, target in zip(batch.images, features, cams, batch.targets, strict=True):
        image = unit(photo, network)
        a = target_cam(cam[target])
        restored_t, restored_nt = decode(network, a * x), decode(network, (1 - a) * x)  # (11)
        loss_t = -(enlarge(1 - a, 64) * (image - restored_t)).abs().mean()  # (12)
        loss_nt = -(enlarge(a, 64) * (image - restored_nt)).abs().mean()  # (13)
        total = total + (0.8 * loss_t + 0.3 * loss_nt) / len(batch.images)  # (14)
    return total


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def assert_same_gradients(ours: nn.Module, plain: nn.Module) -> None:
    found, expected = gradients(ours), gradients(plain)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (found[name] - gradient).abs().max() / gradient.abs().max()
        assert error < 1e-3, name


def test_reconstructor_updating_phase_equals_the_equations(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    network = new_reconstructor()
    plain = copy.deepcopy(network)
    cams = classifier(batch.images).cams.detach()

    expected = reconstructor_loss(plain, cams, batch)
    expected.backward()
    losses = update_reconstructor(learn(network), batch, cams, settings=PAPER, epoch=7).losses

    assert losses.keys() == {"reconstructor/target", "reconstructor/non_target"}
    assert (0.5 * sum(losses.values())).item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(network, plain)


def test_remnants_finer_than_the_maps_count_as_they_are_fed(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    fine = torch.rand(len(batch.images), 1, 16, 16, generator=torch.Generator().manual_seed(1))
    network = new_reconstructor()
    cams = classifier(batch.images).cams.detach()

    # Of the 16 x 16 cells every second one decides on the 8 x 8 of the maps.
    expected = reconstructor_loss(network, cams, replace(batch, grid_draws=fine[..., ::2, ::2]))
    found = update_reconstructor(learn(network), replace(batch, grid_draws=fine), cams, settings=PAPER, epoch=7).losses

    assert (0.5 * sum(found.values())).item() == pytest.approx(expected.item(), rel=1e-5)


def test_classifier_updating_phase_equals_the_equations(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    network = new_reconstructor()
    plain = copy.deepcopy(classifier)

    expected = classifier_loss(plain, network, batch)
    expected.backward()
    learner = learn(classifier)
    losses = update_classifier(learner, learn(network), batch, output=learner(batch.images), settings=PAPER)

    ours = (
        losses["classifier/classification"] + 0.8 * losses["classifier/target"] + 0.3 * losses["classifier/non_target"]
    )
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(classifier, plain)


@pytest.mark.parametrize(
    "settings",
    [
        replace(PAPER, masking="upsampled"),
        replace(PAPER, image_space="normalised"),
        replace(PAPER, classifier_loss=replace(PAPER.classifier_loss, target_mask="zero")),
        replace(PAPER, classifier_loss=replace(PAPER.classifier_loss, non_target_mask="winning")),
    ],
    ids=["masking", "image space", "target mask", "non-target mask"],
)
def test_each_departure_of_the_released_code_changes_the_losses(
    settings: AcrSettings, batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    totals = []
    for chosen in (PAPER, settings):
        learner = learn(copy.deepcopy(classifier))
        output = learner(batch.images)
        losses = update_classifier(learner, learn(new_reconstructor()), batch, output=output, settings=chosen)
        totals.append(sum(losses.values()).item())

    assert abs(totals[0] - totals[1]) > 1e-4


def test_soft_masks_carry_gradient_only_if_asked_for(
    batch: Batch, classifier: Classifier, new_reconstructor: Callable, learn: Callable
):
    found = []
    for mask_gradient in (True, False):
        settings = replace(PAPER, classifier_loss=replace(PAPER.classifier_loss, mask_gradient=mask_gradient))
        learner = learn(copy.deepcopy(classifier))
        output = learner(batch.images)
        update_classifier(learner, learn(new_reconstructor()), batch, output=output, settings=settings)
        found.append(learner.network.head.weight.grad)

    assert (found[0] - found[1]).abs().max() > 0.01 * found[0].abs().max()
