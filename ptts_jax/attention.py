"""Key/value caches as explicit pytrees, and attention over them.

Two caches share one contract, so a transformer does not know which one it runs on:
`open(positions)` takes note of the positions [B, T] of T new entries (negative: padding),
`attend(layer, q, k, v, positions)` stores a layer's entries, [B, T, Hkv, D], and gives what the
queries q [B, T, H, D] see, like q in shape, beside the new cache,
`close(positions)` moves on. Another cache for research is another class with these three methods:
how it stores and how it attends are its own business.

Buffers are [B * Hkv, S, D]: with batch and heads in one axis the products read exactly the buffer
that the update wrote. Apart, XLA:CPU sees a reshape between the two and copies every cache at every
step (see BUILD.md).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from int8 import library, native_attention, resolve_backend
from int8.fallback import with_plain

EMPTY = -1  # position of a slot that holds nothing


def bucket(need: int) -> int:
    """Slots for at least `need` entries: 512, 768, 1024, 1536, ...: each size is a compilation."""
    size = 512  # a voice and a sentence fit: most utterances share one
    while size < need:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return size


@struct.dataclass
class KVCache:
    """Grows along its slots and forgets nothing: the language model's cache.

    All rows write to the same slots; a row's own history is told by `pos`, so rows of different
    length live side by side and stale entries do no harm.
    """

    k: tuple[Array, ...]  # per layer [B * Hkv, S, D], float32 or bfloat16
    v: tuple[Array, ...]  # per layer [B * Hkv, S, D], alike
    pos: Array  # [B, S] int32: position of the entry in each slot, EMPTY where there is none
    cursor: Array  # [] int32: the next slot to write

    @classmethod
    def init(cls, layers: int, batch: int, heads: int, slots: int, width: int) -> "KVCache":
        def empty() -> tuple[Array, ...]:
            return tuple(jnp.zeros((batch * heads, slots, width)) for _ in range(layers))

        pos = jnp.full((batch, slots), EMPTY, jnp.int32)
        return cls(empty(), empty(), pos, jnp.zeros((), jnp.int32))

    @property
    def slots(self) -> int:
        return self.pos.shape[1]

    @property
    def dtype(self) -> Any:
        return self.k[0].dtype

    def open(self, positions: Array) -> "KVCache":
        return self.replace(pos=lax.dynamic_update_slice(self.pos, positions, (0, self.cursor)))

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "KVCache"]:
        buffers = self.k[layer], self.v[layer]
        out, k, v = attend_in_place(q, k, v, *buffers, self.pos, positions, self.cursor)
        return out, self.replace(k=_put(self.k, layer, k), v=_put(self.v, layer, v))

    def close(self, positions: Array) -> "KVCache":
        # Padding stands on the right, so the next write covers it.
        return self.replace(cursor=self.cursor + jnp.max(jnp.sum(positions >= 0, axis=1)))

    def rewind(self, length: int | Array) -> "KVCache":
        """Back to the first `length` slots; what came later is forgotten, not erased."""
        kept = jnp.arange(self.slots) < length
        return self.replace(
            pos=jnp.where(kept, self.pos, EMPTY), cursor=jnp.asarray(length, jnp.int32)
        )


@struct.dataclass
class WindowCache:
    """Keeps the last `context - 1` entries: the codec's cache, of constant size."""

    k: tuple[Array, ...]  # per layer [B * H, W, D]
    v: tuple[Array, ...]  # per layer [B * H, W, D]
    pos: Array  # [B, W] int32

    @classmethod
    def init(cls, layers: int, batch: int, heads: int, context: int, width: int) -> "WindowCache":
        def empty() -> tuple[Array, ...]:
            return tuple(jnp.zeros((batch * heads, context - 1, width)) for _ in range(layers))

        return cls(empty(), empty(), jnp.full((batch, context - 1), EMPTY, jnp.int32))

    def open(self, positions: Array) -> "WindowCache":
        return self.replace(pos=jnp.concatenate([self.pos, positions], axis=1))  # [B, W + T]

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "WindowCache"]:
        new, kept = q.shape[1], self.k[layer].shape[1]
        room = ((0, 0), (0, new), (0, 0))
        grown = (jnp.pad(a[layer], room) for a in (self.k, self.v))  # [B * H, W + T, D]
        at = jnp.asarray(kept, jnp.int32)
        out, k, v = attend_in_place(q, k, v, *grown, self.pos, positions, at, window=kept + 1)
        cache = self.replace(k=_put(self.k, layer, k[:, new:]), v=_put(self.v, layer, v[:, new:]))
        return out, cache

    def close(self, positions: Array) -> "WindowCache":
        return self.replace(pos=self.pos[:, positions.shape[1] :])


