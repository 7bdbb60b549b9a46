"""The full cache with keys and values rounded to bfloat16: half the memory, half to read."""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp

from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Prompt, Shape


class BFloat16Cache:
    """Makes full caches of bfloat16, whatever the model would have chosen."""

    slots_for = FullCache.slots_for

    @classmethod
    def init(cls, shape: Shape) -> FullCache:
        return FullCache.init(replace(shape, dtype=jnp.bfloat16))

    @classmethod
    def from_voices(cls, shape: Shape, voices: Sequence[Prompt]) -> FullCache:
        return FullCache.from_voices(replace(shape, dtype=jnp.bfloat16), voices)
