"""A causal convolution with all that surrounds it, as a custom call of the native library.

Neither differentiates nor vectorises: whoever needs that has a plain form beside it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from int8 import library


def conv(
    x: Array,
    past: Array,
    w: Array,
    bias: Array | None,
    add: Array | None,
    *,
    stride: int = 1,
    dilation: int = 1,
    phases: int = 1,
    elu: bool = False,
    isa: int = 0,
) -> tuple[Array, Array]:
    """x [B, T, Cin], the inputs before it [B, memory, Cin] -> (y, next past).

    w [K, Cin, N] is float32 or bfloat16, the rest float32; memory is (K - 1) * dilation + 1 -
    stride; y is [B, T / stride * phases, N / phases]. `elu` activates x, not past, which was;
    `bias` is repeated along N; `add`, of y's shape, is added to it and gives its memory, if it can.
    Raises BuildError.
    """
    library.load()
    batch, time, _ = x.shape
    none = jnp.zeros(0, jnp.float32)
    y = jax.ShapeDtypeStruct((batch, time // stride * phases, w.shape[2] // phases), jnp.float32)
    results = (y, jax.ShapeDtypeStruct(past.shape, jnp.float32))
    aliases = None if add is None else {4: 0}  # y takes the place of what it is added to
    call = jax.ffi.ffi_call("int8_conv", results, input_output_aliases=aliases)
    given = [none if a is None else a for a in (bias, add)]
    attributes = {"stride": stride, "dilation": dilation, "elu": elu, "isa": isa}
    return tuple(call(x, past, w, *given, **{k: np.int32(v) for k, v in attributes.items()}))
