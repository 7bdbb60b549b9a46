"""A cache whose attention to the text is watched: which word does a frame belong to?

Some heads of a trained model look at the part of the text that is being spoken. Around a cache of
any kind, this one keeps the keys that those heads have of the text, and what their latest query
makes of them. What the cache within does stays as it is, to the last bit.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.caches import rows

Head = tuple[int, int]  # (layer, head)
ROOM = 64  # tokens: texts have room in multiples of it, since each number is a compilation


@pytree.dataclass
class Watched(rows.Around):
    within: Any  # the cache itself
    first: Array  # [B] int32: position of the text's first token
    keys: tuple[Array, ...]  # per watched head [B, N, D]: of the text
    seen: Array  # [B, H, N] logits of the latest query; the slots behind the text mean nothing
    heads: tuple[Head, ...] = pytree.static()

    @classmethod
    def around(cls, cache: Any, heads: tuple[Head, ...], tokens: int, width: int) -> "Watched":
        """A cache whose rows are at the start of their texts, of so many tokens at most."""
        first = jnp.array(cache.positions)  # a buffer of its own, as all of a state are
        batch, room = len(first), -(-tokens // ROOM) * ROOM
        keys = tuple(jnp.zeros((batch, room, width)) for _ in heads)
        return cls(cache, first, keys, jnp.zeros((batch, len(heads), room)), heads)

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "Watched"]:
        out, within = self.within.attend(layer, q, k, v, positions)
        keys, seen = self.keys, self.seen
        row, now = jnp.arange(len(q)), jnp.argmax(positions, axis=1)  # [B]
        slot = positions - self.first[:, None]
        slot = jnp.where(slot < 0, seen.shape[-1], slot)  # padding goes nowhere
        for i, (where, head) in enumerate(self.heads):
            if where != layer:
                continue
            if q.shape[1] > 1:  # texts are read in blocks; a frame alone is no text
                mine = k[:, :, head * k.shape[2] // q.shape[2]]
                keys = rows.put(keys, i, keys[i].at[row[:, None], slot].set(mine, mode="drop"))
            query = q[row, now, head] * q.shape[3] ** -0.5  # [B, D]
            seen = seen.at[:, i].set(jnp.einsum("bd,bnd->bn", query, keys[i]))
        return out, self.replace(within=within, keys=keys, seen=seen)

    def insert(self, row: "Watched", slot: Array) -> "Watched":
        within = self.within.insert(row.within, slot)
        beside = rows.insert(self.replace(within=None), row.replace(within=None), slot)
        return beside.replace(within=within)

    def row(self, slot: Array) -> "Watched":
        beside = rows.take(self.replace(within=None), slot, len(self.first))
        return beside.replace(within=self.within.row(slot))


def seen(cache: Any) -> Array | None:
    """What the watched heads see of the text [B, H, N]; None where nobody watches."""
    return getattr(cache, "seen", None)