def _put(items: tuple[Array, ...], index: int, item: Array) -> tuple[Array, ...]:
    return (*items[:index], item, *items[index + 1 :])


def _rows(x: Array) -> Array:
    """[B, T, H, D] -> [B * H, T, D]"""
    batch, time, heads, width = x.shape
    return x.swapaxes(1, 2).reshape(batch * heads, time, width)


def visible(query: Array, key: Array, context: int | None = None) -> Array:
    """Causal mask from positions: [B, T] and [B, S] -> [B, T, S]."""
    distance = query[:, :, None] - key[:, None, :]
    mask = (key[:, None, :] >= 0) & (distance >= 0)
    return mask if context is None else mask & (distance < context)


def attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """q [B, T, H, D], k and v [B * Hkv, S, D], mask [B, T, S] -> [B, T, H, D].

    Query heads share keys in groups of G = H / Hkv.
    """
    batch, time, heads, width = q.shape
    rows, slots, _ = k.shape
    q = _rows(q * width**-0.5).reshape(rows, -1, width)  # [B * Hkv, G * T, D]
    logits = lax.dot_general(q, k, (((2,), (2,)), ((0,), (0,))))  # [B * Hkv, G * T, S]
    split = logits.reshape(batch, heads, time, slots)
    # A finite floor: a padding query that sees nothing gives garbage, never NaN.
    logits = jnp.where(mask[:, None], split, -1e30).reshape(logits.shape)
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    out = lax.dot_general(weights, v, (((2,), (1,)), ((0,), (0,))))  # [B * Hkv, G * T, D]
    out = out / weights.sum(-1, keepdims=True)
    return out.reshape(batch, heads, time, width).swapaxes(1, 2)


def attend_in_place(*args: Array, window: int | None = None) -> tuple[Array, Array, Array]:
    """Writes new keys and values into a cache and attends to it: natively where that is possible.

    Arguments and results as of native_attention.attend. The native way reads only the slots that
    are filled, the plain one all there are.
    """
    *given, k, v = (a.dtype for a in args[:5])
    fits = k == v and k in (jnp.float32, jnp.bfloat16)
    if fits and all(d == jnp.float32 for d in given) and resolve_backend(quiet=True) == "native":
        return _native(window, library.forced_isa())(*args)
    return _plain(*args, window=window)


def _plain(
    q: Array,
    k_new: Array,
    v_new: Array,
    k: Array,
    v: Array,
    pos: Array,
    query: Array,
    cursor: Array,
    *,
    window: int | None = None,
) -> tuple[Array, Array, Array]:
    k = lax.dynamic_update_slice(k, _rows(k_new).astype(k.dtype), (0, cursor, 0))
    v = lax.dynamic_update_slice(v, _rows(v_new).astype(v.dtype), (0, cursor, 0))
    seen = (a.astype(q.dtype) for a in (k, v))
    return attend(q, *seen, visible(query, pos, window)), k, v


@functools.lru_cache
def _native(window: int | None, isa: int):
    """Jitted so that a model traces and lowers it once for all layers."""
    native = functools.partial(native_attention.attend, window=window, isa=isa)
    return jax.jit(with_plain(native, functools.partial(_plain, window=window)))
