"""The quantised product as a custom call: loading, registering and calling the native kernels.

CPU only. Raises BuildError where the kernels cannot be had; choosing another way is up to dot.py.
"""

import ctypes
import functools
import os
import threading

import jax
import jax.numpy as jnp
import numpy as np

from int8.build import BuildError, build
from int8.qtensor import QTensor

TARGET = "int8_dot"
# The numbers of enum Isa in native/kernels.h.
ISAS = {"portable": 1, "avx2": 2, "avxvnni": 3, "avx512vnni": 4, "neon": 5}

_lock = threading.Lock()


@functools.cache
def _load() -> ctypes.CDLL:
    path = build()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as e:
        raise BuildError(f"the built kernels do not load ({e})") from None
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(library.int8_dot), platform="cpu")
    return library


def load() -> ctypes.CDLL:
    """The kernels' library, built if need be and registered with jax once. Raises BuildError."""
    with _lock:
        return _load()


def supported_isas() -> tuple[str, ...]:
    """The instruction sets that both the kernels and this processor have."""
    return tuple(name for name, number in ISAS.items() if load().int8_supported(number))


def forced_isa() -> int:
    """The instruction set that $INT8_ISA names (for tests and measurements); 0: the best one."""
    name = os.environ.get("INT8_ISA", "auto")
    if name == "auto":
        return 0
    if name not in supported_isas():
        known = ", ".join(supported_isas())
        raise ValueError(f"INT8_ISA={name} is not an instruction set of this machine ({known})")
    return ISAS[name]


def dot(x: jax.Array, w: QTensor, bias: jax.Array | None, isa: int = 0) -> jax.Array:
    """x [rows, in] float32 by w [out, in] -> [rows, out] float32."""
    load()
    rows, out = x.shape[0], w.shape[0]
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((rows, out), jnp.float32))
    bias = jnp.zeros(0, jnp.float32) if bias is None else bias
    attributes = {"bits": w.bits, "group": w.group_size or 0, "isa": isa}
    return call(x, w.qvalue, w.scale, bias, **{k: np.int32(v) for k, v in attributes.items()})
