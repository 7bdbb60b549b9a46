"""The quantised product in plain XLA: for machines without a compiler, and for other devices.

The form is what XLA:CPU runs best. A signed 8-bit dot_general reaches its packed int8 kernels only
from two rows on (for one row it widens the weights to 32 bits at every call, twenty times slower),
so a single row gets a row of zeros beside it.
"""

import jax
import jax.numpy as jnp
from jax import lax

from int8.qtensor import QTensor, halves, quantize_rows


def quantize_activations(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Per row: int8 values and scale. A row with an infinity or NaN gets zeros and a NaN scale."""
    q, scale = quantize_rows(x, 127)
    finite = jnp.isfinite(jnp.max(jnp.abs(x), axis=-1))
    q = jnp.where(finite[:, None], q, 0.0).astype(jnp.int8)
    return q, jnp.where(finite, scale, jnp.nan)


def _integer_dot(q: jax.Array, w: jax.Array) -> jax.Array:
    dims = (((1,), (1,)), ((), ()))
    return lax.dot_general(q, w, dims, preferred_element_type=jnp.int32)  # [rows, out]


def _group_dot(q: jax.Array, w: jax.Array, groups: int) -> jax.Array:
    q, w = (a.reshape(a.shape[0], groups, -1) for a in (q, w))
    dims = (((2,), (2,)), ((1,), (1,)))
    return lax.dot_general(w, q, dims, preferred_element_type=jnp.int32)  # [groups, out, rows]


def dot(x: jax.Array, w: QTensor, bias: jax.Array | None) -> jax.Array:
    """x [rows, in] float32 by w [out, in] -> [rows, out] float32."""
    rows = x.shape[0]
    q, x_scale = quantize_activations(x)
    if rows == 1:
        q = jnp.concatenate([q, jnp.zeros_like(q)])
    if w.bits == 8:
        parts = [(q, w.qvalue)]
    else:  # sums do not care for the order of columns: no need to weave the halves together
        even, odd = halves(w.qvalue)
        parts = [(q[:, 0::2], even), (q[:, 1::2], odd)]
    if w.group_size is None:
        acc = sum(_integer_dot(qp, wp) for qp, wp in parts)[:rows]
        y = acc.astype(jnp.float32) * (x_scale[:, None] * w.scale)
    else:
        groups = w.scale.shape[-1]
        acc = sum(_group_dot(qp, wp, groups) for qp, wp in parts)[..., :rows]
        total = jnp.einsum("gor,og->ro", acc.astype(jnp.float32), w.scale, precision="highest")
        y = total * x_scale[:, None]
    return y if bias is None else y + bias
