"""The subframes of the vocoder as one custom call: each is a chain of sixteen small products.

What they are and the plain form are the caller's: ptts_jax/model/vocoder.py.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from int8.qtensor import QTensor
from int8.runtime import library
from int8.runtime.backend import resolve_backend
from int8.runtime.fallback import with_plain


@functools.lru_cache
def _native(plain: Callable[..., Any], structure: Any, isa: int):
    """Of the flattened arguments. Jitted so that a model traces and lowers each shape once."""

    @jax.jit
    def leaves(*flat: Array) -> tuple[Array, ...]:
        return tuple(jax.tree.leaves(plain(*jax.tree.unflatten(structure, flat))))

    def native(*flat: Array) -> tuple[Array, ...]:
        return tuple(library.call("int8_vocoder", jax.eval_shape(leaves, *flat), *flat, isa=isa))

    return jax.jit(with_plain(native, leaves)), leaves


def _suits_native(args: tuple[Any, ...]) -> bool:
    """Whether all large weights are integers of 8 bits, a scale for each output."""
    nodes = jax.tree.leaves(args, is_leaf=lambda x: isinstance(x, QTensor))
    tensors = [x for x in nodes if isinstance(x, QTensor)]
    floats = all(x.dtype in (jnp.float32, jnp.int32) for x in nodes if not isinstance(x, QTensor))
    whole = all((x.bits, x.group_size) == (8, None) for x in tensors)
    return len(tensors) == 14 and whole and floats


def subframes(plain: Callable[..., Any], *args: Any) -> Any:
    """plain(params, signal, inputs, grus, last, conditions, periods), natively if params' large
    weights are QTensors. What these are multiplied with is kept in 24 bits: the native form agrees
    with the plain one, which is one of floats, to rounding.
    """
    if not (_suits_native(args) and resolve_backend() == "native"):
        return plain(*args)
    flat, structure = jax.tree.flatten(args)
    f, leaves = _native(plain, structure, library.forced_isa())
    result = jax.tree.structure(jax.eval_shape(plain, *args))
    return jax.tree.unflatten(result, f(*flat))
