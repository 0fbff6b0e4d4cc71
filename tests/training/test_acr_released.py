"""One iteration of the released code, from given CAMs and features: every mask, loss and gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import AcrSettings, ClassifierLoss, ReconstructorLoss, ReconstructorSettings
from tag2mask.data.batch import Batch
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.classifier import Classifier, ClassifierOutput
from tag2mask.networks.normalisation import normalise_cams
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.acr import update_classifier, update_reconstructor
from tag2mask.training.segments import draw_remnants, erase, resize_to_side, scored_masks, target_cam

SETTINGS = AcrSettings()
SIDE = 64
RUNS = [(seed, epoch) for seed in range(3) for epoch in (0, 10, 39)]
# The two segments swap their names in the reconstructor-updating phase of the released code.
RECONSTRUCTOR_TERMS = {"classification": "cls", "whole": "full", "target": "nt", "non_target": "t"}
CLASSIFIER_TERMS = {"classification": "cls", "target": "t", "non_target": "nt"}


class GivenMaps(nn.Module):
    """A backbone that gives the same maps whatever it sees."""

    strides, normalisation = (8,), Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = nn.Parameter(maps.clone())
        self.channels = (maps.shape[1],)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.maps]


class GivenLogits(nn.Module):
    """A head that gives the same logits whatever it sees, as maps of one cell."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, features: Tensor) -> Tensor:
        return self.logits[:, :, None, None]


class GivenOutput(nn.Module):
    """A classifier whose maps and logits have nothing to do with each other."""

    def __init__(self, cams: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.cams = nn.Parameter(cams.clone())
        self.logits = nn.Parameter(logits.clone())

    def forward(self, images: Tensor) -> ClassifierOutput:
        return ClassifierOutput(self.cams, (self.logits,))


@dataclass(frozen=True)
class Iteration:
    """What both phases saw and left."""

    values: dict[str, Tensor]
    """Of the released code; inputs of the seed and results of the run under one name each."""
    batch: Batch
    epoch: int
    losses: dict[str, Tensor]
    fed: list[Tensor]
    """Maps that cut the features in the reconstructor-updating phase: target, non-target."""
    restored: list[Tensor]
    """Photos as the decoder gave them: whole, target, non-target, then those of the classifier-updating phase."""
    gradients: dict[str, Tensor]
    after: dict[str, Tensor]
    """Decoder weights after the reconstructor-updating phase."""


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: f"seed{run[0]}-epoch{run[1]}")
def values(request: pytest.FixtureRequest, golden: Path) -> tuple[dict[str, Tensor], int]:
    seed, epoch = request.param
    with np.load(golden / "acr_step.npz") as file:
        inputs = {
            name.split("/")[1]: file[name] for name in file.files if name.count("/") == 1 and f"seed{seed}/" in name
        }
        results = {
            name.split("/")[2]: file[name] for name in file.files if name.startswith(f"seed{seed}/epoch{epoch}/")
        }
    return {name: torch.from_numpy(np.asarray(array)) for name, array in (inputs | results).items()}, epoch


@pytest.fixture
def iteration(values: tuple[dict[str, Tensor], int], learn: Callable) -> Iteration:
    golden, epoch = values
    batch = Batch(golden["img"], golden["label"], golden["class_t"], draws_of(golden, epoch), names=("a", "b", "c"))
    network = reconstructor_of(golden)
    fed: list[Tensor] = []
    restored: list[Tensor] = []
    network.register_forward_pre_hook(lambda _network, inputs: fed.extend(inputs[1]))
    network.decoder.register_forward_hook(lambda _decoder, _inputs, output: restored.extend(output.detach().split(3)))
    reconstructor = learn(network, 0.05)

    losses = update_reconstructor(reconstructor, batch, golden["cam_ru"], settings=SETTINGS, epoch=epoch).losses
    gradients = {f"recon_{name}": gradient for name, gradient in gradients_of(network).items()}
    after = {name: weight.clone() for name, weight in network.decoder.state_dict().items()}
    network.backbone.maps.data = golden["feat_cu"]

    for name, classifier in classifiers_of(golden).items():
        learner = learn(classifier)
        output = learner(batch.images)
        losses |= update_classifier(learner, reconstructor, batch, output=output, settings=SETTINGS)
        gradients |= {f"{name}_{key}": gradient for key, gradient in gradients_of(classifier).items()}
    return Iteration(golden, batch, epoch, losses, fed, restored, gradients, after)


def reconstructor_of(golden: dict[str, Tensor]) -> Reconstructor:
    settings = ReconstructorSettings(features=(0,), feature_channels=(6,), width=1, depth=1)
    network = Reconstructor(GivenMaps(golden["feat_ru"]), GivenLogits(golden["pred_recon"]), settings)
    network.reductions = nn.ModuleList([nn.Identity()])
    network.decoder = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 3, 3, padding=1))
    network.decoder.load_state_dict(decoder_state(golden, "dec{}_{}"))
    return network


def classifiers_of(golden: dict[str, Tensor]) -> dict[str, nn.Module]:
    """One whose logits are their own input, and one whose logits are the mean of its maps, as in the real network."""
    pooling = Classifier(GivenMaps(golden["cam_cu"]), 20, "linear")
    pooling.head = nn.Identity()
    return {"apart": GivenOutput(golden["cam_cu"], golden["pooled_cu"]), "pooling": pooling}


