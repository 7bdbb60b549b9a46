"""What caches have in common: buffers made of voices, and rows that come and go.

Every leaf of such a cache has the batch first: [B, ...], or [B * Hkv, ...].
"""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ptts_jax.model.caches.protocol import Prompt, Shape

T = TypeVar("T")


def bucket(need: int) -> int:
    """Slots for at least `need` entries: 512, 768, 1024, 1536, ...: each size is a compilation."""
    size = 512  # a voice and a sentence fit: most utterances share one
    while size < need:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return size


def empty(shape: Shape, dtype: Any = None, width: int | None = None) -> tuple[Array, ...]:
    """A buffer of zeros for each layer [B * Hkv, S, D]."""
    size = (shape.batch * shape.heads, shape.slots, width or shape.width)
    return tuple(jnp.zeros(size, dtype or shape.dtype) for _ in range(shape.layers))


def lengths(voices: Sequence[Prompt]) -> np.ndarray:
    """[B] int32: how many entries each voice has."""
    return np.array([voice.k[0].shape[1] for voice in voices], np.int32)


def filled(shape: Shape, layers: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Per layer [B * Hkv, S, D]: keys, or values, of each row's voice in its first slots."""
    buffers = []
    for voices in zip(*layers, strict=True):  # one layer of every voice: [Hkv, L, D]
        buffer = np.zeros((len(voices), shape.heads, shape.slots, shape.width), shape.dtype)
        for row, voice in zip(buffer, voices, strict=True):
            row[:, : voice.shape[1]] = voice
        buffers.append(buffer.reshape(-1, shape.slots, shape.width))
    return tuple(buffers)


def put(items: tuple[Array, ...], index: int, item: Array) -> tuple[Array, ...]:
    """The items with another one at `index`."""
    return (*items[:index], item, *items[index + 1 :])


def insert(tree: T, row: T, slot: Array) -> T:
    """The only row of `row` in the place of row `slot` of `tree`."""

    def place(whole: Array, part: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(whole, part, slot * part.shape[0], 0)

    return jax.tree.map(place, tree, row)


def take(tree: T, slot: Array, batch: int) -> T:
    """A copy of row `slot` of `batch`."""

    def cut(whole: Array) -> Array:
        size = whole.shape[0] // batch
        return lax.dynamic_slice_in_dim(whole, slot * size, size, 0)

    return jax.tree.map(cut, tree)


def read(length: Array, positions: Array) -> Array:
    """How many entries the rows have after a pass: `length` [B] and positions [B, T] -> [B]."""
    return jnp.maximum(length, jnp.max(positions, axis=1) + 1)


class BySlot:
    """What is alike in caches that keep the entry at position p in slot p and forget nothing."""

    length: Array  # [B] int32: the row's entries

    def open(self, positions: Array) -> Self:
        return self

    def close(self, positions: Array) -> Self:
        return self.replace(length=read(self.length, positions))

    def pin(self, positions: Array) -> Self:
        return self

    def insert(self, row: Self, slot: Array) -> Self:
        return insert(self, row, slot)

    def row(self, slot: Array) -> Self:
        return take(self, slot, len(self.length))

    def rewind(self, positions: Array) -> Self:
        return self.replace(length=jnp.minimum(self.length, positions))

    @property
    def positions(self) -> Array:
        return self.length


class Around:
    """What is alike in caches that stand around another one."""

    within: Any  # the cache inside

    def open(self, positions: Array) -> Self:
        return self.replace(within=self.within.open(positions))

    def close(self, positions: Array) -> Self:
        return self.replace(within=self.within.close(positions))

    def pin(self, positions: Array) -> Self:
        return self.replace(within=self.within.pin(positions))

    def rewind(self, positions: Array) -> Self:
        return self.replace(within=self.within.rewind(positions))

    @property
    def positions(self) -> Array:
        return self.within.positions

    @property
    def slots(self) -> int:
        return self.within.slots

    @property
    def dtype(self) -> Any:
        return self.within.dtype
