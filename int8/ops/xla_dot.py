"""The quantised product in plain XLA: for machines without a compiler, and for other devices.

The forms are what XLA:CPU runs best. A signed 8-bit dot_general reaches its packed int8 kernels
only from two rows on (for one row it widens the weights to 32 bits at every call, twenty times
slower), so a single row becomes a row for each span of columns, zero elsewhere: no weight is
copied. Several rows go span by span in a loop, as fast as unrolled; a product batched over the
spans would transpose the weights, at two to three times the cost.
"""

import jax
import jax.numpy as jnp
from jax import lax

from int8.qtensor import LARGEST, QTensor, halves, quantize_rows, span_of


def quantize_activations(
    x: jax.Array, group_size: int | None = None, bits: int = 8
) -> tuple[jax.Array, jax.Array]:
    """int8 or int16 values [rows, in], and a scale for each row and span of columns [rows, spans].

    A span with an infinity or NaN gets zeros and a NaN scale: its row's products are all NaN.
    """
    rows, size = x.shape
    span = min(span_of(size, group_size, bits), size)
    spans = -(-size // span)
    x = jnp.pad(x, ((0, 0), (0, spans * span - size))).reshape(rows, spans, span)
    q, scale = quantize_rows(x, LARGEST[max(bits, 8)])
    finite = jnp.isfinite(jnp.max(jnp.abs(x), axis=-1))
    q = jnp.where(finite[..., None], q, 0.0).astype(jnp.int16 if bits == 16 else jnp.int8)
    return q.reshape(rows, spans * span)[:, :size], jnp.where(finite, scale, jnp.nan)


def _integer_dot(q: jax.Array, w: jax.Array) -> jax.Array:
    dims = (((1,), (1,)), ((), ()))
    return lax.dot_general(q, w, dims, preferred_element_type=jnp.int32)  # [rows, out]


def _group_dot(q: jax.Array, w: jax.Array, groups: int) -> jax.Array:
    q, w = (a.reshape(a.shape[0], groups, -1) for a in (q, w))
    dims = (((2,), (2,)), ((1,), (1,)))
    return lax.dot_general(w, q, dims, preferred_element_type=jnp.int32)  # [groups, out, rows]


def _channel_dot(parts: list[tuple[jax.Array, jax.Array]], span: int, x_scale: jax.Array):
    """The sum over spans of exact products times their scales; each part holds `span` columns of
    every span. -> [rows, out]"""
    rows, spans = x_scale.shape
    if rows == 1:
        row = jnp.arange(max(spans, 2))[:, None]
        own = lambda q: jnp.where(jnp.arange(q.shape[1]) // span == row, q, jnp.int8(0))  # noqa: E731
        acc = sum(_integer_dot(own(q), w) for q, w in parts)[:spans]
        return jnp.sum(acc.astype(jnp.float32) * x_scale.T, axis=0, keepdims=True)

    def add(s: jax.Array | int, y: jax.Array, width: int) -> jax.Array:
        at = [[lax.dynamic_slice_in_dim(a, s * span, width, 1) for a in part] for part in parts]
        acc = sum(_integer_dot(q, w) for q, w in at)
        return y + acc.astype(jnp.float32) * lax.dynamic_slice_in_dim(x_scale, s, 1, 1)

    y = jnp.zeros((rows, parts[0][1].shape[0]))
    whole, rest = divmod(parts[0][0].shape[1], span)
    if whole > 1:
        y = lax.fori_loop(0, whole, lambda s, y: add(s, y, span), y)
    elif whole:
        y = add(0, y, span)
    return add(whole, y, rest) if rest else y


def _float_dot(x: jax.Array, w: QTensor) -> jax.Array:
    """The sum of integers of 16 bits in floats, which hold all but the last bits of it."""
    q, x_scale = quantize_activations(x, bits=16)
    scale = jnp.repeat(x_scale, span_of(x.shape[1], bits=16), axis=1)[:, : x.shape[1]]
    dims = (((1,), (1,)), ((), ()))
    how = {"precision": lax.Precision.HIGHEST, "preferred_element_type": jnp.float32}
    return lax.dot_general(q * scale, w.qvalue.astype(jnp.float32), dims, **how)


def dot(x: jax.Array, w: QTensor, bias: jax.Array | None) -> jax.Array:
    """x [rows, in] float32 by w [out, in] -> [rows, out] float32."""
    if w.bits == 16:
        y = _float_dot(x, w) * w.scale
        return y if bias is None else y + bias
    rows = x.shape[0]
    q, x_scale = quantize_activations(x, w.group_size)
    if w.bits == 8:
        parts = [(q, w.qvalue)]
    else:  # sums do not care for the order of columns: no need to weave the halves together
        even, odd = halves(w.qvalue)
        parts = [(q[:, 0::2], even), (q[:, 1::2], odd)]
    if w.group_size is None:
        y = _channel_dot(parts, span_of(w.shape[-1]) * w.bits // 8, x_scale) * w.scale
    else:
        if rows == 1:
            parts = [(jnp.concatenate([qp, jnp.zeros_like(qp)]), wp) for qp, wp in parts]
        groups = w.scale.shape[-1]
        acc = sum(_group_dot(qp, wp, groups) for qp, wp in parts)[..., :rows]
        weighted = acc.astype(jnp.float32) * x_scale.T[:, None]
        y = jnp.einsum("gor,og->ro", weighted, w.scale, precision="highest")
    return y if bias is None else y + bias
