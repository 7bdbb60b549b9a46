"""Training for int8: the forward pass is the quantised one, the gradient that of the float product.

What is quantised is the default choice of `ptts_jax.store.quantization`: attention and feed-forward
layers of the language model. Both weights and activations are rounded, by the code that generates.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
from jax import Array

from int8 import can_quantize, dot, quantize
from ptts_jax.model.layers import Linear
from ptts_jax.train.lm.products import product

QUANTIZED = ("in_proj", "out_proj", "up", "down")  # of every block


def rounded() -> AbstractContextManager:
    """Models applied inside multiply as their int8 form does."""
    return nn.intercept_methods(_intercept)


def _intercept(
    call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
) -> Any:
    module = context.module
    if (
        isinstance(module, Linear)
        and module.name in QUANTIZED
        and module.has_variable("params", "w")
    ):
        w = module.get_variable("params", "w")
        if can_quantize(w.shape):
            return straight_through(args[0], w)
    return call(*args, **kwargs)


def straight_through(x: Array, w: Array) -> Array:
    """The int8 product of x [B, T, in] and w [out, in], with the float product's gradient."""
    plain = product(False, x, w)
    fixed_x, fixed_w, fixed = jax.lax.stop_gradient((x, w, plain))
    return plain + (dot(fixed_x, quantize(fixed_w), backend="xla") - fixed)
