"""Reads the tensors of a GGUF file as float32: floats of any width, and 8-bit blocks (`Q8_0`).

The file is a header (magic, version, counts), metadata, a description of each tensor, and their
bytes, aligned. Everything is little-endian. Knows nothing of models.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
# Kinds of metadata, as struct has them.
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_FLOATS = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 28: np.dtype("<f8"), 30: ml_dtypes.bfloat16}
_Q8_0 = 8
_BLOCK = np.dtype([("scale", "<f2"), ("values", "i1", 32)])
_MOST = 2**20  # entries, dimensions and the like: no header has as many
_LEAST_ALIGNMENT = 32


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors by name. Raises ValueError for what is no such file, or holds other formats."""
    try:
        return dict(_tensors(Path(path).read_bytes(), str(path)))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (struct.error, UnicodeDecodeError, OverflowError, RecursionError):
        raise ValueError(f"{path}: damaged, or not a GGUF file; get it again") from None


class _Reader:
    """Goes through the header."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def count(self, kind: str = "Q") -> int:
        value = self.number(kind)
        if value > _MOST:
            raise struct.error
        return value

    def text(self) -> str:
        length = self.count()
        self.at += length
        if self.at > len(self.data):
            raise struct.error
        return self.data[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner = self.number("I")
            return [self.value(inner) for _ in range(self.count())]
        if kind not in _SCALARS:
            raise struct.error
        return self.number(_SCALARS[kind])


def _tensors(data: bytes, path: str) -> Iterator[tuple[str, np.ndarray]]:
    reader = _Reader(data)
    version = struct.unpack_from("<4sI", data, 0)
    if version[0] != _MAGIC or version[1] not in (2, 3):
        raise ValueError(f"{path}: not a GGUF file of version 2 or 3")
    reader.at = 8
    tensors, pairs = reader.count(), reader.count()
    metadata = {}
    for _ in range(pairs):
        name = reader.text()
        metadata[name] = reader.value(reader.number("I"))
    described = []
    for _ in range(tensors):
        name = reader.text()
        shape = [reader.count() for _ in range(reader.count("I"))][::-1]  # the fastest stands first
        described.append((name, tuple(shape), reader.number("I"), reader.number("Q")))
    step = metadata.get("general.alignment", _LEAST_ALIGNMENT)
    if not isinstance(step, int) or step < 1:
        raise struct.error
    start = -(-reader.at // step) * step
    for name, shape, kind, offset in described:
        yield name, _read(data, start + offset, shape, kind, f"{path}: {name}")


def _read(data: bytes, at: int, shape: tuple[int, ...], kind: int, what: str) -> np.ndarray:
    count = math.prod(shape)
    if kind in _FLOATS:
        dtype, items = np.dtype(_FLOATS[kind]), count
    elif kind == _Q8_0 and count % 32 == 0:
        dtype, items = _BLOCK, count // 32
    else:
        read = "floats and Q8_0 are read; take another file of the model"
        raise ValueError(f"{what} is of a kind ({kind}) that is unknown here: {read}")
    if at + items * dtype.itemsize > len(data):
        raise struct.error
    found = np.frombuffer(data, dtype, items, at)
    if kind == _Q8_0:
        found = found["values"] * found["scale"].astype(np.float32)[:, None]
    return found.astype(np.float32).reshape(shape)
