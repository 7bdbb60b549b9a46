"""QTensors among plain arrays, taken apart and put together for files of named arrays.

A QTensor `a/w` is stored as `a/w/qvalue` and `a/w/scale`; a note beside the arrays names them all
with their formats. Knows names and arrays, no files.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from int8.qtensor import LARGEST, QTensor, why_not

_STORED = {16: np.dtype(np.int16), 8: np.dtype(np.int8), 4: np.dtype(np.uint8)}  # by bits


def pack(flat: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], str]:
    """Named arrays and QTensors -> arrays alone, and the note that `unpack` needs."""
    tensors: dict[str, np.ndarray] = {}
    formats: dict[str, tuple[int, int | None]] = {}
    for name, leaf in flat.items():
        if isinstance(leaf, QTensor):
            tensors[f"{name}/qvalue"] = np.asarray(leaf.qvalue)
            tensors[f"{name}/scale"] = np.asarray(leaf.scale)
            formats[name] = (leaf.bits, leaf.group_size)
        else:
            tensors[name] = np.asarray(leaf)
    return tensors, json.dumps(formats)


def unpack(tensors: Mapping[str, np.ndarray], note: str) -> dict[str, Any]:
    """The inverse of `pack`, copying nothing. A ValueError says what does not fit together."""
    flat: dict[str, Any] = dict(tensors)
    try:
        formats = {name: (bits, group) for name, (bits, group) in json.loads(note).items()}
    except (ValueError, TypeError, AttributeError):
        raise ValueError("its note on quantised weights is damaged") from None
    for name, (bits, group_size) in formats.items():
        parts = [flat.pop(f"{name}/{part}", None) for part in ("qvalue", "scale")]
        if problem := _problem(*parts, bits, group_size):
            raise ValueError(f"{name}: {problem}")
        flat[name] = QTensor(*parts, bits, group_size)
    return flat


def _problem(
    qvalue: np.ndarray | None, scale: np.ndarray | None, bits: Any, group_size: Any
) -> str | None:
    if qvalue is None or scale is None:
        return "its scales are missing" if scale is None else "its integers are missing"
    if type(bits) is not int or bits not in _STORED:
        return f"{bits} bits are unknown (there are {', '.join(map(str, _STORED))})"
    if qvalue.dtype != _STORED[bits]:
        return f"holds {qvalue.dtype} numbers; those of {bits} bits are {_STORED[bits]}"
    shape = QTensor(qvalue, scale, bits, None).shape if qvalue.ndim else ()
    if group_size is not None and type(group_size) is not int:
        return f"group size {group_size!r} is not a number"
    if reason := why_not(shape, bits, group_size):
        return reason
    if bits == 16 and max(-int(qvalue.min()), int(qvalue.max())) > LARGEST[bits]:
        return f"its integers go beyond {LARGEST[bits]}"
    wanted = shape[:-1] if group_size is None else (*shape[:-1], shape[-1] // group_size)
    if scale.shape != wanted or scale.dtype != np.float32:
        return f"its scales are {scale.dtype} {list(scale.shape)}, should be float32 {list(wanted)}"
    return None if np.isfinite(scale).all() else "its scales hold NaN or infinity"
