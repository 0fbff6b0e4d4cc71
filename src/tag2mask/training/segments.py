"""How ACR cuts photos into segments, and where their restorations count (equations of Kweon et al., CVPR 2023)."""

from typing import NamedTuple

import torch
from torch import Tensor

from tag2mask.config import ClassifierLoss, RemnantSettings
from tag2mask.networks.grids import resize
from tag2mask.networks.normalisation import normalise_cams


def target_cam(cams: Tensor, targets: Tensor) -> Tensor:
    """A_t, the normalised CAM of each photo's target class.

    Args:
        cams: raw maps (B, C, h, w).
        targets: class indices (B,).

    Returns:
        (B, 1, h, w) in [0, 1].
    """
    chosen = cams[torch.arange(len(targets), device=cams.device), targets]
    return normalise_cams(chosen.float()[:, None])


def erase(segment: Tensor, remnants: Tensor) -> Tensor:
    """Where a segment is taken out of the features, and where its restoration counts: Eqs. (8) to (10).

    Args:
        segment: (B, 1, h, w) in [0, 1]; A for the target, 1 - A for the rest.
        remnants: (B, 1, h, w), 1 where stochastic remnant feeding leaves the segment in (g of the paper).
    """
    return segment * (1 - remnants)


def draw_remnants(draws: Tensor, settings: RemnantSettings, epoch: int) -> Tensor:
    """The random grid g of Eq. (8), 1 with probability q.

    Args:
        draws: (B, 1, G, G), uniform in [0, 1).
        settings: decide q, which may change with the epoch.
        epoch: number of the epoch, from 0.
    """
    if not settings.enabled:
        return torch.zeros_like(draws)
    probability = min(max(settings.probability + settings.probability_step * epoch, 0.0), 1.0)
    return (draws < probability).to(draws.dtype)


def masked_l1(restored: Tensor, photo: Tensor, weight: Tensor) -> Tensor:
    """Absolute error where `weight` is set, averaged over all pixels: Eqs. (5), (6), (12) and (13) without their sign.

    Args:
        restored: (B, 3, S, S).
        photo: the same shape.
        weight: (B, 1, S, S) in [0, 1]; pixels of weight 0 do not count.
    """
    return (weight * (restored - photo).abs()).mean()


class ScoredMasks(NamedTuple):
    """Where the restorations of the classifier-updating phase count, each (B, 1, S, S) in [0, 1]."""

    target: Tensor
    """V_t of Eq. (12): outside the target."""
    non_target: Tensor
    """V_nt of Eq. (13): inside the target."""


def scored_masks(cam: Tensor, cams: Tensor, targets: Tensor, settings: ClassifierLoss) -> ScoredMasks:
    """V_t and V_nt of the classifier-updating phase.

    Args:
        cam: A at the photo's side (B, 1, S, S).
        cams: raw maps of all classes (B, C, h, w).
        targets: class indices (B,).
        settings: which masks, and whether they carry gradient.
    """
    fixed = cam if settings.mask_gradient else cam.detach()
    match settings.target_mask:
        case "soft":
            target = 1 - fixed
        case "zero":
            target = (cam == 0).to(cam.dtype)
    match settings.non_target_mask:
        case "soft":
            non_target = fixed
        case "winning":
            winner = resize_to_side(cams.detach().float(), cam.shape[-1]).argmax(dim=1, keepdim=True)
            non_target = fixed * (winner == targets[:, None, None, None])
    return ScoredMasks(target, non_target)


def resize_to_side(maps: Tensor, side: int) -> Tensor:
    """Maps (B, C, h, w) to (B, C, side, side), bilinear with half-pixel centres."""
    return resize(maps, (side, side))
