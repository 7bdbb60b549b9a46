"""How large the cache of a language model is."""

import jax.numpy as jnp

from int8 import QTensor
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Shape
from ptts_jax.model.config import FlowLMConfig
from ptts_jax.model.pytree import Params


def cache_shape(params: Params, c: FlowLMConfig, batch: int, slots: int, shared: int = 0) -> Shape:
    """The shape of a cache for the model.

    Keys and values are kept in bfloat16 where what makes them is quantised: half the bytes to read
    at every step, for an error below that of the integers. So in XLA's form too, which copies such
    a cache at every step: both forms speak alike.
    """
    quantised = isinstance(params["backbone"]["layers"]["layer_0"]["in_proj"]["w"], QTensor)
    dtype, t = jnp.bfloat16 if quantised else jnp.float32, c.transformer
    return Shape(t.num_layers, t.kv_heads, t.head_dim, batch, slots, dtype, shared)


def new_cache(c: FlowLMConfig, batch: int, slots: int) -> FullCache:
    """Rows that remember nothing yet and will remember everything exactly."""
    t = c.transformer
    return FullCache.init(Shape(t.num_layers, t.kv_heads, t.head_dim, batch, slots))