def decoder_state(golden: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    return {f"{layer}.{kind}": golden[pattern.format(layer, kind)] for layer in (0, 2) for kind in ("weight", "bias")}


def draws_of(golden: dict[str, Tensor], epoch: int) -> Tensor:
    """The draws of 0..99 of the released code, which validates a cell below 20 + epoch, as draws of [0, 1)."""
    torch.manual_seed(int(golden["torch_seed"]))
    for num_tags in golden["label"].sum(1).int().tolist():
        torch.randint(0, num_tags, (1,))
    drawn = torch.randint(0, 100, (3, 1, 16, 16))
    assert torch.equal(drawn < 20 + epoch, golden["mask_small"].bool())
    return (99.5 - drawn) / 100


def gradients_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def assert_close(ours: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    largest = expected.abs().max().item()
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max().item() <= tolerance * largest


def test_remnants_are_left_where_the_released_grid_does_not_validate(iteration: Iteration):
    remnants = draw_remnants(iteration.batch.grid_draws, SETTINGS.remnants, iteration.epoch)

    assert torch.equal(remnants, 1 - iteration.values["mask_small"].float())
    assert torch.equal(F.interpolate(1 - remnants, SIDE).sum((1, 2, 3)), iteration.values["mask_grid_sum"])


def test_masks_of_the_reconstructor_updating_phase_equal_the_released_ones(iteration: Iteration):
    golden = iteration.values
    cam = resize_to_side(target_cam(golden["cam_ru"], golden["class_t"]), SIDE)
    remnants = 1 - F.interpolate(golden["mask_small"].float(), SIDE)

    assert_close(cam, golden["ru_A"])
    assert_close(erase(cam, remnants), golden["segment_t_fuse_rev"])
    assert_close(erase(1 - cam, remnants), golden["segment_nt_fuse_rev"])
    fed_target, fed_non_target = iteration.fed
    assert_close(fed_target, golden["segment_nt_fuse"])
    assert_close(fed_non_target, golden["segment_t_fuse"])


@pytest.mark.parametrize(
    ("learner", "weights", "total", "terms"),
    [
        ("reconstructor", SETTINGS.reconstructor_loss, "loss_recon", RECONSTRUCTOR_TERMS),
        ("classifier", SETTINGS.classifier_loss, "loss_main", CLASSIFIER_TERMS),
    ],
)
def test_losses_of_both_phases_equal_the_released_ones(
    iteration: Iteration, learner: str, weights: ReconstructorLoss | ClassifierLoss, total: str, terms: dict[str, str]
):
    losses = {name: iteration.losses[f"{learner}/{name}"].item() for name in terms}

    for name, released in terms.items():
        assert losses[name] == pytest.approx(iteration.values[f"{total}_{released}"].item(), rel=1e-5)
    weighted = sum(getattr(weights, name) * loss for name, loss in losses.items())
    assert weighted == pytest.approx(iteration.values[total].item(), rel=1e-5)


def test_gradients_of_the_reconstructor_equal_the_released_ones(iteration: Iteration):
    golden, gradients = iteration.values, iteration.gradients

    assert_close(gradients["recon_backbone.maps"], golden["grad_recon_feat"])
    assert_close(gradients["recon_head.logits"], golden["grad_recon_pred"])
    for name, expected in decoder_state(golden, "grad_recon_dec{}_{}").items():
        assert_close(gradients[f"recon_decoder.{name}"], expected, 1e-4)
    for name, expected in decoder_state(golden, "dec{}_{}_after").items():
        assert_close(iteration.after[name], expected)


def test_masks_of_the_classifier_updating_phase_equal_the_released_ones(iteration: Iteration):
    golden, targets = iteration.values, iteration.batch.targets
    cam = resize_to_side(target_cam(golden["cam_cu"], targets), SIDE)

    masks = scored_masks(cam, golden["cam_cu"], targets, SETTINGS.classifier_loss)

    assert_close(normalise_cams(golden["cam_cu"]) * golden["label"][:, :, None, None], golden["cu_A_small_all"])
    assert_close(cam, golden["cu_A"])
    assert torch.equal(masks.target, golden["cu_V_t"].float())
    assert torch.equal(masks.non_target == 0, golden["cu_V_nt"] == 0)
    assert_close(masks.non_target, golden["cu_V_nt"])


def test_gradients_of_the_classifier_equal_the_released_ones(iteration: Iteration):
    golden, gradients = iteration.values, iteration.gradients

    assert_close(gradients["apart_cams"], golden["grad_main_cam"])
    assert_close(gradients["apart_logits"], golden["grad_main_pooled"])
    assert_close(gradients["pooling_backbone.maps"], golden["grad_main_cam_gap"])


def test_restored_photos_equal_the_released_ones(iteration: Iteration):
    golden = iteration.values
    # The classifier-updating phase is done with two classifiers of the same maps.
    names = ("ru_full", "ru_nt", "ru_t", "cu_t", "cu_nt", "cu_t", "cu_nt")

    for name, restored in zip(names, iteration.restored, strict=True):
        assert_close(restored.double().mean((2, 3)), golden[f"recon_{name}_mean"])
        assert_close(restored.double().abs().mean((2, 3)), golden[f"recon_{name}_absmean"])
        if f"recon_{name}" in golden:
            assert_close(restored, golden[f"recon_{name}"])


def test_target_without_activation_leaves_the_classifier_to_the_tags(iteration: Iteration):
    nothing = iteration.values["cu_A"].amax((1, 2, 3)) == 0

    assert (iteration.gradients["apart_cams"][nothing] == 0).all()
    assert (iteration.gradients["pooling_backbone.maps"][nothing] != 0).any() or not nothing.any()
