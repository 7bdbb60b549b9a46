"""A cache that keeps the voice, the text and the last frames: its size does not grow with speech.

The entry at position p is in slot p if it is pinned; the others take turns in the slots behind.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.attention import Slots, attend_in_place
from ptts_jax.model.caches import rows
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Prompt, Shape

WINDOW = 128  # frames: about ten seconds
ROOM = 64  # entries of one pass; a query still sees what the last ones of its pass write over


@pytree.dataclass
class RingCache(rows.Around):
    within: FullCache  # its buffers and lengths
    pinned: Array  # [B] int32: positions below it are kept
    window: int = pytree.static()  # frames that a query sees, its own included

    @classmethod
    def init(cls, shape: Shape, window: int = WINDOW) -> "RingCache":
        return cls(FullCache.init(shape), jnp.zeros(shape.batch, jnp.int32), window)

    @classmethod
    def from_voices(
        cls, shape: Shape, voices: Sequence[Prompt], window: int = WINDOW
    ) -> "RingCache":
        full = FullCache.from_voices(shape, voices)
        return cls(full, jnp.array(full.length), window)

    @classmethod
    def slots_for(cls, fixed: int, frames: int, window: int = WINDOW) -> int:
        return rows.bucket(fixed + min(frames, window + ROOM))

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "RingCache"]:
        full, pinned = self.within, self.pinned[:, None]
        around = jnp.maximum(self.slots - pinned, 1)  # [B, 1] slots that are taken in turns
        turn = jnp.where(positions < pinned, positions, pinned + (positions - pinned) % around)
        now = rows.read(full.length, positions)
        slot = jnp.arange(self.slots, dtype=jnp.int32)
        latest = now[:, None] - 1 - (now[:, None] - 1 - slot) % around  # in this slot's turn
        pos = jnp.where(slot < pinned, slot, jnp.where(latest < pinned, -1, latest))
        where = Slots(pos, positions, turn, jnp.minimum(now, self.slots), self.pinned)
        buffers = full.k[layer], full.v[layer]
        out, k, v = attend_in_place(q, k, v, *buffers, *where, window=self.window)
        full = full.replace(k=rows.put(full.k, layer, k), v=rows.put(full.v, layer, v))
        return out, self.replace(within=full)

    def pin(self, positions: Array) -> "RingCache":
        return self.replace(pinned=jnp.asarray(positions, jnp.int32))

    def insert(self, row: "RingCache", slot: Array) -> "RingCache":
        return rows.insert(self, row, slot)

    def row(self, slot: Array) -> "RingCache":
        return rows.take(self, slot, len(self.pinned))

    def rewind(self, positions: Array) -> "RingCache":
        full = self.within.rewind(positions)
        return self.replace(within=full, pinned=jnp.minimum(self.pinned, full.length))
