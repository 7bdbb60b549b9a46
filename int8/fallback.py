"""A native call, and the plain function that stands in for it where the call cannot go."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import custom_vmap


def with_plain(native: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """`native`; under vmap and under differentiation `plain`, of the same arguments and results.

    An argument may be None.
    """

    @custom_vmap
    def run(*args):
        return native(*args)

    @run.def_vmap
    def _mapped(size, mapped, *args):
        del size
        out = jax.vmap(plain, tuple(0 if m is True else None for m in mapped))(*args)
        return out, jax.tree.map(lambda _: True, out)

    differentiable = jax.custom_jvp(run)
    differentiable.defjvp(functools.partial(jax.jvp, plain))
    return differentiable
