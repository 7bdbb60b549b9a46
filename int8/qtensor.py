"""QTensor: a weight matrix held as small integers and float scales, and how floats become one.

Knows the number format only; products live in dot.py. One formula serves NumPy (converting files,
no jax backend) and jax: which one runs follows from the type of the argument.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BITS = (16, 8, 4)  # of 16 only as many are used as exact sums leave room for
GROUP_SIZES = (32, 64, 128)
# So many columns of activations share a scale where the weight has one per channel: fewer in a
# narrow matrix, whose sums average less error away. In native/problem.h, kSpan and its like.
SPAN = 256
LARGEST = {16: 2047, 8: 127, 4: 7}  # integers; activations have as many bits, but at least 8
NARROW = 1024  # columns: what has fewer is narrow
NARROW_SPAN = 64
SPAN_16 = 512  # of 16 bits, whose errors are small, as many as a sum of 32 bits has room for
MAX_IN = 65536  # without groups: as far as the products are tested
# Scales never go below this, so that zero rows, denormals and processors that flush them all agree.
MIN_SCALE = np.float32(2.0**-100)

Array = Any  # np.ndarray or jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QTensor:
    """A quantised [out, in] matrix, used as y = x @ W.T; leading dimensions may stack several."""

    # int8 or int16 [..., out, in]; 4 bits: uint8 [..., out, in / 2], value + 8, even column in the
    # low half
    qvalue: Array
    scale: Array  # float32 [..., out], or [..., out, in / group_size]
    bits: int = dataclasses.field(metadata={"static": True})
    group_size: int | None = dataclasses.field(metadata={"static": True})  # None: one scale per row

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix it stands for."""
        *lead, packed = self.qvalue.shape
        return (*lead, packed * 2 if self.bits == 4 else packed)

    @property
    def nbytes(self) -> int:
        return self.qvalue.nbytes + self.scale.nbytes


def span_of(columns: int, group_size: int | None = None, bits: int = 8) -> int:
    """How many columns of activations share a scale; of a weight with groups, those of a group."""
    return group_size or (SPAN_16 if bits == 16 else NARROW_SPAN if columns < NARROW else SPAN)


def why_not(shape: tuple[int, ...], bits: int = 8, group_size: int | None = None) -> str | None:
    """The reason a matrix of this shape cannot be quantised so, or None if it can."""
    if bits not in BITS:
        return f"bits must be 16, 8 or 4, not {bits}"
    if bits == 16 and group_size is not None:
        return "16 bits have no groups"
    if group_size is not None and group_size not in GROUP_SIZES:
        return f"group_size must be 32, 64, 128 or None, not {group_size}"
    if len(shape) < 2 or 0 in shape:
        return f"shape {shape} is not a matrix [out, in]"
    if group_size and shape[-1] % group_size:
        return f"input size {shape[-1]} is not a multiple of the group size {group_size}"
    if bits == 4 and shape[-1] % 2:
        return f"input size {shape[-1]} is odd and 4-bit values are packed in pairs"
    if group_size is None and shape[-1] > MAX_IN:
        return f"input size {shape[-1]} is over {MAX_IN}: use a group size"
    return None


def can_quantize(shape: tuple[int, ...], bits: int = 8, group_size: int | None = None) -> bool:
    """Whether quantize() takes a matrix of this shape; a policy leaves others in float."""
    return why_not(shape, bits, group_size) is None


def quantize_rows(x: Array, qmax: int) -> tuple[Array, Array]:
    """Symmetric absmax over the last axis, ties to even: integers (held as floats) and scales.

    Spelt with multiplications by reciprocals, in float32: the native kernel rounds exactly alike.
    """
    xp = np if isinstance(x, np.ndarray) else jnp
    absmax = xp.max(xp.abs(x), axis=-1)
    scale = xp.maximum(absmax * np.float32(1.0 / qmax), MIN_SCALE)
    return xp.rint(x * (np.float32(1.0) / scale)[..., None]), scale


def quantize(w: Array, bits: int = 8, group_size: int | None = None) -> QTensor:
    """Quantises a float matrix [..., out, in]: a scale per output channel, or per group of inputs.

    Weights that are not finite are refused (under jit, where values are unknown, nothing is).
    """
    reason = why_not(w.shape, bits, group_size)
    if reason:
        raise ValueError(f"cannot quantise: {reason}")
    xp = np if isinstance(w, np.ndarray) else jnp
    w = w.astype(np.float32)
    if not isinstance(w, jax.core.Tracer) and not bool(xp.isfinite(w).all()):
        raise ValueError("cannot quantise: the weights hold NaN or infinity")
    grouped = w if group_size is None else w.reshape(*w.shape[:-1], -1, group_size)
    q, scale = quantize_rows(grouped, LARGEST[bits])
    return QTensor(packed(q.reshape(w.shape), bits), scale, bits, group_size)


def packed(q: Array, bits: int) -> Array:
    """Integers [..., out, in], held as floats, as a QTensor keeps them."""
    if bits != 4:
        return q.astype(np.int16 if bits == 16 else np.int8)
    nibbles = (q + 8).astype(np.uint8)
    return nibbles[..., 0::2] | (nibbles[..., 1::2] << 4)


def exact(w: np.ndarray) -> QTensor | None:
    """The 8-bit QTensor that stands for w [out, in] to the last bit, if there is one.

    The largest integer of a row need not be 127, as it is in what `quantize` makes.
    """
    w = np.asarray(w, np.float32)
    largest = np.abs(w).max(axis=-1)
    if not np.isfinite(largest).all():
        return None
    scale, todo = np.full(len(w), MIN_SCALE), np.flatnonzero(largest > 0)
    for integer in range(127, 0, -1):
        near = largest[todo] / np.float32(integer)
        sample = w[todo, :32] / near[:, None]
        likely = np.flatnonzero((np.abs(sample - np.rint(sample)) < 1e-3).all(axis=-1))
        found = np.zeros(len(todo), bool)
        for step in (near, np.nextafter(near, 0), np.nextafter(near, np.float32(np.inf))):
            s, rows = step[likely, None], w[todo[likely]]
            same = likely[(np.rint(rows / s) * s == rows).all(axis=-1)]
            scale[todo[same]], found[same] = step[same], True
        todo = todo[~found]
    return (
        None if todo.size else QTensor(np.rint(w / scale[:, None]).astype(np.int8), scale, 8, None)
    )


def halves(qvalue: Array) -> tuple[Array, Array]:
    """The even and the odd columns of packed 4-bit values, as int8."""
    low, high = (qvalue & 15).astype(np.int8), (qvalue >> 4).astype(np.int8)
    return low - np.int8(8), high - np.int8(8)


def dequantize(w: QTensor) -> Array:
    """The float32 matrix that w stands for."""
    xp = np if isinstance(w.qvalue, np.ndarray) else jnp
    q = w.qvalue if w.bits != 4 else xp.stack(halves(w.qvalue), axis=-1).reshape(w.shape)
    q = q.astype(np.float32)
    if w.group_size is None:
        return q * w.scale[..., None]
    grouped = q.reshape(*w.shape[:-1], -1, w.group_size) * w.scale[..., None]
    return grouped.reshape(w.shape)


def dequantized(tree: Any) -> Any:
    """The tree with floats in the place of its QTensors."""
    return jax.tree.map(
        lambda leaf: dequantize(leaf) if isinstance(leaf, QTensor) else leaf,
        tree,
        is_leaf=lambda leaf: isinstance(leaf, QTensor),
    )
