"""The codec's cache: the last entries of each row, of constant size, with nothing pinned."""

import jax.numpy as jnp
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.attention import Slots, attend_in_place
from ptts_jax.model.caches import rows

EMPTY = -1  # position of a slot that holds nothing


@pytree.dataclass
class WindowCache:
    """Keeps the last `context - 1` entries."""

    k: tuple[Array, ...]  # per layer [B * H, W, D]
    v: tuple[Array, ...]  # per layer [B * H, W, D]
    pos: Array  # [B, W] int32

    @classmethod
    def init(cls, layers: int, batch: int, heads: int, context: int, width: int) -> "WindowCache":
        shape = rows.Shape(layers, heads, width, batch, context - 1)
        pos = jnp.full((batch, context - 1), EMPTY, jnp.int32)
        return cls(rows.empty(shape), rows.empty(shape), pos)

    def open(self, positions: Array) -> "WindowCache":
        return self.replace(pos=jnp.concatenate([self.pos, positions], axis=1))  # [B, W + T]

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "WindowCache"]:
        (batch, new), before = positions.shape, self.k[layer].shape[1]
        room = ((0, 0), (0, new), (0, 0))
        grown = (jnp.pad(a[layer], room) for a in (self.k, self.v))  # [B * H, W + T, D]
        slot = jnp.broadcast_to(before + jnp.arange(new, dtype=jnp.int32), (batch, new))
        row = jnp.zeros(batch, jnp.int32)
        where = Slots(self.pos, positions, slot, row + before + new, row)
        out, k, v = attend_in_place(q, k, v, *grown, *where, window=before + 1)
        k, v = rows.put(self.k, layer, k[:, new:]), rows.put(self.v, layer, v[:, new:])
        return out, self.replace(k=k, v=v)

    def close(self, positions: Array) -> "WindowCache":
        return self.replace(pos=self.pos[:, positions.shape[1] :])
