"""A cache of blocks that rows share: one copy of a voice for all rows that speak with it.

A row lists its blocks in a table. Whole blocks of a voice carry a fingerprint: who comes with the
same voice uses them. All else is a row's own. It attends in plain operations, to copies of rows.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.attention import attend, visible
from ptts_jax.model.caches import rows
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Prompt, Shape

BLOCK = 32  # entries


@pytree.dataclass
class PagedCache:
    k: tuple[Array, ...]  # per layer [P, Hkv, BLOCK, D]
    v: tuple[Array, ...]  # per layer [P, Hkv, BLOCK, D]
    users: Array  # [P] int32: rows that use the block; 0: it is free
    voice: Array  # [P, 2] int32: the fingerprint of a voice's block, 0 of all others
    table: Array  # [B, N] int32: the row's blocks in order, P where there is none
    length: Array  # [B] int32: the row's entries

    slots_for = FullCache.slots_for

    @classmethod
    def init(cls, shape: Shape) -> "PagedCache":
        each = -(-shape.slots // BLOCK)
        pool = shape.batch * each - (shape.batch - 1) * (shape.shared // BLOCK)
        size = (pool, shape.heads, BLOCK, shape.width)
        k, v = (tuple(jnp.zeros(size, shape.dtype) for _ in range(shape.layers)) for _ in "kv")
        table = jnp.full((shape.batch, each), pool, jnp.int32)
        users, voice = jnp.zeros(pool, jnp.int32), jnp.zeros((pool, 2), jnp.int32)
        return cls(k, v, users, voice, table, jnp.zeros(shape.batch, jnp.int32))

    @classmethod
    def from_voices(cls, shape: Shape, voices: Sequence[Prompt]) -> "PagedCache":
        cache = cls.init(shape)
        for row, voice in enumerate(voices):
            cache = cache.insert(_alone(cls, shape, voice), row)
        return cache

    def open(self, positions: Array) -> "PagedCache":
        wanted = self._starts() < rows.read(self.length, positions)[:, None]
        table, users, voice = self._taken(wanted & (self.table == len(self.users)), self.table)
        return self.replace(table=table, users=users, voice=voice)

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "PagedCache"]:
        block = jnp.take_along_axis(self.table, jnp.maximum(positions, 0) // BLOCK, axis=1)
        block = jnp.where(positions < 0, len(self.users), block)  # [B, T]

        def written(pool: Array, new: Array) -> Array:
            new = new.astype(pool.dtype)
            return pool.at[block, :, positions % BLOCK].set(new, mode="drop")

        def read(pool: Array) -> Array:
            x = jnp.take(pool, self.table, axis=0, mode="clip").swapaxes(1, 2)
            return x.reshape(-1, self.slots, x.shape[-1]).astype(q.dtype)  # [B * Hkv, S, D]

        k, v = written(self.k[layer], k), written(self.v[layer], v)
        mask = visible(positions, jnp.arange(self.slots)[None])
        cache = self.replace(k=rows.put(self.k, layer, k), v=rows.put(self.v, layer, v))
        return attend(q, read(k), read(v), mask), cache

    def close(self, positions: Array) -> "PagedCache":
        return self.replace(length=rows.read(self.length, positions))

    def pin(self, positions: Array) -> "PagedCache":
        return self

    def insert(self, row: "PagedCache", slot: Array) -> "PagedCache":
        gone = jnp.arange(len(self.length)) == slot
        cache = self.rewind(jnp.where(gone, 0, self.length))
        source = row.table[0]  # [N]
        voice = jnp.take(row.voice, source, axis=0, mode="fill", fill_value=0)  # [N, 2]
        same = jnp.all(voice[:, None] == cache.voice, axis=-1) & (cache.users > 0)  # [N, P]
        here = jnp.any(same, axis=1) & jnp.any(voice != 0, axis=1)
        held = jnp.where(here, jnp.argmax(same, axis=1), len(self.users))
        copied = (source < len(row.users)) & ~here
        table, users, voices = cache._taken(gone[:, None] & copied, cache.table.at[slot].set(held))
        users = users.at[held].add(1, mode="drop")
        target = jnp.where(copied, table[slot], len(self.users))

        def placed(pools: Sequence[Array], parts: Sequence[Array]) -> tuple[Array, ...]:
            pairs = zip(pools, parts, strict=True)
            take = lambda part: jnp.take(part, source, axis=0, mode="clip")  # noqa: E731
            return tuple(pool.at[target].set(take(part), mode="drop") for pool, part in pairs)

        voices = voices.at[target].set(voice, mode="drop")
        length = self.length.at[slot].set(row.length[0])
        return PagedCache(
            placed(self.k, row.k), placed(self.v, row.v), users, voices, table, length
        )

    def row(self, slot: Array) -> "PagedCache":
        blocks, each = self.table[slot], self.table.shape[1]
        used = blocks < len(self.users)
        copy = lambda pool: jnp.take(pool, blocks, axis=0, mode="clip")  # noqa: E731
        k, v = (tuple(copy(pool) for pool in pools) for pools in (self.k, self.v))
        voice = jnp.where(used[:, None], copy(self.voice), 0)
        table = jnp.where(used, jnp.arange(each, dtype=jnp.int32), each)[None]
        return PagedCache(k, v, used.astype(jnp.int32), voice, table, self.length[slot][None])

    def rewind(self, positions: Array) -> "PagedCache":
        length, none = jnp.minimum(self.length, positions), len(self.users)
        starts = self._starts()
        dropped = jnp.where(starts >= length[:, None], self.table, none)
        # A voice's block that will be written to becomes the row's own.
        partly = (starts < length[:, None]) & (starts + BLOCK > length[:, None])
        voices = jnp.take(self.voice, self.table, axis=0, mode="fill", fill_value=0)
        shared = partly & jnp.any(voices != 0, axis=-1)  # [B, N]
        before = jnp.where(shared, self.table, none)
        users = self.users.at[dropped].add(-1, mode="drop")
        cache = self.replace(users=users, length=length)
        table = jnp.where(starts >= length[:, None], none, self.table)
        table, users, voice = cache._taken(shared, table)
        users = users.at[before].add(-1, mode="drop")
        target = jnp.where(shared, table, none)

        def own(pool: Array) -> Array:
            return pool.at[target].set(jnp.take(pool, before, axis=0, mode="clip"), mode="drop")

        k, v = (tuple(own(pool) for pool in pools) for pools in (self.k, self.v))
        return cache.replace(k=k, v=v, table=table, users=users, voice=voice)

    def _starts(self) -> Array:
        """The first position of each block of a row: [1, N]."""
        return BLOCK * jnp.arange(self.table.shape[1], dtype=jnp.int32)[None]

    def _taken(self, wanted: Array, table: Array) -> tuple[Array, Array, Array]:
        """Free blocks for the places of a table [B, N] where they are wanted."""
        free = jnp.nonzero(self.users == 0, size=len(self.users), fill_value=len(self.users))[0]
        turn = jnp.cumsum(wanted.reshape(-1)).reshape(wanted.shape) - 1
        taken = jnp.take(free, turn, mode="fill", fill_value=len(self.users)).astype(jnp.int32)
        new = jnp.where(wanted, taken, len(self.users))
        users = self.users.at[new].add(1, mode="drop")
        voice = self.voice.at[new].set(0, mode="drop")
        return jnp.where(wanted, new, table), users, voice

    @property
    def positions(self) -> Array:
        return self.length

    @property
    def slots(self) -> int:
        return self.table.shape[1] * BLOCK

    @property
    def dtype(self) -> Any:
        return self.k[0].dtype


def _alone(cls: type[PagedCache], shape: Shape, voice: Prompt) -> PagedCache:
    """A cache of one row that begins with the voice: its blocks in order."""
    each, length = -(-shape.slots // BLOCK), voice.k[0].shape[1]
    used = -(-length // BLOCK)
    marks = np.zeros((each, 2), np.int32)
    for block in range(length // BLOCK):  # the whole ones
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        mark = blake2b(digest_size=8)
        for layer in (*voice.k, *voice.v):
            mark.update(np.ascontiguousarray(layer[:, part]))
        marks[block] = np.frombuffer(mark.digest(), np.int32)

    def blocks(layers: Sequence[np.ndarray]) -> tuple[Array, ...]:
        out = []
        for layer in layers:  # [Hkv, L, D]
            whole = np.zeros((len(layer), each * BLOCK, layer.shape[2]), shape.dtype)
            whole[:, :length] = layer
            split = whole.reshape(len(layer), each, BLOCK, -1).swapaxes(0, 1)
            out.append(jnp.asarray(np.ascontiguousarray(split)))
        return tuple(out)

    slot = np.arange(each, dtype=np.int32)
    users, table = (slot < used).astype(np.int32), np.where(slot < used, slot, each)[None]
    count = np.array([length], np.int32)
    rest = map(jnp.asarray, (users, marks, table.astype(np.int32), count))
    return cls(blocks(voice.k), blocks(voice.v), *rest)
