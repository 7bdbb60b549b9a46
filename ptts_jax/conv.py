"""Causal convolutions over [B, T, C] as `(x, state) -> (y, state)`.

A transposed convolution whose kernel is twice its stride is a causal two-tap convolution into
`stride` phases, so both kinds keep the same state: the inputs that later outputs still need.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from int8 import QTensor, dot
from ptts_jax.layers import parameter


@dataclass(frozen=True)
class ConvSpec:
    """All that is fixed about one convolution; states and conversion are derived from it too."""

    name: str
    cin: int
    cout: int
    kernel: int = 1
    stride: int = 1  # of a transposed convolution: its upsampling factor
    dilation: int = 1
    bias: bool = True
    transposed: bool = False
    depthwise: bool = False
    replicate: bool = False  # before the first input stands a copy of it, not zeros

    @property
    def memory(self) -> int:
        """How many past inputs the layer keeps."""
        if self.transposed:
            return 1
        return (self.kernel - 1) * self.dilation + 1 - self.stride

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if self.transposed:
            assert self.kernel == 2 * self.stride, "two taps: the kernel is twice the stride"
            if self.depthwise:
                return (2, self.stride, self.cout)
            return (2, self.cin, self.stride * self.cout)
        return (self.kernel, self.cin, self.cout)

    def state(self, batch: int) -> "ConvState":
        started = jnp.zeros((batch,), bool) if self.replicate else None
        return ConvState(jnp.zeros((batch, self.memory, self.cin)), started)


@struct.dataclass
class ConvState:
    past: Array  # [B, memory, Cin]: the last inputs, oldest first
    started: Array | None  # [B] bool, only where the padding replicates the first input


class Conv(nn.Module):
    spec: ConvSpec

    @nn.compact
    def __call__(self, x: Array, state: ConvState) -> tuple[Array, ConvState]:
        s = self.spec
        w = parameter(self, "w", nn.initializers.lecun_normal(), s.weight_shape)
        full, state = _extend(x, state, s.memory)
        if s.depthwise:
            y = full[:, :-1, None] * w[0] + full[:, 1:, None] * w[1]  # [B, T, stride, C]
        elif isinstance(w, QTensor):
            y = dot(_windows(full, s), w)  # [B, T, Cout], or [B, T, stride * Cout]
        else:
            y = lax.conv_general_dilated(
                full,
                w,
                window_strides=(1 if s.transposed else s.stride,),
                padding="VALID",
                rhs_dilation=(s.dilation,),
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
        if s.transposed:
            y = y.reshape(x.shape[0], x.shape[1] * s.stride, s.cout)  # the phases in a row
        if s.bias:
            y = y + parameter(self, "b", nn.initializers.zeros, (s.cout,))
        return y, state


def _windows(full: Array, s: ConvSpec) -> Array:
    """The inputs of each output, tap after tap: [B, T + memory, C] -> [B, T, K * C]."""
    taps, dilation, stride = (2, 1, 1) if s.transposed else (s.kernel, s.dilation, s.stride)
    reach = full.shape[1] - (taps - 1) * dilation  # where the last tap's inputs end
    parts = [full[:, k * dilation : k * dilation + reach : stride] for k in range(taps)]
    return jnp.concatenate(parts, axis=-1)


def _extend(x: Array, state: ConvState, memory: int) -> tuple[Array, ConvState]:
    """Past and new inputs as one, and the state after them."""
    if memory == 0:
        return x, state
    past, started = state.past, state.started
    if started is not None:
        past = jnp.where(started[:, None, None], past, x[:, :1])
        started = jnp.ones_like(started)
    full = jnp.concatenate([past, x], axis=1)
    return full, ConvState(full[:, full.shape[1] - memory :], started)
