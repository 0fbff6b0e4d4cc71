import torch

from tag2mask.networks.grids import enlarge, shrink


def test_features_stay_above_their_pixels():
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 2, 4)

    fine = enlarge(ramp, 8, 4, size=(4, 7))
    coarse = shrink(ramp, 2, 4)

    assert fine[0, 0, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75]
    assert coarse.tolist() == [[[[0.5, 2.5]]]]
