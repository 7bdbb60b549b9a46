"""dot(x, w): the one matrix product, for float and quantised weights.

Natively where it is compiled for the CPU, by XLA elsewhere (quantised: xla_dot.py). Both ways round
activations alike and sum each span in int32 (16 bits: XLA in floats), so they give the same
integers; their weighted float sums agree to rounding. Natively a row gives the same in any company
of up to 8, float or quantised.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from int8.ops import xla_dot
from int8.qtensor import QTensor
from int8.runtime import library
from int8.runtime.backend import resolve_backend
from int8.runtime.fallback import on_cpu, with_plain


@functools.lru_cache
def _rows_dot(bits: int, group_size: int | None, backend: str, isa: int):
    """(x [rows, in], qvalue, scale, bias or None) -> [rows, out], with a rule for vmap.

    Jitted so that a model traces and lowers each shape once.
    """

    def plain(x, qvalue, scale, bias):
        return xla_dot.dot(x, QTensor(qvalue, scale, bits, group_size), bias)

    def native(x, qvalue, scale, bias):
        y = jax.ShapeDtypeStruct((x.shape[0], qvalue.shape[0]), jnp.float32)
        how = {"bits": bits, "group": group_size or 0, "isa": isa}
        return library.call("int8_dot", y, x, qvalue, scale, bias, **how)

    rows_dot = custom_vmap(plain if backend == "xla" else on_cpu(native, plain))

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


def _plain_dot(x: jax.Array, w: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x [..., in] by w [out, in], as exact as float32 is on every platform."""
    if (x.dtype, w.dtype) == (jnp.float32, jnp.bfloat16):
        y = lax.platform_dependent(x, w, cpu=_product, default=_product_of_parts)
    else:
        y = _product(x, w)
    return y if bias is None else y + bias


def _product(x: jax.Array, w: jax.Array) -> jax.Array:
    dims = ((x.ndim - 1,), (1,)), ((), ())
    wide = jnp.promote_types(x.dtype, w.dtype)
    how = {"precision": lax.Precision.HIGHEST, "preferred_element_type": x.dtype}
    return lax.dot_general(x.astype(wide), w.astype(wide), dims, **how)


def _product_of_parts(x: jax.Array, w: jax.Array) -> jax.Array:
    """The product with weights of bfloat16 that are never widened: x is split into three numbers of
    bfloat16, which together hold a float32."""
    parts, rest = [], x
    for _ in range(3):
        part = lax.reduce_precision(rest, 8, 7)  # a cast to and fro is optimised away
        parts.append(part.astype(jnp.bfloat16))
        rest = rest - part
    dims = ((x.ndim,), (1,)), ((), ())
    y = lax.dot_general(jnp.stack(parts), w, dims, preferred_element_type=jnp.float32)
    return y[0] + (y[1] + y[2])


@functools.lru_cache
def _float_rows_dot(isa: int):
    """(x [rows, in], w, bias or None) -> [rows, out]"""

    def native(x: jax.Array, w: jax.Array, bias: jax.Array | None) -> jax.Array:
        y = jax.ShapeDtypeStruct((x.shape[0], w.shape[0]), jnp.float32)
        return library.call("int8_float_dot", y, x, w, bias, isa=isa)

    return jax.jit(with_plain(native, _plain_dot))


def _suits_native(rows: int, x: jax.Array, w: jax.Array, bias: jax.Array | None) -> bool:
    floats = all(a is None or a.dtype == jnp.float32 for a in (x, bias))
    floats &= w.dtype in (jnp.float32, jnp.bfloat16)
    return rows > 0 and w.ndim == 2 and floats and resolve_backend() == "native"


def dot(
    x: jax.Array,
    w: jax.Array | QTensor,
    bias: jax.Array | None = None,
    *,
    backend: str | None = None,
) -> jax.Array:
    """x [..., in] times the transpose of w [out, in], plus bias [out] -> [..., out].

    An array w is a float product; one of bfloat16 is widened, whatever x is. A QTensor quantises
    x: each row in spans of columns (qtensor.span_of) by their largest magnitude; a row with an
    infinity or NaN gives NaN in that row alone. `backend` overrides set_backend for QTensors.
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
