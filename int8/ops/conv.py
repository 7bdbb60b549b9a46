"""conv(x, past, w, ...): the one causal convolution, with its activation, bias and residual.

Natively where it is compiled for the CPU, by XLA elsewhere; the two agree to rounding.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax

from int8.runtime import library
from int8.runtime.backend import resolve_backend
from int8.runtime.fallback import with_plain


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
    phases: int,
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
        precision=lax.Precision.HIGHEST,
    )
    if bias is not None:
        y = y + jnp.tile(bias, w.shape[2] // bias.shape[0])
    y = y.reshape(len(y), -1, w.shape[2] // phases)
    if add is not None:
        y = y + add
    return y, full[:, full.shape[1] - past.shape[1] :]


@functools.lru_cache
def _native(stride: int, dilation: int, phases: int, activate: bool, filtered: bool, isa: int):
    """Jitted so that a model traces and lowers each shape once."""

    def native(x: Array, past: Array, w: Array, bias: Array | None, add: Array | None):
        outputs = x.shape[1] // stride * phases, w.shape[2] // phases
        y = jax.ShapeDtypeStruct((x.shape[0], *outputs), jnp.float32)
        results = (y, jax.ShapeDtypeStruct(past.shape, jnp.float32))
        aliases = None if add is None else {4: 0}  # y takes the place of what it is added to
        flags = {"elu": int(activate), "filtered": int(filtered)}
        how = {"stride": stride, "dilation": dilation, **flags, "isa": isa}
        args = (x, past, w, bias, add)
        return tuple(library.call("int8_conv", results, *args, aliases=aliases, **how))

    how = {"stride": stride, "dilation": dilation, "phases": phases}
    return jax.jit(with_plain(native, functools.partial(_plain, **how, activate=activate)))


def conv(
    x: Array,
    past: Array,
    w: Array,
    bias: Array | None = None,
    add: Array | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    phases: int = 1,
    activate: bool = False,
    filtered: bool = False,
) -> tuple[Array, Array]:
    """x [B, T, Cin] after the inputs `past` [B, memory, Cin] -> (y, next past).

    w [K, Cin, N] is float32 or bfloat16; memory is (K - 1) * dilation + 1 - stride; y is
    [B, T / stride * phases, N / phases]: the N outputs of a place may be some neighbouring ones of
    fewer channels. `activate` puts x through ELU, which past already is; `bias` is repeated along
    N; `add`, of y's shape, is added to it. `filtered` spares multiplications where a filter is
    known, by making four places of T at once: T is a multiple of four, stride and dilation are 1.
    """
    if filtered and (x.shape[1] % 4 or stride * dilation > 1):
        raise ValueError("conv: `filtered` wants a time of fours, and neither stride nor dilation")
    floats = all(a is None or a.dtype == jnp.float32 for a in (x, past, bias, add))
    floats &= w.dtype in (jnp.float32, jnp.bfloat16)
    whole = x.shape[1] >= stride and x.shape[1] % stride == 0
    if floats and whole and resolve_backend() == "native":
        f = _native(stride, dilation, phases, activate, filtered, library.forced_isa())
        return f(x, past, w, bias, add)
    how = {"stride": stride, "dilation": dilation, "phases": phases}
    return _plain(x, past, w, bias, add, **how, activate=activate)
