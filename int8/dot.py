"""dot(x, w): the one matrix product, for float and quantised weights.

Knows shapes and batching; number formats are qtensor.py's, the two ways to compute xla_dot.py's and
native_dot.py's. Both ways round activations alike and sum each span in int32, so they give the same
integers; their weighted float sums agree to rounding.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from int8 import library, native_dot, xla_dot
from int8.backend import resolve_backend
from int8.fallback import with_plain
from int8.qtensor import QTensor


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


# Float products that the native kernels do faster than XLA:CPU (measured: see BUILD.md).
NATIVE_WEIGHTS = 100_000  # at least; the call itself takes as long as a small product
NATIVE_ROWS = 64  # at most, if XLA need not widen the weights first


def _plain_dot(x: jax.Array, w: jax.Array, bias: jax.Array | None) -> jax.Array:
    dims = ((x.ndim - 1,), (1,)), ((), ())
    wide = jnp.promote_types(x.dtype, w.dtype)
    y = lax.dot_general(x.astype(wide), w.astype(wide), dims, preferred_element_type=x.dtype)
    return y if bias is None else y + bias


@functools.lru_cache
def _float_rows_dot(isa: int):
    """(x [rows, in], w, bias or None) -> [rows, out]"""
    return jax.jit(with_plain(functools.partial(native_dot.float_dot, isa=isa), _plain_dot))


def _suits_native(rows: int, x: jax.Array, w: jax.Array, bias: jax.Array | None) -> bool:
    fits = rows >= 1 and w.ndim == 2 and w.size >= NATIVE_WEIGHTS
    floats = all(a is None or a.dtype == jnp.float32 for a in (x, bias))
    floats &= w.dtype in (jnp.float32, jnp.bfloat16)
    if not (fits and floats and resolve_backend(quiet=True) == "native"):
        return False
    return w.dtype == jnp.bfloat16 or rows <= NATIVE_ROWS


def dot(
    x: jax.Array,
    w: jax.Array | QTensor,
    bias: jax.Array | None = None,
    *,
    backend: str | None = None,
) -> jax.Array:
    """x [..., in] times the transpose of w [out, in], plus bias [out] -> [..., out].

    An array w is a plain product, by the native kernels where they are faster; one of bfloat16 is
    widened, whatever x is. A QTensor quantises x: each row in spans of columns
    (qtensor.span_of) by their largest magnitude; a row with an infinity or NaN gives NaN in that
    row alone. `backend` overrides set_backend for QTensors.
    """
    if not isinstance(w, QTensor):
        rows = math.prod(x.shape[:-1])
        if not _suits_native(rows, x, w, bias):
            return _plain_dot(x, w, bias)
        y = _float_rows_dot(library.forced_isa())(x.reshape(rows, x.shape[-1]), w, bias)
        return y.reshape(*x.shape[:-1], y.shape[-1])
    way = resolve_backend(backend)
    isa = library.forced_isa() if way == "native" else 0
    product = _rows_dot(w.bits, w.group_size, way, isa)
    rows = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
    y = product(rows, w.qvalue, w.scale, bias)
    return y.reshape(*x.shape[:-1], y.shape[-1]).astype(x.dtype)
