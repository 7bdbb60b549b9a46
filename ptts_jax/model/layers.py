"""The small building blocks: linear maps, norms, rotary positions.

Shapes: B batch, T time, S cache slots, H heads, D head width, C channels.
Knows nothing of caches, models or files.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from int8 import dot, layer_norm

Params = dict[str, Any]  # nested, with arrays or QTensors as leaves


def parameter(
    module: nn.Module, name: str, init: Callable[..., Array], shape: tuple[int, ...]
) -> Any:
    """`module.param`, but one that is given is taken as it is.

    It may have been replaced by a quantised one, and comparing shapes would trace every initialiser
    each time the model is traced. Shapes are checked where parameters come in.
    """
    if module.has_variable("params", name):
        return module.get_variable("params", name)
    return module.param(name, init, shape)


def fan_in_normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Truncated normal of std 1/sqrt(fan in); weights are [out, in]."""
    std = shape[-1] ** -0.5
    return std * jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)


class Linear(nn.Module):
    """y = x W^T (+ b), with W laid out [out, in]: the layout a one-row product reads fastest."""

    features: int
    bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        w = parameter(self, "w", fan_in_normal, (self.features, x.shape[-1]))
        b = parameter(self, "b", nn.initializers.zeros, (self.features,)) if self.bias else None
        return dot(x, w, b)


class LayerNorm(nn.Module):
    eps: float = 1e-5
    affine: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if not self.affine:
            return layer_norm(x, eps=self.eps)
        scale = parameter(self, "scale", nn.initializers.ones, x.shape[-1:])
        bias = parameter(self, "bias", nn.initializers.zeros, x.shape[-1:])
        return layer_norm(x, scale, bias, eps=self.eps)


class VarianceNorm(nn.Module):
    """The head's "RMS" norm: no centring, divided by the *unbiased* standard deviation."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        alpha = parameter(self, "alpha", nn.initializers.ones, x.shape[-1:])
        var = jnp.var(x, axis=-1, ddof=1, keepdims=True)
        return x * alpha * jax.lax.rsqrt(self.eps + var)


def rope_angles(positions: Array, head_dim: int, max_period: float) -> Array:
    """What `rope` needs of every position, once for all layers: [B, T] -> [B, T, 1, 2 * D].

    The cosine of each pair, twice, then its sine, negative and positive. One product lays them out:
    XLA:CPU would fuse anything else into each use and compute every sine anew for every head.
    """
    half = head_dim // 2
    freqs = jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-jnp.log(max_period) * 2.0 / head_dim))
    angle = positions.astype(jnp.float32)[..., None, None] * freqs
    layout = np.zeros((2, half, 2, half, 2), np.float32)
    pair = np.arange(half)
    layout[0, pair, 0, pair] = 1, 1
    layout[1, pair, 1, pair] = -1, 1
    table = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    # Exact, or the accelerators' shorter floats would blur the positions.
    return jnp.dot(table, layout.reshape(head_dim, 2 * head_dim), precision="highest")


def rope(x: Array, angles: Array) -> Array:
    """Rotate interleaved pairs of x [B, T, H, D]."""
    cos, sin = jnp.split(angles, 2, axis=-1)  # [B, T, 1, D]
    ends = [(0, 0)] * (x.ndim - 1)
    after = jnp.pad(x[..., 1:], [*ends, (0, 1)])
    before = jnp.pad(x[..., :-1], [*ends, (1, 0)])
    even = np.arange(x.shape[-1]) % 2 == 0
    return x * cos + jnp.where(even, after, before) * sin  # each one with its partner
