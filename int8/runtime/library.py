"""The native library: built if need be, loaded once, its calls registered with jax.

CPU only. Raises BuildError where the library cannot be had; another way is the caller's to choose.
"""

import ctypes
import functools
import os
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from int8.runtime.build import BuildError, build, opened

TARGETS = ("int8_dot", "int8_float_dot", "int8_attend", "int8_conv", "int8_norm", "int8_vocoder")
# The numbers of enum Isa in native/kernels.h.
ISAS = {"portable": 1, "avx2": 2, "avxvnni": 3, "avx512vnni": 4, "neon": 5, "avx512": 6}
MAX_THREADS = 4  # of a prefill: it is short, and the machine is not ours alone

_lock = threading.Lock()


def _thread_limit() -> int:
    """How many threads of XLA's pool ($PJRT_NPROC sizes it) one call may use: $INT8_THREADS."""
    text = os.environ.get("INT8_THREADS", str(MAX_THREADS))
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"INT8_THREADS={text} must be a number of threads, at least 1")
    return int(text)


@functools.cache
def _path() -> Path:
    return build()


@functools.cache
def _load() -> ctypes.CDLL:
    limit = _thread_limit()
    try:
        with opened(_path()) as name:
            library = ctypes.CDLL(name)
    except OSError as e:
        raise BuildError(f"the built kernels do not load ({e})") from None
    library.int8_limit_threads(limit)
    for target in TARGETS:
        capsule = jax.ffi.pycapsule(getattr(library, target))
        jax.ffi.register_ffi_target(target, capsule, platform="cpu")
    return library


def loaded() -> bool:
    return _load.cache_info().currsize > 0


def load() -> ctypes.CDLL:
    """The library, ready for calls. Raises BuildError."""
    with _lock:
        return _load()


def name() -> str:
    """The name of its file tells its sources, its compiler and its bytes. Raises BuildError."""
    load()
    return _path().name


def call(target: str, results: Any, *args: Array | None, aliases=None, **attributes: Any) -> Any:
    """A custom call of the library with optional arguments and whole numbers as attributes.

    It neither differentiates nor vectorises (see fallback.py). Raises BuildError.
    """
    load()
    given = [jnp.zeros(0, jnp.float32) if a is None else a for a in args]
    numbers = {k: np.int32(v) if isinstance(v, int) else v for k, v in attributes.items()}
    return jax.ffi.ffi_call(target, results, input_output_aliases=aliases)(*given, **numbers)


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
