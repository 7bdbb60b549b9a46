"""The causal transformer: one code for the language model and for both sides of the codec.

Works on whatever cache it is given and knows no positions but those passed in.
"""

from typing import Any

import flax.linen as nn
import jax
from jax import Array

from ptts_jax.model.config import CodecTransformerConfig, TransformerConfig
from ptts_jax.model.layers import LayerNorm, Linear, parameter, rope, rope_angles

Config = TransformerConfig | CodecTransformerConfig
Cache = Any  # whatever has `open`, `attend` and `close` of caches/protocol.py


class Block(nn.Module):
    config: Config
    index: int

    @nn.compact
    def __call__(
        self, x: Array, cache: Cache, positions: Array, angles: Array
    ) -> tuple[Array, Cache]:
        c = self.config
        heads, groups, width = c.num_heads, c.kv_heads, c.head_dim
        split = (heads * width, (heads + groups) * width)
        batch, time, _ = x.shape

        h = LayerNorm(name="norm1")(x)
        h = Linear(split[1] + groups * width, bias=False, name="in_proj")(h)
        qk = rope(h[..., : split[1]].reshape(batch, time, heads + groups, width), angles)
        q, k = qk[:, :, :heads], qk[:, :, heads:]
        v = h[..., split[1] :].reshape(batch, time, groups, width)
        h, cache = cache.attend(self.index, q, k, v, positions)
        h = h.reshape(batch, time, heads * width)
        h = Linear(c.d_model, bias=False, name="out_proj")(h)
        x = x + self._scaled(h, "scale1")

        h = LayerNorm(name="norm2")(x)
        h = jax.nn.gelu(Linear(c.ffn_dim, bias=False, name="up")(h), approximate=True)
        h = Linear(c.d_model, bias=False, name="down")(h)
        return x + self._scaled(h, "scale2"), cache

    def _scaled(self, h: Array, name: str) -> Array:
        scale = self.config.layer_scale
        if scale is None:
            return h
        return h * parameter(self, name, nn.initializers.constant(scale), h.shape[-1:])


class Transformer(nn.Module):
    """x [B, T, d], a cache and positions [B, T] (negative: padding) -> [B, T, d] and the cache."""

    config: Config

    @nn.compact
    def __call__(self, x: Array, cache: Cache, positions: Array) -> tuple[Array, Cache]:
        c = self.config
        angles = rope_angles(positions, c.head_dim, float(c.max_period))
        cache = cache.open(positions)
        for i in range(c.num_layers):
            with jax.named_scope(f"layer_{i}"):
                x, cache = Block(c, i, name=f"layer_{i}")(x, cache, positions, angles)
        return x, cache.close(positions)
