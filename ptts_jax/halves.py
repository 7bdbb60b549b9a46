"""Large weights kept as bfloat16 where that holds their values exactly, as in the released files.

Half the memory, and half the bytes of every step: the native kernels widen weights as they read
them. Nothing is rounded. Knows trees of arrays, no files.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from convert import flatten, unflatten
from int8 import QTensor, resolve_backend
from int8.dot import NATIVE_WEIGHTS

Params = dict[str, Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def narrowed(params: Mapping[str, Any]) -> Params:
    """The large matrices and kernels that bfloat16 can hold, in it; on the host."""
    return _changed(params, _narrow)


def widened(params: Mapping[str, Any]) -> Params:
    """All floats in float32: to train with, and for XLA, which would widen them at every use."""
    return _changed(params, _widen)


def placed(params: Mapping[str, Any]) -> Params:
    """As what computes with them reads them fastest."""
    return dict(params) if resolve_backend(quiet=True) == "native" else widened(params)


def _changed(params: Mapping[str, Any], change: Callable[[Any], Any]) -> Params:
    flat = flatten(params).items()
    return unflatten({k: x if isinstance(x, QTensor) else change(x) for k, x in flat})


def _widen(leaf: Any) -> Any:
    return leaf.astype(np.float32) if leaf.dtype == BFLOAT16 else leaf


def _narrow(leaf: Any) -> Any:
    if leaf.dtype != np.float32 or leaf.ndim < 2 or leaf.size < NATIVE_WEIGHTS:
        return leaf
    words = np.ascontiguousarray(leaf).view(np.uint16).reshape(*leaf.shape, 2)  # little-endian
    return leaf if words[..., 0].any() else words[..., 1].copy().view(BFLOAT16)
