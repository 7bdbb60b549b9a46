"""conv(x, past, w, ...): the one causal convolution, with its activation, bias and residual.

Knows shapes; the native way is native_conv.py's, the plain one is XLA's. They agree to rounding.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

from int8 import library, native_conv
from int8.backend import resolve_backend


def elu(x: Array) -> Array:
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0.0)) - 1.0)


def _plain(
    x: Array,
    past: Array,
    w: Array,
    bias: Array | None,
    add: Array | None,
    *,
    stride: int,
    dilation: int,
    activate: bool,
) -> tuple[Array, Array]:
    full = jnp.concatenate([past, elu(x) if activate else x], axis=1)
    y = lax.conv_general_dilated(
        full,
        w.astype(x.dtype),
        window_strides=(stride,),
        padding="VALID",
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    if bias is not None:
        y = y + jnp.tile(bias, w.shape[2] // bias.shape[0])
    if add is not None:
        y = y + add
    return y, full[:, full.shape[1] - past.shape[1] :]


@functools.lru_cache
def _native(stride: int, dilation: int, activate: bool, isa: int):
    """The native convolution; the plain one where it is mapped by vmap or differentiated."""
    plain = functools.partial(_plain, stride=stride, dilation=dilation, activate=activate)

    @custom_vmap
    def run(x, past, w, bias, add):
        return native_conv.conv(
            x, past, w, bias, add, stride=stride, dilation=dilation, elu=activate, isa=isa
        )

    @run.def_vmap
    def _batched(size, mapped, *args):
        del size
        axes = tuple(0 if m is True else None for m in mapped)
        return jax.vmap(plain, axes)(*args), (True, True)

    differentiable = jax.custom_jvp(run)
    differentiable.defjvp(functools.partial(jax.jvp, plain))
    return jax.jit(differentiable)


def conv(
    x: Array,
    past: Array,
    w: Array,
    bias: Array | None = None,
    add: Array | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    activate: bool = False,
) -> tuple[Array, Array]:
    """x [B, T, Cin] after the inputs `past` [B, memory, Cin] -> (y [B, T / stride, N], next past).

    w [K, Cin, N] is float32 or bfloat16; memory is (K - 1) * dilation + 1 - stride. `activate`
    puts x through ELU, which past already is; `bias` is repeated along N; `add` is added to y.
    """
    floats = all(a is None or a.dtype == jnp.float32 for a in (x, past, bias, add))
    floats &= w.dtype in (jnp.float32, jnp.bfloat16)
    whole = x.shape[1] >= stride and x.shape[1] % stride == 0
    if floats and whole and resolve_backend(quiet=True) == "native":
        return _native(stride, dilation, activate, library.forced_isa())(x, past, w, bias, add)
    return _plain(x, past, w, bias, add, stride=stride, dilation=dilation, activate=activate)
