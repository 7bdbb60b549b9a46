"""Attention over the slots of a key/value cache, natively or in plain operations.

Buffers are [B * Hkv, S, D]: with batch and heads in one axis the products read exactly the buffer
that the update wrote. Apart, XLA:CPU sees a reshape between the two and copies every cache at every
step. What a cache must offer is written in caches/protocol.py.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from int8 import resolve_backend
from int8.ops import attention as native
from int8.runtime import library
from int8.runtime.fallback import with_plain

_EXACT = lax.Precision.HIGHEST  # else accelerators round the factors to fewer bits


class Slots(NamedTuple):
    """What is where in a cache, and where T new entries go. All int32."""

    pos: Array  # [B, S]: position of the entry in each slot, those of the new ones too; < 0: none
    query: Array  # [B, T]: positions of the new entries, whose queries attend; < 0: padding
    slot: Array  # [B, T]: where the new entries go; outside the cache: nowhere
    filled: Array  # [B]: the row's slots from there on are not read
    pinned: Array  # [B]: positions below it are seen whatever the window


def visible(
    query: Array, key: Array, window: int | None = None, pinned: Array | None = None
) -> Array:
    """Causal mask from positions: [B, T] and [B, S] -> [B, T, S]."""
    distance = query[:, :, None] - key[:, None, :]
    mask = (key[:, None, :] >= 0) & (distance >= 0)
    if window is None:
        return mask
    near = distance < window
    return mask & (near if pinned is None else near | (key < pinned[:, None])[:, None])


def by_head(x: Array) -> Array:
    """[B, T, H, D] -> [B * H, T, D]"""
    batch, time, heads, width = x.shape
    return x.swapaxes(1, 2).reshape(batch * heads, time, width)


def attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """q [B, T, H, D], k and v [B * Hkv, S, D], mask [B, T, S] -> [B, T, H, D].

    Query heads share keys in groups of G = H / Hkv.
    """
    batch, time, heads, width = q.shape
    rows, slots, _ = k.shape
    q = by_head(q * width**-0.5).reshape(rows, -1, width)  # [B * Hkv, G * T, D]
    logits = lax.dot_general(q, k, (((2,), (2,)), ((0,), (0,))), _EXACT)  # [B * Hkv, G * T, S]
    split = logits.reshape(batch, heads, time, slots)
    # A finite floor: a padding query that sees nothing gives garbage, never NaN.
    logits = jnp.where(mask[:, None], split, -1e30).reshape(logits.shape)
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    out = lax.dot_general(weights, v, (((2,), (1,)), ((0,), (0,))), _EXACT)  # [B * Hkv, G * T, D]
    out = out / weights.sum(-1, keepdims=True)
    return out.reshape(batch, heads, time, width).swapaxes(1, 2)


def write(buffer: Array, new: Array, slot: Array) -> Array:
    """Entries new [B, T, Hkv, D] into the slots [B, T] of a buffer [B * Hkv, S, D]."""
    batch, time, heads, width = new.shape
    row = jnp.broadcast_to(heads * jnp.arange(batch, dtype=slot.dtype)[:, None], slot.shape)
    where = jnp.stack([row, slot], axis=-1).reshape(-1, 2)  # [B * T, 2]
    layout = lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2), inserted_window_dims=(1,), scatter_dims_to_operand_dims=(0, 1)
    )
    new = new.reshape(batch * time, heads, width).astype(buffer.dtype)
    mode = lax.GatherScatterMode.FILL_OR_DROP
    return lax.scatter(buffer, where, new, layout, unique_indices=True, mode=mode)


def attend_in_place(*args: Array, window: int | None = None) -> tuple[Array, Array, Array]:
    """Writes new keys and values into a cache and attends to it: natively where that is possible.

    Arguments (q, k_new, v_new, k, v, *Slots) and results as of int8.ops.attention.attend. The
    native way reads only the slots that are filled, the plain one all there are.
    """
    *given, k, v = (a.dtype for a in args[:5])
    fits = k == v and k in (jnp.float32, jnp.bfloat16)
    if fits and all(d == jnp.float32 for d in given) and resolve_backend() == "native":
        return _native(window, library.forced_isa())(*args)
    return plain(*args, window=window)


def plain(
    q: Array,
    k_new: Array,
    v_new: Array,
    k: Array,
    v: Array,
    *slots: Array,
    window: int | None = None,
) -> tuple[Array, Array, Array]:
    """`attend_in_place` in operations that XLA knows on every platform."""
    where = Slots(*slots)  # how much is filled is a matter of speed: positions say what is there
    k, v = write(k, k_new, where.slot), write(v, v_new, where.slot)
    seen = (a.astype(q.dtype) for a in (k, v))
    return attend(q, *seen, visible(where.query, where.pos, window, where.pinned)), k, v


@functools.lru_cache
def _native(window: int | None, isa: int):
    """Jitted so that a model traces and lowers it once for all layers."""
    call = functools.partial(native.attend, window=window, isa=isa)
    return jax.jit(with_plain(call, functools.partial(plain, window=window)))
