"""dot(x, w): the one matrix product, for float and quantised weights, and the choice of backend.

Knows shapes and batching; number formats are qtensor.py's, the two ways to compute xla_dot.py's and
native_dot.py's. Both ways round activations alike and sum in int32, so they give the same integers.
"""

import functools
import logging
import os
import threading

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from int8 import native_dot, xla_dot
from int8.build import BuildError
from int8.qtensor import QTensor

BACKENDS = ("auto", "native", "xla")

_log = logging.getLogger("int8")
_lock = threading.Lock()
_chosen = "auto"  # by set_backend


def _check(name: str) -> None:
    if name not in BACKENDS:
        raise ValueError(f"int8 backend (INT8_BACKEND) must be auto, native or xla, not {name!r}")


def set_backend(name: str) -> None:
    """Chooses for the whole process: auto, native (an error where it cannot be) or xla.

    Products already traced into a compiled function keep the backend they were traced with.
    """
    global _chosen
    _check(name)
    _chosen = name


@functools.cache
def _automatic() -> str:
    if jax.default_backend() != "cpu":
        reason = f"the default device is a {jax.default_backend()}"
    else:
        try:
            native_dot.load()
            return "native"
        except BuildError as e:
            reason = str(e)
    _log.warning("int8: products run as plain XLA, not as native kernels: %s", reason)
    return "xla"


def resolve_backend(name: str | None = None) -> str:
    """'native' or 'xla': by argument, else set_backend, else $INT8_BACKEND, else by what works."""
    if name is None:
        name = _chosen if _chosen != "auto" else os.environ.get("INT8_BACKEND", "auto")
    _check(name)
    if name == "native":
        native_dot.load()
    if name != "auto":
        return name
    with _lock:
        return _automatic()


@functools.lru_cache
def _rows_dot(bits: int, group_size: int | None, backend: str, isa: int):
    """(x [rows, in], qvalue, scale, bias or None) -> [rows, out], with a rule for vmap.

    Jitted so that a model traces and lowers each shape once.
    """
    way = xla_dot.dot if backend == "xla" else functools.partial(native_dot.dot, isa=isa)

    @custom_vmap
    def rows_dot(x, qvalue, scale, bias):
        return way(x, QTensor(qvalue, scale, bits, group_size), bias)

    @rows_dot.def_vmap
    def _batched(size, mapped, x, qvalue, scale, bias):
        x_mapped, q_mapped, s_mapped, bias_mapped = mapped
        if q_mapped or s_mapped:  # a weight each: one product after the other
            args = (x, qvalue, scale, bias)
            flags = (x_mapped, q_mapped, s_mapped, bool(bias_mapped))
            loop = [a for a, flag in zip(args, flags, strict=True) if flag]

            def one(row):
                row = iter(row)
                return rows_dot(*(next(row) if f else a for a, f in zip(args, flags, strict=True)))

            return lax.map(one, loop), True
        if bias_mapped:
            y, _ = _batched(size, (x_mapped, False, False, False), x, qvalue, scale, None)
            return (y if x_mapped else y[None]) + bias[:, None], True
        if not x_mapped:
            return rows_dot(x, qvalue, scale, bias), False
        rows = x.reshape(-1, x.shape[-1])  # the mapped axis becomes more rows
        y = rows_dot(rows, qvalue, scale, bias)
        return y.reshape(size, -1, y.shape[-1]), True

    return jax.jit(rows_dot)


def dot(
    x: jax.Array,
    w: jax.Array | QTensor,
    bias: jax.Array | None = None,
    *,
    backend: str | None = None,
) -> jax.Array:
    """x [..., in] times the transpose of w [out, in], plus bias [out] -> [..., out].

    An array w is a plain product. A QTensor quantises each row of x too, by its largest magnitude;
    a row with an infinity or NaN gives NaN in that row alone. `backend` overrides set_backend.
    """
    if not isinstance(w, QTensor):
        y = lax.dot_general(x, w, (((x.ndim - 1,), (1,)), ((), ())))
        return y if bias is None else y + bias
    way = resolve_backend(backend)
    isa = native_dot.forced_isa() if way == "native" else 0
    product = _rows_dot(w.bits, w.group_size, way, isa)
    rows = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
    y = product(rows, w.qvalue, w.scale, bias)
    return y.reshape(*x.shape[:-1], y.shape[-1]).astype(x.dtype)
