"""layer_norm(x): one native call where there is one, since XLA:CPU makes six operations of it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from int8.runtime import library
from int8.runtime.backend import resolve_backend
from int8.runtime.fallback import with_plain


def _plain(x: Array, scale: Array | None, bias: Array | None, *, eps: float) -> Array:
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    x = (x - mean) * jax.lax.rsqrt(var + eps)
    return x if scale is None else x * scale + bias


@functools.lru_cache
def _native(eps: float, isa: int):
    """The norm of rows [N, C]. Jitted so that a model traces and lowers each shape once."""

    def native(x: Array, scale: Array | None, bias: Array | None) -> Array:
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return library.call("int8_norm", shape, x, scale, bias, eps=np.float32(eps), isa=isa)

    return jax.jit(with_plain(native, functools.partial(_plain, eps=eps)))


def layer_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, eps: float
) -> Array:
    """x [..., C] with the mean taken off and divided by the standard deviation of its last axis;
    times scale [C] plus bias [C], both or neither."""
    floats = all(a is None or a.dtype == jnp.float32 for a in (x, scale, bias))
    if not (floats and x.size and resolve_backend() == "native"):
        return _plain(x, scale, bias, eps=eps)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return _native(eps, library.forced_isa())(rows, scale, bias).reshape(x.shape)
