"""A native call, and the plain function that stands in for it where the call cannot go.

On the CPU the native call is lowered, on every other platform the plain function: what decides is
the platform that a program is compiled or exported for, not the one on which it is traced.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import custom_vmap
from jax.extend.core import Primitive
from jax.interpreters import mlir

_call = Primitive("int8_call")
_call.multiple_results = True


@_call.def_abstract_eval
def _shapes(*args, native, plain):
    del native
    shapes = jax.eval_shape(plain, *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in args))
    return [jax.core.ShapedArray(s.shape, s.dtype) for s in shapes]


@_call.def_impl
def _at_once(*args, native, plain):
    """Outside of jit, as under jax.disable_jit."""
    with jax.disable_jit(False):
        return jax.jit(functools.partial(_call.bind, native=native, plain=plain))(*args)


def _lowered(ctx, *args, native, plain, on_cpu):
    return mlir.lower_fun(native if on_cpu else plain, multiple_results=True)(ctx, *args)


mlir.register_lowering(_call, functools.partial(_lowered, on_cpu=False))
mlir.register_lowering(_call, functools.partial(_lowered, on_cpu=True), platform="cpu")


def on_cpu(native: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """`native` where it is compiled for the CPU, elsewhere `plain`, of the same arguments and
    results. An argument may be None."""

    def run(*args):
        flat, structure = jax.tree.flatten(args)
        result = jax.tree.structure(jax.eval_shape(plain, *args))

        def flattened(f):
            return lambda *flat: jax.tree.leaves(f(*jax.tree.unflatten(structure, flat)))

        leaves = _call.bind(*flat, native=flattened(native), plain=flattened(plain))
        return jax.tree.unflatten(result, leaves)

    return run


def with_plain(native: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """As `on_cpu`; under vmap and under differentiation `plain` everywhere."""
    run = custom_vmap(on_cpu(native, plain))

    @run.def_vmap
    def _mapped(size, mapped, *args):
        del size
        out = jax.vmap(plain, tuple(0 if m is True else None for m in mapped))(*args)
        return out, jax.tree.map(lambda _: True, out)

    differentiable = jax.custom_jvp(run)
    differentiable.defjvp(functools.partial(jax.jvp, plain))
    return differentiable
