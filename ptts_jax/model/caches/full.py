"""A cache that grows along its slots and forgets nothing. The entry at position p is in slot p."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.attention import Slots, attend_in_place
from ptts_jax.model.caches import rows
from ptts_jax.model.caches.protocol import Prompt, Shape


@pytree.dataclass
class FullCache(rows.BySlot):
    k: tuple[Array, ...]  # per layer [B * Hkv, S, D], float32 or bfloat16
    v: tuple[Array, ...]  # per layer [B * Hkv, S, D], alike
    length: Array  # [B] int32: the row's entries

    @classmethod
    def init(cls, shape: Shape) -> "FullCache":
        return cls(rows.empty(shape), rows.empty(shape), jnp.zeros(shape.batch, jnp.int32))

    @classmethod
    def from_voices(cls, shape: Shape, voices: Sequence[Prompt]) -> "FullCache":
        k, v = (rows.filled(shape, [getattr(voice, part) for voice in voices]) for part in "kv")
        # jnp.asarray would be a function to compile.
        return cls(*jax.device_put((k, v, rows.lengths(voices))))

    @classmethod
    def slots_for(cls, fixed: int, frames: int) -> int:
        return rows.bucket(fixed + frames)

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "FullCache"]:
        # A slot behind the entries has a position later than any query: it is not seen.
        pos = jnp.broadcast_to(jnp.arange(self.slots, dtype=jnp.int32), (len(q), self.slots))
        now = rows.read(self.length, positions)
        where = Slots(pos, positions, positions, now, jnp.zeros_like(now))
        out, k, v = attend_in_place(q, k, v, self.k[layer], self.v[layer], *where)
        return out, self.replace(k=rows.put(self.k, layer, k), v=rows.put(self.v, layer, v))

    @property
    def slots(self) -> int:
        return self.k[0].shape[1]

    @property
    def dtype(self) -> Any:
        return self.k[0].dtype

    def entries(self, row: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The keys and the values of a row, per layer [Hkv, L, D]."""
        count, size = int(self.length[row]), self.k[0].shape[0] // len(self.length)

        def of(layers: tuple[Array, ...]) -> list[np.ndarray]:
            return [np.array(x[row * size : (row + 1) * size])[:, :count] for x in layers]

        return of(self.k), of(self.v)
