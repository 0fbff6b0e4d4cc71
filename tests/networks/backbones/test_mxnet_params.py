import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.networks.backbones.mxnet_params import read_mxnet_params

TYPE_FLAGS = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}
DEVICE = struct.pack("<ii", 1, 0)


def content(array: np.ndarray) -> bytes:
    return DEVICE + struct.pack("<i", TYPE_FLAGS[array.dtype.name]) + array.tobytes()


def version_2(array: np.ndarray, storage: int = 0) -> bytes:
    shape = struct.pack(f"<I{array.ndim}q", array.ndim, *array.shape)
    return struct.pack("<Ii", 0xF993FAC9, storage) + shape + content(array)


def version_1(array: np.ndarray) -> bytes:
    return struct.pack(f"<II{array.ndim}q", 0xF993FAC8, array.ndim, *array.shape) + content(array)


def oldest(array: np.ndarray) -> bytes:
    return struct.pack(f"<I{array.ndim}I", array.ndim, *array.shape) + content(array)


def params(arrays: list[bytes], names: list[str]) -> bytes:
    listed = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    return struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(arrays) + struct.pack("<Q", len(names)) + listed


def read(tmp_path: Path, data: bytes) -> dict[str, torch.Tensor]:
    path = tmp_path / "net.params"
    path.write_bytes(data)
    return read_mxnet_params(path)


@pytest.mark.parametrize("write", [version_2, version_1, oldest])
def test_arrays_of_every_version_are_read_under_their_names(tmp_path: Path, write):
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7
    mean = np.array([1.5, -2.0], np.float32)

    found = read(tmp_path, params([write(weight), write(mean)], ["arg:conv1a_weight", "aux:bn7_moving_mean"]))

    assert list(found) == ["arg:conv1a_weight", "aux:bn7_moving_mean"]
    assert torch.equal(found["arg:conv1a_weight"], torch.from_numpy(weight))
    assert torch.equal(found["aux:bn7_moving_mean"], torch.from_numpy(mean))


@pytest.mark.parametrize("dtype", TYPE_FLAGS)
def test_every_number_type_is_read(tmp_path: Path, dtype: str):
    array = np.array([[1, 2, 100]], dtype)

    assert torch.equal(read(tmp_path, params([version_2(array)], ["a"]))["a"], torch.from_numpy(array))


def test_array_without_value_is_empty(tmp_path: Path):
    nothing = struct.pack("<IiI", 0xF993FAC9, 0, 0)
    one = np.ones(1, np.float32)

    found = read(tmp_path, params([nothing, version_2(one)], ["none", "one"]))

    assert found["none"].numel() == 0
    assert found["one"].item() == 1


@pytest.mark.parametrize("kept", [0, 10, 24, 40, 60, 75, -1])
def test_file_that_is_cut_short_is_refused_in_one_line(tmp_path: Path, kept: int):
    whole = params([version_2(np.ones((2, 3), np.float32))], ["arg:conv1a_weight"])
    data = whole[:kept]

    with pytest.raises(ValueError, match=rf"net.params: ends after {len(data)} bytes, within .*cut short\?$"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (struct.pack("<QQQ", 0x113, 0, 0), "is no MXNet .params file: begins with 0x113, not 0x112"),
        (params([version_2(np.ones(1, np.float32), storage=1)], ["a"]), "array 1 of 1 is sparse"),
        (params([struct.pack("<I", 0xF993FACA)], ["a"]), "array 1 of 1 was written with NumPy shapes"),
        (params([version_2(np.ones(1, np.float32))], ["a", "b"]), "has 1 arrays but 2 names"),
        (params([struct.pack("<II", 1, 1) + DEVICE + struct.pack("<i", 12)], ["a"]), "unknown number type 12"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, data: bytes, told: str):
    with pytest.raises(ValueError, match=told):
        read(tmp_path, data)
