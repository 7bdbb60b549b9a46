"""The language model's forward pass as it trains fastest on a CPU, without a second model.

Intercepts the model's own layers while they are traced: products have a gradient that XLA:CPU does
well (its own transposes both operands first) and may be in bf16; a barrier after every block keeps
XLA from computing the sum over the residual stream anew in every place that needs it. The numbers
are the same, but for bf16's rounding. Not for what is differentiated forwards (jvp): the head.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from ptts_jax.model.layers import Linear
from ptts_jax.model.transformer import Block


def fast(bf16: bool) -> AbstractContextManager:
    """Models applied inside are traced so."""
    return nn.intercept_methods(partial(_intercept, bf16))


def _intercept(
    bf16: bool, call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
) -> Any:
    module = context.module
    if isinstance(module, Block):
        return lax.optimization_barrier(call(*args, **kwargs))
    if isinstance(module, Linear) and module.has_variable("params", "w") and args[0].ndim == 3:
        y = product(bf16, args[0], module.get_variable("params", "w"))
        return y + module.get_variable("params", "b") if module.bias else y
    return call(*args, **kwargs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(bf16: bool, x: Array, w: Array) -> Array:
    """x [B, T, in] times the transpose of w [out, in]."""
    return _forward(bf16, x, w)[0]


def _dot(x: Array, y: Array, axes: tuple[tuple[int, ...], tuple[int, ...]]) -> Array:
    return lax.dot_general(x, y, (axes, ((), ())), preferred_element_type=jnp.float32)


def _forward(bf16: bool, x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    if bf16:
        x, w = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    return _dot(x, w, ((2,), (1,))), (x, w)


def _backward(bf16: bool, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = kept
    g = g.astype(jnp.bfloat16) if bf16 else g
    return _dot(g, w, ((2,), (0,))), _dot(g, x, ((0, 1), (0, 1)))


product.defvjp(_forward, _backward)
