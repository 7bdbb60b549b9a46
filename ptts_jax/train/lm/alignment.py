"""Attention over whole rows for training, and a guide that pulls it towards the diagonal.

A small autoregressive model finds out late, or never, that the next frame belongs to the next
letter. Speech is nearly diagonal to its text, and a few heads that are told so find the rest.
`RowCache` stands where generation has a cache: same model code, same numbers.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ptts_jax.model import attention
from ptts_jax.model.config import TransformerConfig
from ptts_jax.train.lm import attending

GUIDED_HEADS = 2  # of a guided layer


def guided_layers(c: TransformerConfig) -> tuple[int, ...]:
    """The two in the middle."""
    middle = c.num_layers // 2
    return tuple(sorted({max(middle - 1, 0), middle}))


@struct.dataclass
class RowCache:
    """A cache that holds nothing before its rows and keeps nothing after them.

    Rows may have padding (negative positions) anywhere. Layers in `guided` leave the attention of
    their first heads from `queries` to `keys`, both (start, stop) slots.
    """

    pos: Array  # [B, S] int32
    maps: tuple[Array, ...] = ()  # per guided layer [B, GUIDED_HEADS, queries, keys]
    guided: tuple[int, ...] = struct.field(pytree_node=False, default=())
    queries: tuple[int, int] = struct.field(pytree_node=False, default=(0, 0))
    keys: tuple[int, int] = struct.field(pytree_node=False, default=(0, 0))

    def open(self, positions: Array) -> "RowCache":
        return self.replace(pos=positions)

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "RowCache"]:
        mask = attention.visible(positions, self.pos)  # [B, S, S]
        out = attending.attend(q, k, v, mask)
        if layer not in self.guided:
            return out, self
        first, last = self.queries
        seen = _weights(q[:, first:last, :GUIDED_HEADS], k, mask[:, first:last])
        return out, self.replace(maps=(*self.maps, seen[..., slice(*self.keys)]))

    def close(self, positions: Array) -> "RowCache":
        del positions
        return self


def _weights(q: Array, k: Array, mask: Array) -> Array:
    """The attention of some first heads: q [B, T, G, D], k [B, S, Hkv, D] -> [B, G, T, S]."""
    groups = k.shape[2]
    k = k[:, :, [min(i, groups - 1) for i in range(q.shape[2])]]
    logits = jnp.einsum("btgd,bsgd->bgts", q * q.shape[-1] ** -0.5, k)
    return jax.nn.softmax(jnp.where(mask[:, None], logits, -1e30), axis=-1)


def guide(maps: tuple[Array, ...], tokens: Array, frames: Array, sigma: float) -> Array:
    """How far the attention [B, G, T, N] is from the diagonal: 0 on it, towards 1 far from it.

    `tokens` and `frames` [B] are the rows' own lengths. Attention to anything but the text counts
    as far away.
    """
    _, _, slots, symbols = maps[0].shape
    at = jnp.arange(slots) / jnp.maximum(frames, 1)[:, None]  # [B, T]
    where = (jnp.arange(symbols) + 0.5) / jnp.maximum(tokens, 1)[:, None]  # [B, N]
    near = jnp.exp(-0.5 * jnp.square((where[:, None] - at[:, :, None]) / sigma))  # [B, T, N]
    valid = (jnp.arange(slots) < frames[:, None]) & (tokens > 0)[:, None]  # [B, T]
    far = [1 - jnp.einsum("bgtn,btn->bgt", m, near).mean(1) for m in maps]  # each [B, T]
    return jnp.sum(sum(far) * valid) / (len(maps) * jnp.maximum(valid.sum(), 1))
