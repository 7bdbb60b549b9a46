"""Large weights kept as bfloat16 where that holds their values exactly, as in the released files.

Half the memory, and half the bytes of every step: the native kernels widen weights as they read
them. Nothing is rounded. Knows trees of arrays, no files.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np

from convert import flatten, unflatten
from int8 import QTensor, resolve_backend
from ptts_jax.model.pytree import Params

LARGE = 100_000  # numbers: fewer are not worth a type of their own
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def narrowed(params: Mapping[str, Any]) -> Params:
    """The large matrices and kernels that bfloat16 can hold, in it; on the host."""
    return _changed(params, _narrow)


def widened(params: Mapping[str, Any], stored: np.dtype = BFLOAT16) -> Params:
    """What is stored as one kind of 16-bit float, in float32.

    Training wants that, and XLA, which would widen a weight every time it is used.
    """
    return _changed(params, lambda leaf: leaf.astype(np.float32) if leaf.dtype == stored else leaf)


def placed(params: Mapping[str, Any], device: jax.Device | None = None) -> Params:
    """The parameters on a device, by default JAX's own: in bfloat16 where they are, unless only
    XLA:CPU is there to read them."""
    platform = device.platform if device else jax.default_backend()
    plain = platform == "cpu" and resolve_backend(platform=platform) == "xla"
    return jax.device_put(widened(params) if plain else dict(params), device)


def _changed(params: Mapping[str, Any], change: Callable[[Any], Any]) -> Params:
    flat = flatten(params).items()
    return unflatten({k: x if isinstance(x, QTensor) else change(x) for k, x in flat})


def _narrow(leaf: Any) -> Any:
    if leaf.dtype != np.float32 or leaf.ndim < 2 or leaf.size < LARGE:
        return leaf
    words = np.ascontiguousarray(leaf).view(np.uint16).reshape(*leaf.shape, 2)  # little-endian
    return leaf if words[..., 0].any() else words[..., 1].copy().view(BFLOAT16)
