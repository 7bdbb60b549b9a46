"""layer_norm(x): one native call where there is one, since XLA:CPU makes six operations of it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from int8 import library
from int8.backend import resolve_backend
from int8.fallback import with_plain


def _plain(x: Array, scale: Array | None, bias: Array | None, *, eps: float) -> Array:
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    x = (x - mean) * jax.lax.rsqrt(var + eps)
    return x if scale is None else x * scale + bias


@functools.lru_cache
def _native(eps: float, isa: int):
    """The norm of rows [N, C]. Jitted so that a model traces and lowers each shape once."""

    def native(x: Array, scale: Array | None, bias: Array | None) -> Array:
        library.load()
        given = [jnp.zeros(0, jnp.float32) if a is None else a for a in (scale, bias)]
        call = jax.ffi.ffi_call("int8_norm", jax.ShapeDtypeStruct(x.shape, x.dtype))
        return call(x, *given, eps=np.float32(eps), isa=np.int32(isa))

    return jax.jit(with_plain(native, functools.partial(_plain, eps=eps)))


def layer_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, eps: float
) -> Array:
    """x [..., C] with the mean taken off and divided by the standard deviation of its last axis;
    times scale [C] plus bias [C], both or neither."""
    floats = all(a is None or a.dtype == jnp.float32 for a in (x, scale, bias))
    if not (floats and x.size and resolve_backend(quiet=True) == "native"):
        return _plain(x, scale, bias, eps=eps)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return _native(eps, library.forced_isa())(rows, scale, bias).reshape(x.shape)
