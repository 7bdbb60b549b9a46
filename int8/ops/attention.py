"""Attention over the filled slots of a key/value cache, as a custom call of the native library.

Neither differentiates nor vectorises: whoever needs that has a plain form beside it.
"""

import jax
from jax import Array

from int8.runtime import library

UNBOUNDED = 2**31 - 1


def attend(
    q: Array,
    k_new: Array,
    v_new: Array,
    k: Array,
    v: Array,
    pos: Array,
    query: Array,
    slot: Array,
    filled: Array,
    pinned: Array,
    *,
    window: int | None = None,
    isa: int | None = None,
) -> tuple[Array, Array, Array]:
    """Writes new keys and values into their slots, then attends to what the queries may see.

    q [B, T, H, D], k_new and v_new [B, T, Hkv, D], all float32; k and v [B * Hkv, S, D], both
    float32 or both bfloat16, to which new ones are rounded. All else is int32:
    pos [B, S]: the position of each slot's entry, the new ones included; negative: none;
    query [B, T]: the positions of the queries; negative: padding;
    slot [B, T]: where each new entry goes; outside the cache: nowhere;
    filled [B]: the row's slots from there on are not read;
    pinned [B]: entries at positions below it are seen whatever the window.
    A query sees the `window` positions up to its own. Returns (out [B, T, H, D], k, v); k and v are
    updated in place where nobody else needs what they were. What padding gives is finite, no more.
    Raises BuildError.
    """
    isa = library.forced_isa() if isa is None else isa
    results = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (q, k, v)]
    args = (q, k_new, v_new, k, v, pos, query, slot, filled, pinned)
    how = {"window": window or UNBOUNDED, "isa": isa}
    return tuple(library.call("int8_attend", results, *args, aliases={3: 1, 4: 2}, **how))
