"""How a tensor of ours is made of the reference's tensors, and back.

Every layout only moves elements, so both directions are exact. Knows shapes, no names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Layout:
    read: Callable[[Sequence[Array]], Array]  # the reference's tensors -> ours
    write: Callable[[Array], list[Array]]  # ours -> the reference's tensors


SAME = Layout(lambda sources: sources[0], lambda x: [x])

# [out, in, K] <-> [K, in, out]
CONV = Layout(lambda sources: sources[0].transpose(2, 1, 0), lambda x: [x.transpose(2, 1, 0)])

# A convolution over one sample is a linear map: [out, in, 1] <-> [out, in]
POINTWISE = Layout(lambda sources: sources[0][:, :, 0], lambda x: [x[:, :, None]])

# [1, 1, d] <-> [d]
VECTOR = Layout(lambda sources: sources[0].reshape(-1), lambda x: [x[None, None]])


def _read_depthwise(sources: Sequence[Array]) -> Array:
    channels, _, kernel = sources[0].shape
    halves = sources[0].reshape(channels, 2, kernel // 2)
    return halves[:, ::-1].transpose(1, 2, 0)


def _write_depthwise(x: Array) -> list[Array]:
    _, stride, channels = x.shape
    return [x.transpose(2, 0, 1)[:, ::-1].reshape(channels, 1, 2 * stride)]


# [C, 1, 2S] <-> [2, S, C]: the second half of the kernel reaches back to the previous input.
DEPTHWISE = Layout(_read_depthwise, _write_depthwise)


def transposed(out: int) -> Layout:
    """[in, out, 2S] <-> [2, in, S*out]; phases are outermost in the last axis."""

    def read(sources: Sequence[Array]) -> Array:
        width, _, kernel = sources[0].shape
        stride = kernel // 2
        halves = sources[0].reshape(width, out, 2, stride)[:, :, ::-1]
        return halves.transpose(2, 0, 3, 1).reshape(2, width, stride * out)

    def write(x: Array) -> list[Array]:
        _, width, columns = x.shape
        stride = columns // out
        halves = x.reshape(2, width, stride, out)[::-1]
        return [halves.transpose(1, 3, 0, 2).reshape(width, out, 2 * stride)]

    return Layout(read, write)


def stacked(parts: Sequence[int]) -> Layout:
    """Several tensors one after the other along their first axis, in these proportions."""
    ends = np.cumsum(parts)

    def write(x: Array) -> list[Array]:
        unit = x.shape[0] // int(ends[-1])
        return np.split(x, [int(end) * unit for end in ends[:-1]])

    return Layout(np.concatenate, write)
