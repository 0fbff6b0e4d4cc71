from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.networks.normalisation import normalise_cams

CASES = [
    "random", "all_negative", "constant_positive", "constant_zero", "constant_negative", "single_pixel_positive",
    "single_pixel_negative", "all_positive", "one_positive_pixel", "tiny_below_1e-5", "range_about_1e-5", "near_eps",
    "huge", "tie_at_max", "tie_at_positive_min", "one_by_n", "mixed_batch",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_maps_and_gradients_equal_the_released_ones(case: str, golden: Path):
    values = np.load(golden / "max_norm.npz")
    cams = torch.from_numpy(values[f"{case}/input"]).requires_grad_()

    normalised = normalise_cams(cams)
    (normalised * torch.from_numpy(values[f"{case}/upstream"])).sum().backward()

    assert np.array_equal(normalised.detach().numpy(), values[f"{case}/output"])
    expected = values[f"{case}/grad"]
    # Of a single positive pixel the gradients cancel but for rounding.
    tolerance = 1e-2 if case == "one_positive_pixel" else 1e-5
    assert np.abs(cams.grad.numpy() - expected).max() <= tolerance * np.abs(expected).max()


def test_every_case_of_the_released_code_is_tried(golden: Path):
    assert {name.split("/")[0] for name in np.load(golden / "max_norm.npz").files} == set(CASES)


def test_each_map_is_stretched_by_itself():
    cams = torch.tensor([[[[-3.0, 1.0, 2.0]], [[10.0, 30.0, 20.0]]]])

    normalised = normalise_cams(cams)

    assert normalised.flatten().tolist() == pytest.approx([0, 0.5, 1, 0, 1, 0.5], abs=2e-5)


def test_map_that_is_nowhere_positive_becomes_zero():
    assert normalise_cams(torch.full((1, 1, 2, 2), -3.0)).tolist() == [[[[0, 0], [0, 0]]]]


def test_maps_of_no_class_stay_empty():
    assert normalise_cams(torch.zeros(1, 0, 4, 4)).shape == (1, 0, 4, 4)
