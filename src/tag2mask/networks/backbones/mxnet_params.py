"""Reading of MXNet's `.params` files without MXNet.

A file is a list header, the arrays, and their names, all little-endian: see NDArray::Save in MXNet's ndarray.cc.
"""

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LIST_MAGIC = 0x112

_MAGIC_1 = 0xF993FAC8  # 64-bit dimensions
_MAGIC_2 = 0xF993FAC9  # and a storage type before them
_MAGIC_3 = 0xF993FACA  # and NumPy's meaning of an empty shape
_DENSE = 0
_DTYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")


def read_mxnet_params(path: Path) -> dict[str, Tensor]:
    """Read the named arrays of a `.params` file, names as they stand there, such as `arg:conv1a_weight`."""
    reader = _Reader(path)
    magic, _reserved, num_arrays = reader.numbers("<QQQ", "the header")
    if magic != LIST_MAGIC:
        raise ValueError(f"{path}: is no MXNet .params file: begins with {magic:#x}, not {LIST_MAGIC:#x}")
    arrays = [_read_array(reader, f"array {i + 1} of {num_arrays}") for i in range(num_arrays)]
    (num_names,) = reader.numbers("<Q", "the number of names")
    if num_names != num_arrays:
        raise ValueError(f"{path}: has {num_arrays} arrays but {num_names} names")
    names = [_read_name(reader, f"name {i + 1} of {num_names}") for i in range(num_names)]
    return dict(zip(names, arrays, strict=True))


class _Reader:
    """A file and the place in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.place = 0

    def take(self, num_bytes: int, what: str) -> bytes:
        """The next bytes, or one line that says in what the file ends."""
        end = self.place + num_bytes
        if end > len(self.data):
            raise ValueError(f"{self.path}: ends after {len(self.data)} bytes, within {what}; is the file cut short?")
        taken = self.data[self.place : end]
        self.place = end
        return taken

    def numbers(self, layout: str, what: str) -> tuple[int, ...]:
        """The next integers."""
        return struct.unpack(layout, self.take(struct.calcsize(layout), what))


def _read_array(reader: _Reader, what: str) -> Tensor:
    shape = _read_shape(reader, what)
    if not shape:
        return torch.empty(0)  # stands for an array without value, and nothing of it follows
    reader.numbers("<ii", what)  # the device it was on
    (kind,) = reader.numbers("<i", what)
    if not 0 <= kind < len(_DTYPES):
        raise ValueError(f"{reader.path}: {what} has the unknown number type {kind}")
    dtype = np.dtype(_DTYPES[kind])
    data = reader.take(math.prod(shape) * dtype.itemsize, what)
    return torch.from_numpy(np.frombuffer(data, dtype).reshape(shape).copy())


def _read_shape(reader: _Reader, what: str) -> tuple[int, ...]:
    (magic,) = reader.numbers("<I", what)
    if magic == _MAGIC_3:
        raise ValueError(f"{reader.path}: {what} was written with NumPy shapes, which cannot be read here")
    if magic not in (_MAGIC_1, _MAGIC_2):
        return reader.numbers(f"<{magic}I", what)  # oldest files begin with the number of dimensions
    if magic == _MAGIC_2:
        (storage,) = reader.numbers("<i", what)
        if storage != _DENSE:
            raise ValueError(f"{reader.path}: {what} is sparse, which cannot be read here")
    (num_dimensions,) = reader.numbers("<I", what)
    return reader.numbers(f"<{num_dimensions}q", what)


def _read_name(reader: _Reader, what: str) -> str:
    (length,) = reader.numbers("<Q", what)
    return reader.take(length, what).decode()
