"""The flow language model: embeddings of text, voice and latents, the backbone, the EOS logit.

Functions of (params, config, input). One sequence reads
[voice BOS] [voice latents] [text] [BOS latent, then every latent fed back].
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ptts_jax.model import head
from ptts_jax.model.caches.shapes import cache_shape as cache_shape  # for whoever calls `backbone`
from ptts_jax.model.caches.shapes import new_cache
from ptts_jax.model.config import FlowLMConfig, LookupTable
from ptts_jax.model.layers import LayerNorm, Linear, parameter
from ptts_jax.model.pytree import Params
from ptts_jax.model.transformer import Cache, Transformer


class TextTable(nn.Module):
    config: LookupTable

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """[B, T] -> [B, T, d]"""
        c = self.config
        shape = (c.n_bins + 1, c.rank or c.dim)  # the last row is padding
        x = parameter(self, "table", nn.initializers.normal(1.0), shape)[tokens]
        x = x.astype(jnp.float32)
        return x if c.rank is None else Linear(c.dim, bias=False, name="proj")(x)


class Backbone(nn.Module):
    config: FlowLMConfig

    @nn.compact
    def __call__(self, x: Array, cache: Cache, positions: Array) -> tuple[Array, Cache]:
        """[B, T, d] -> [B, T, z]"""
        c = self.config
        x, cache = Transformer(c.transformer, name="layers")(x, cache, positions)
        x = LayerNorm(name="norm")(x)
        if c.z_dim is not None:
            x = Linear(c.z_dim, bias=False, name="z_proj")(x)
        return x, cache


def embed_text(params: Params, c: FlowLMConfig, tokens: Array) -> Array:
    return TextTable(c.lookup_table).apply({"params": params["text"]}, tokens)


def embed_voice(params: Params, c: FlowLMConfig, latents: Array) -> Array:
    """Codec latents [B, T, inner] -> [B, T(+1), d]"""
    x = _linear(params["speaker"], latents)
    if c.insert_bos_before_voice:
        first = jnp.broadcast_to(params["bos_voice"], (x.shape[0], 1, x.shape[2]))
        x = jnp.concatenate([first, x], axis=1)
    return x


def embed_latent(params: Params, latents: Array) -> Array:
    """[B, T, latent] -> [B, T, d]"""
    return _linear(params["input"], latents)


def backbone(
    params: Params, c: FlowLMConfig, x: Array, cache: Cache, positions: Array
) -> tuple[Array, Cache]:
    return Backbone(c).apply({"params": params["backbone"]}, x, cache, positions)


def eos_logit(params: Params, z: Array) -> Array:
    """[..., z] -> [...]"""
    return _linear(params["eos"], z)[..., 0]


def _linear(params: Params, x: Array) -> Array:
    module = Linear(params["w"].shape[0], bias="b" in params)
    return module.apply({"params": params}, x)


def init(key: Array, c: FlowLMConfig, latent_dim: int, voice_dim: int) -> Params:
    """Fresh parameters, for training."""
    keys = iter(jax.random.split(key, 8))
    d, z_dim = c.transformer.d_model, c.z_dim or c.transformer.d_model
    positions = jnp.zeros((1, 1), jnp.int32)

    def linear(features: int, width: int, bias: bool = False) -> Params:
        return Linear(features, bias).init(next(keys), jnp.zeros((1, width)))["params"]

    params = {
        "text": TextTable(c.lookup_table).init(next(keys), positions)["params"],
        "speaker": linear(d, voice_dim),
        "input": linear(d, latent_dim, bias=bool(c.input_bias)),
        "bos": jax.random.normal(next(keys), (latent_dim,)),
        "mean": jnp.zeros((latent_dim,)),
        "std": jnp.ones((latent_dim,)),
        "backbone": Backbone(c).init(
            next(keys), jnp.zeros((1, 1, d)), new_cache(c, 1, 1), positions
        )["params"],
        "eos": linear(1, z_dim, bias=True),
        "head": head.init(next(keys), c.flow, z_dim, latent_dim),
    }
    if c.insert_bos_before_voice:
        params["bos_voice"] = jax.random.normal(next(keys), (d,))
    return params
