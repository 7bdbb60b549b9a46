"""Products as custom calls of the native library. They neither differentiate nor vectorise."""

import jax
import jax.numpy as jnp
import numpy as np

from int8 import library
from int8.qtensor import QTensor


def dot(x: jax.Array, w: QTensor, bias: jax.Array | None, isa: int = 0) -> jax.Array:
    """x [rows, in] float32 by w [out, in] -> [rows, out] float32. Raises BuildError."""
    library.load()
    rows, out = x.shape[0], w.shape[0]
    call = jax.ffi.ffi_call("int8_dot", jax.ShapeDtypeStruct((rows, out), jnp.float32))
    bias = jnp.zeros(0, jnp.float32) if bias is None else bias
    attributes = {"bits": w.bits, "group": w.group_size or 0, "isa": isa}
    return call(x, w.qvalue, w.scale, bias, **{k: np.int32(v) for k, v in attributes.items()})


def float_dot(x: jax.Array, w: jax.Array, bias: jax.Array | None, isa: int = 0) -> jax.Array:
    """The same with weights in float32 or bfloat16."""
    library.load()
    call = jax.ffi.ffi_call(
        "int8_float_dot", jax.ShapeDtypeStruct((x.shape[0], w.shape[0]), jnp.float32)
    )
    bias = jnp.zeros(0, jnp.float32) if bias is None else bias
    return call(x, w, bias, isa=np.int32(isa))
