import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

WeightsByRule = Callable[[Path], dict[str, Tensor]]


@pytest.fixture(autouse=True, scope="module")
def in_one_thread(one_thread: None) -> None:
    """For all tests of this folder."""


@pytest.fixture(scope="session")
def weights_by_rule() -> WeightsByRule:
    """From a golden file, the state with its names and shapes, drawn by the rule of the golden values."""
    return _weights_by_rule


def _weights_by_rule(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    with np.load(path) as golden:
        names, shapes, sums = golden["param_names"], golden["param_shapes"], golden["param_sums"]
    for name, padded_shape, expected_sum in zip(names, shapes, sums, strict=True):
        values = _draw(str(name), tuple(int(size) for size in padded_shape if size))
        assert values.sum(dtype=np.float64) == pytest.approx(expected_sum, rel=1e-6, abs=1e-6)
        state[str(name)] = torch.from_numpy(values)
    return state


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    draw = np.random.RandomState(zlib.crc32(name.encode("ascii")))
    if name.startswith("genUnet."):
        return (0.05 * draw.standard_normal(shape)).astype(np.float32)
    if len(shape) == 4:
        return (draw.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))).astype(np.float32)
    match name.rsplit(".", maxsplit=1)[1]:
        case "weight":
            return (1 + 0.1 * draw.standard_normal(shape)).astype(np.float32)
        case "bias" | "running_mean":
            return (0.1 * draw.standard_normal(shape)).astype(np.float32)
        case "running_var":
            return draw.uniform(0.5, 1.5, shape).astype(np.float32)
        case _:
            return np.zeros(shape, np.int64)
