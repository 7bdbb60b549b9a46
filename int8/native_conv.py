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
    elu: bool = False,
    isa: int = 0,
) -> tuple[Array, Array]:
    """x [B, T, Cin], the inputs before it [B, memory, Cin] -> (y [B, T / stride, N], next past).

    w [K, Cin, N] is float32 or bfloat16, the rest float32; memory is (K - 1) * dilation + 1 -
    stride. `elu` activates x, not past, which was; `bias` is repeated along N; `add` is added to y.
    Raises BuildError.
    """
    library.load()
    batch, time, _ = x.shape
    none = jnp.zeros(0, jnp.float32)
    y = jax.ShapeDtypeStruct((batch, time // stride, w.shape[2]), jnp.float32)
    call = jax.ffi.ffi_call("int8_conv", (y, jax.ShapeDtypeStruct(past.shape, jnp.float32)))
    given = [none if a is None else a for a in (bias, add)]
    attributes = {"stride": stride, "dilation": dilation, "elu": elu, "isa": isa}
    return tuple(call(x, past, w, *given, **{k: np.int32(v) for k, v in attributes.items()}))
