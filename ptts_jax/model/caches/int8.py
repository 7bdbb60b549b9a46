"""A cache of 8-bit keys and values with a scale for each entry of each head.

Half the memory of bfloat16. It attends in plain operations, which widen all of it at every step.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.attention import attend, visible, write
from ptts_jax.model.caches import rows
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Prompt, Shape


@pytree.dataclass
class Quantised:
    values: tuple[Array, ...]  # per layer [B * Hkv, S, D] int8
    scales: tuple[Array, ...]  # per layer [B * Hkv, S, 1] float32

    def wide(self, layer: int) -> Array:
        return self.values[layer].astype(jnp.float32) * self.scales[layer]

    def write(self, layer: int, new: Array, slot: Array) -> "Quantised":
        """New entries [B, T, Hkv, D] into the slots [B, T]."""
        pairs = zip((self.values, self.scales), _quantised(new), strict=True)
        return Quantised(*(rows.put(x, layer, write(x[layer], y, slot)) for x, y in pairs))


def _quantised(x: Array) -> tuple[Array, Array]:
    """[..., D] -> int8 [..., D] and its scale [..., 1]"""
    scale = jnp.max(jnp.abs(x), axis=-1, keepdims=True) / 127
    return jnp.round(x / jnp.maximum(scale, 1e-30)).astype(jnp.int8), scale


@pytree.dataclass
class Int8Cache(rows.BySlot):
    k: Quantised
    v: Quantised
    length: Array  # [B] int32: the row's entries

    slots_for = FullCache.slots_for

    @classmethod
    def init(cls, shape: Shape) -> "Int8Cache":
        def none() -> Quantised:
            return Quantised(rows.empty(shape, jnp.int8), rows.empty(shape, jnp.float32, 1))

        return cls(none(), none(), jnp.zeros(shape.batch, jnp.int32))

    @classmethod
    def from_voices(cls, shape: Shape, voices: Sequence[Prompt]) -> "Int8Cache":
        full = FullCache.from_voices(replace(shape, dtype=jnp.float32), voices)
        k, v = (Quantised(*zip(*map(_quantised, x), strict=True)) for x in (full.k, full.v))
        return cls(k, v, full.length)

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "Int8Cache"]:
        cache = self.replace(
            k=self.k.write(layer, k, positions), v=self.v.write(layer, v, positions)
        )
        mask = visible(positions, jnp.arange(self.slots)[None])
        return attend(q, cache.k.wide(layer), cache.v.wide(layer), mask), cache

    @property
    def slots(self) -> int:
        return self.k.values[0].shape[1]

    @property
    def dtype(self) -> Any:
        return self.k.values[0].dtype
