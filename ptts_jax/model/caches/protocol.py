"""What a key/value cache of the language model must offer: the one place where that is written.

A cache is a pytree of arrays (a `pytree.dataclass`, or one of Flax's). How it stores and how it
attends is its own business: the model, the drivers and the benchmark use what stands here and
nothing else. Rows of a batch are independent: each has its own history, and none sees or delays
another. `full.py` is the simplest one; every cache passes tests/model/test_caches.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclass(frozen=True)
class Shape:
    """What a cache is for."""

    layers: int
    heads: int  # Hkv: of keys and values
    width: int  # D
    batch: int  # B
    slots: int  # S: how much a row must hold; the class's `slots_for` says how many that takes
    dtype: Any = jnp.float32  # of keys and values, unless the cache has its own
    shared: int = 0  # so many first entries, of a voice, are the same in all rows that will come


class Prompt(Protocol):
    """A voice: what the model remembers of it, entries at the positions 0 to L - 1."""

    k: tuple[np.ndarray, ...]  # per layer [Hkv, L, D]
    v: tuple[np.ndarray, ...]  # per layer [Hkv, L, D]


class Cache(Protocol):
    """One transformer pass is `open`, `attend` for each layer in turn, `close`."""

    @classmethod
    def init(cls, shape: Shape) -> "Cache":
        """Rows that remember nothing."""

    @classmethod
    def from_voices(cls, shape: Shape, voices: Sequence[Prompt]) -> "Cache":
        """Rows that begin with a voice each. The voices stay as they are."""

    @classmethod
    def slots_for(cls, fixed: int, frames: int) -> int:
        """Slots that hold a voice and a text of `fixed` entries and so many frames after them."""

    def open(self, positions: Array) -> "Cache":
        """Before a pass over T new entries at `positions` [B, T].

        A row's positions go on from `self.positions`; padding, only ever on the right, is negative
        and leaves no trace. T differs from pass to pass.
        """

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "Cache"]:
        """Stores a layer's new k and v [B, T, Hkv, D]; what the queries q [B, T, H, D] see, like q.

        What padding gives is finite and means nothing.
        """

    def close(self, positions: Array) -> "Cache":
        """After the last layer. The structure, shapes and types are those before `open`."""

    def pin(self, positions: Array) -> "Cache":
        """Entries below `positions` [B], written or still to come, are never to be forgotten.

        They are the voice and the text. A cache that forgets nothing returns itself.
        """

    def insert(self, row: "Cache", slot: Array) -> "Cache":
        """The only row of another cache, of the same class and slots, replaces row `slot`."""

    def row(self, slot: Array) -> "Cache":
        """A copy of one row, as a cache of one row."""

    def rewind(self, positions: Array) -> "Cache":
        """Each row back to its first `positions` [B] entries, or to what it has if that is less.

        Never to the middle of what is not pinned.
        """

    @property
    def positions(self) -> Array:
        """[B] int32: each row's next position, which is how many entries it has read."""

    @property
    def slots(self) -> int:
        """How many slots a row was made with."""

    @property
    def dtype(self) -> Any:
        """Of the keys and values that are stored."""
