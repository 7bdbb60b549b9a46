"""Safetensors files, read as memory-mapped views and written atomically.

Reads and writes the format itself (it is an 8-byte length, a JSON header and the raw tensors), so
that nothing is copied on the way in, and so that tensors written here start on 64-byte boundaries,
where a CPU device takes them without a copy either. Knows nothing of what the tensors mean.
"""

import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ptts_jax.store.paths import atomic_write

ALIGNMENT = 64
_MAX_HEADER = 100_000_000  # the format's own limit
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
_CODES = {dtype.name: code for code, dtype in _DTYPES.items()}
_MISTAKEN = {  # what people hand over instead, by its first bytes
    b"PK\x03\x04": "it is a PyTorch or zip file",
    b"\x80\x02": "it is a pickle",
    b"<": "it is a web page",
    b"version https://git-lfs": "it is a git-lfs pointer, not the file itself",
    b"RIFF": "it is an audio file",
    b"GGUF": "it is a GGUF file",
}


class FileError(ValueError):
    """A file that cannot be read or written: one line with its name and the fix."""


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a safetensors file, as read-only views of it, and its metadata."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise FileError(f"{path}: the file is empty; delete it and get it again")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({_reason(error)}); check the path") from None
    try:
        start, entries, metadata = _parse(data)
        return {name: _view(data, start, *entry) for name, entry in entries.items()}, metadata
    except _Broken as error:
        raise FileError(f"{path}: {error}") from None


class _Broken(Exception):
    """What is wrong with a file, in words."""


def _parse(data: mmap.mmap) -> tuple[int, dict[str, tuple], dict[str, str]]:
    """(where the tensors start, {name: (dtype, shape, begin, end)}, metadata)"""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > _MAX_HEADER or data[8:9] != b"{":
        what = next(
            (words for magic, words in _MISTAKEN.items() if data[:32].startswith(magic)), ""
        )
        raise _Broken(f"not a safetensors file{f' ({what})' if what else ''}; give one that is")
    if 8 + length > len(data):
        raise _Broken("the file is cut short (within its header); delete it and get it again")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_no_duplicates)
        metadata = header.pop("__metadata__", {})
        entries = {name: _entry(name, value) for name, value in header.items()}
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise _Broken(f"damaged header ({error}); delete the file and get it again") from None
    if not _is_text(metadata):
        raise _Broken("damaged header (__metadata__ is not text); delete the file and get it again")
    _check_extents(entries, len(data) - 8 - length)
    return 8 + length, entries, metadata


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands in it twice")
    return fields


def _is_text(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _entry(name: str, value: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    shape, (begin, end) = tuple(value["shape"]), value["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"bad numbers for {name}")
    dtype = _DTYPES.get(value["dtype"])
    if dtype is None:
        raise _Broken(
            f"{name} holds {value['dtype']} numbers, which are not supported; "
            f"store it as one of {', '.join(_DTYPES)}"
        )
    count = 1
    for n in shape:
        count *= n
    if end - begin != count * dtype.itemsize:
        raise ValueError(f"{name}: {end - begin} bytes for shape {list(shape)} of {dtype}")
    return dtype, shape, begin, end


def _check_extents(entries: Mapping[str, tuple], available: int) -> None:
    """Tensors fill the file end to end: no overlap, no hole, nothing missing, nothing left."""
    at = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at:
            problem = "overlaps another tensor" if begin < at else "does not follow the one before"
            raise _Broken(f"damaged header ({name} {problem}); delete the file and get it again")
        at = end
    if at > available:
        raise _Broken(
            f"the file is cut short ({available} of {at} bytes of tensors); "
            "delete it and get it again"
        )
    if at < available:
        raise _Broken(f"{available - at} bytes too many at its end; delete it and get it again")


def _view(
    data: mmap.mmap, start: int, dtype: np.dtype, shape: tuple[int, ...], begin: int, end: int
) -> np.ndarray:
    if begin == end:
        return np.zeros(shape, dtype)
    count = (end - begin) // dtype.itemsize
    return np.frombuffer(data, dtype, count, start + begin).reshape(shape)


def write(
    path: str | Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays as a safetensors file, which appears when it is complete."""
    path = Path(path)
    arrays = {name: _plain(path, name, tensors[name]) for name in tensors}
    # Without holes, a tensor stands on a boundary if all before it are multiples of it.
    order = sorted(arrays, key=lambda name: (-_power_of_two(arrays[name].nbytes), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name in order:
        x = arrays[name]
        extent = [at, at + x.nbytes]
        header[name] = {
            "dtype": _CODES[x.dtype.name],
            "shape": list(x.shape),
            "data_offsets": extent,
        }
        at = extent[1]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)

    try:
        with atomic_write(path) as part, part.open("xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in order:
                file.write(as_bytes(arrays[name]))
    except OSError as error:
        raise FileError(
            f"{path}: cannot be written ({_reason(error)}); free some space or choose another place"
        ) from None


def _plain(path: Path, name: str, tensor: Any) -> np.ndarray:
    x = np.asarray(tensor)
    code = _CODES.get(x.dtype.name)
    if code is None:
        raise FileError(f"{path}: {name} holds {x.dtype}, which the format cannot store")
    return np.require(x, _DTYPES[code], "C")


def _power_of_two(size: int) -> int:
    """The largest power of two that divides a size, up to the alignment wanted."""
    return min(size & -size, ALIGNMENT) if size else ALIGNMENT


def as_bytes(x: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, as a view (bfloat16 has no buffer of its own)."""
    return x.reshape(-1).view(np.uint8)


def checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """The sum of all bytes as 64-bit words: finds damage at the speed of memory."""
    total = 0
    for x in tensors.values():
        data = as_bytes(x)
        whole = data.size // 8 * 8
        total += int(data[:whole].view(np.uint64).sum()) + int.from_bytes(
            data[whole:].tobytes(), "little"
        )
    return f"{total % 2**64:016x}"


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
