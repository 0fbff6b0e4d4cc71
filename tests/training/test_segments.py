from dataclasses import replace

import pytest
import torch

from tag2mask.config import ClassifierLoss, RemnantSettings
from tag2mask.training.segments import draw_remnants, erase, masked_l1, scored_masks, target_cam


def test_normalised_cam_of_the_target_class_is_chosen_by_hand():
    cams = torch.tensor([[[[9.0, 9.0]], [[-1.0, 2.0]]], [[[0.0, 4.0]], [[5.0, 1.0]]]])

    found = target_cam(cams, torch.tensor([1, 0]))

    assert found.flatten().tolist() == pytest.approx([0, (2 - 1e-5) / (2 + 1e-5), 0, (4 - 1e-5) / (4 + 1e-5)])


def test_nothing_is_erased_where_remnants_stay():
    segment = torch.tensor([[[[0.2, 0.4, 1.0]]]])

    erased = erase(segment, torch.tensor([[[[1.0, 0.0, 0.0]]]]))

    assert erased.flatten().tolist() == pytest.approx([0, 0.4, 1.0])


def test_masked_l1_counts_the_weighted_error_over_all_pixels():
    restored = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)

    loss = masked_l1(restored, torch.zeros(1, 3, 2, 2), torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]]))

    assert loss.item() == pytest.approx((1 * 1 + 0.5 * 2) / 4)


@pytest.mark.parametrize(
    ("settings", "epoch", "expected"),
    [
        (RemnantSettings(), 0, 0.80),
        (RemnantSettings(), 39, 0.41),
        (RemnantSettings(), 100, 0.0),
        (RemnantSettings(probability_step=0.1), 5, 1.0),
        (RemnantSettings(probability=0.3, probability_step=0), 25, 0.3),
        (RemnantSettings(enabled=False), 0, 0.0),
    ],
)
def test_remnants_are_left_with_the_probability_of_the_epoch(settings: RemnantSettings, epoch: int, expected: float):
    # Between the hundredths, so that rounding does not matter.
    draws = ((torch.arange(100) + 0.5) / 100).view(1, 1, 10, 10)

    remnants = draw_remnants(draws, settings, epoch)

    assert set(remnants.unique().tolist()) <= {0.0, 1.0}
    assert remnants.mean().item() == pytest.approx(expected)


def test_hard_masks_are_zero_activation_and_the_winning_class():
    cam = torch.tensor([[[[0.0, 0.5], [1.0, 1e-6]]]], requires_grad=True)
    cams = torch.tensor([[[[1.0, 1.0], [9.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]]]])

    masks = scored_masks(cam, cams, torch.tensor([0]), ClassifierLoss())

    assert masks.target.flatten().tolist() == [1, 0, 0, 0]
    assert masks.non_target.flatten().tolist() == [0, 0.5, 1, 0]
    assert not masks.non_target.requires_grad


def test_soft_masks_are_the_cam_and_the_rest():
    cam = torch.tensor([[[[0.0, 0.5, 1.0]]]], requires_grad=True)
    soft = ClassifierLoss(target_mask="soft", non_target_mask="soft", mask_gradient=True)

    masks = scored_masks(cam, torch.zeros(1, 2, 1, 3), torch.tensor([0]), soft)

    assert torch.equal(masks.target, 1 - cam)
    assert torch.equal(masks.non_target, cam)
    assert masks.target.requires_grad
    assert not scored_masks(cam, cam, torch.tensor([0]), replace(soft, mask_gradient=False)).target.requires_grad
