from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.config import ReconstructorSettings
from tag2mask.networks.backbones.weights import load_strictly, rename_released
from tag2mask.networks.unet import UNetDecoder


def standard_normal(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def test_output_levels_and_gradients_equal_the_released_decoder(golden: Path, weights_by_rule):
    path = golden / "decoder.npz"
    expected = np.load(path)
    state = rename_released(weights_by_rule(path))
    decoder = UNetDecoder(448, ReconstructorSettings()).eval()
    decoder_state = {name.removeprefix("decoder."): tensor for name, tensor in state.items()}
    assert decoder_state.keys() <= decoder.state_dict().keys()
    load_strictly(decoder, decoder_state, source="the rule")
    levels: list[Tensor] = []
    for level in [*decoder.down, *decoder.up]:
        level.register_forward_hook(lambda _module, _inputs, output: levels.append(output.detach()))
    features = standard_normal(448256, (1, 448, 256, 256))
    assert features.double().square().sum().item() == pytest.approx(float(expected["input_sumsq"]))

    images = decoder(features)
    loss = (images * standard_normal(3256, (1, 3, 256, 256))).mean()
    loss.backward()

    output = expected["output"]
    assert np.abs(images.detach().numpy() - output).max() <= 1e-5 * np.abs(output).max()
    assert loss.item() == pytest.approx(float(expected["loss_mean_output_times_R"]), abs=1e-7)
    for i, level in enumerate(levels):
        assert list(level.shape) == expected["level_shapes"][i].tolist()
        assert level.double().std(correction=0).item() == pytest.approx(expected["level_std"][i], rel=1e-4)
        pixels = expected["level_first_pixels"][i]
        assert np.abs(level[0, :8, 0, 0].numpy() - pixels).max() <= 1e-4 * np.abs(pixels).max()
    check_gradients(decoder, expected)


def check_gradients(decoder: nn.Module, expected: np.lib.npyio.NpzFile) -> None:
    names = rename_released({str(name): torch.tensor(i) for i, name in enumerate(expected["grad_param_names"])})
    assert len(names) == 17
    for name, index in names.items():
        gradient = decoder.get_parameter(name.removeprefix("decoder.")).grad.double()
        norm = float(expected["grad_norms"][index])
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-4)
        # The stored gradients are rounded: in float64 ours are as far from them, 4e-4 of the usual size.
        size = norm / gradient.numel() ** 0.5
        total = float(expected["grad_sums"][index])
        assert gradient.sum().item() == pytest.approx(total, abs=1e-5 * norm * gradient.numel() ** 0.5)
        found = gradient.flatten()[:8].numpy()
        first = expected["grad_first8"][index][: len(found)]
        assert np.abs(found - first).max() <= 1e-3 * size


def test_dropout_sits_in_the_levels_of_full_width():
    def dropouts(depth: int) -> tuple[list[float], list[float]]:
        decoder = UNetDecoder(4, ReconstructorSettings(width=2, depth=depth))
        return [level[-1].p for level in decoder.down], [level[-1].p for level in decoder.up]

    assert dropouts(8) == ([0, 0, 0] + [0.5] * 5, [0.5] * 4 + [0, 0, 0])
    assert dropouts(5) == ([0, 0, 0, 0.5, 0.5], [0.5, 0, 0, 0])
    assert dropouts(2) == ([0, 0], [0])


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_smallest_side_is_restored_in_training(depth: int):
    decoder = UNetDecoder(6, ReconstructorSettings(width=4, depth=depth, max_width_factor=4)).train()
    side = 2**depth

    images = decoder(torch.randn(2, 6, side, 3 * side))
    images.sum().backward()

    assert images.shape == (2, 3, side, 3 * side)
    assert torch.isfinite(images).all()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_widths_double_up_to_the_factor():
    decoder = UNetDecoder(6, ReconstructorSettings(width=4, depth=5, max_width_factor=4))

    assert [level[0].out_channels for level in decoder.down] == [4, 8, 16, 16, 16]
    assert [level[0].in_channels for level in decoder.up] == [16, 32, 32, 16]
    assert [level[0].out_channels for level in decoder.up] == [16, 16, 8, 4]


def test_norm_is_absent_in_the_first_and_the_last_level_down():
    decoder = UNetDecoder(6, ReconstructorSettings(width=4, depth=4))

    assert [isinstance(level[1], nn.InstanceNorm2d) for level in decoder.down] == [False, True, True, False]
    assert all(isinstance(level[1], nn.InstanceNorm2d) for level in decoder.up)


def test_last_convolution_equals_one_of_the_doubled_grid():
    decoder = UNetDecoder(6, ReconstructorSettings(width=4, depth=2))
    last = decoder.final[1]
    levels = torch.randn(2, 8, 3, 5, requires_grad=True)
    direction = torch.randn(2, 3, 6, 10)

    images = decoder.final(levels)
    expected = F.conv2d(F.interpolate(levels, scale_factor=2, mode="nearest"), last.weight, last.bias, padding=1)

    torch.testing.assert_close(images, expected)
    inputs = (levels, last.weight, last.bias)
    found = torch.autograd.grad((images * direction).sum(), inputs)
    torch.testing.assert_close(found, torch.autograd.grad((expected * direction).sum(), inputs))
