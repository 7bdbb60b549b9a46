"""Attention over the filled slots of a key/value cache, as a custom call of the native library.

Neither differentiates nor vectorises: whoever needs that has a plain form beside it.
"""

import jax
import numpy as np
from jax import Array

from int8 import library

UNBOUNDED = 2**31 - 1


def attend(
    q: Array,
    k_new: Array,
    v_new: Array,
    k: Array,
    v: Array,
    pos: Array,
    query: Array,
    cursor: Array,
    *,
    window: int | None = None,
    isa: int | None = None,
) -> tuple[Array, Array, Array]:
    """Writes new keys and values at slot `cursor`, then attends to all slots up to them.

    q [B, T, H, D], k_new and v_new [B, T, Hkv, D], all float32; k and v [B * Hkv, S, D], both
    float32 or both bfloat16, to which new ones are rounded;
    pos [B, S] int32: the position of each slot's entry, those of the new ones included, negative
    where there is none; query [B, T] int32: the positions of the queries, negative for padding.
    A query sees the `window` positions up to its own. Returns (out [B, T, H, D], k, v); k and v are
    updated in place where nobody else needs what they were. What padding gives is finite, no more.
    Raises BuildError.
    """
    isa = library.forced_isa() if isa is None else isa
    library.load()
    results = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (q, k, v)]
    call = jax.ffi.ffi_call("int8_attend", results, input_output_aliases={3: 1, 4: 2})
    attributes = {"window": np.int32(window or UNBOUNDED), "isa": np.int32(isa)}
    return tuple(call(q, k_new, v_new, k, v, pos, query, cursor, **attributes))
