"""Causal convolutions over [B, T, C] as `(x, state) -> (y, state)`.

A transposed convolution whose kernel is twice its stride is a causal two-tap convolution into
`stride` phases, so both kinds keep the same state: the inputs that later outputs still need.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax import Array

from int8 import QTensor, conv, dot, elu
from ptts_jax.model.layers import parameter


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
    def __call__(
        self, x: Array, state: ConvState, *, activate: bool = False, add: Array | None = None
    ) -> tuple[Array, ConvState]:
        """`activate` puts x through ELU first, as the state's past is; `add` is a residual."""
        s = self.spec
        w = parameter(self, "w", nn.initializers.lecun_normal(), s.weight_shape)
        b = parameter(self, "b", nn.initializers.zeros, (s.cout,)) if s.bias else None
        past, started = state.past, state.started
        if started is not None:
            first = elu(x[:, :1]) if activate else x[:, :1]
            past = jnp.where(started[:, None, None], past, first)
            started = jnp.ones_like(started)
        if s.depthwise or isinstance(w, QTensor):
            y, past = _by_products(elu(x) if activate else x, past, w, s)
            y = y if b is None else y + b
            y = y if add is None else y + add
        else:
            stride, phases = (1, s.stride) if s.transposed else (s.stride, 1)
            how = {"stride": stride, "dilation": s.dilation, "phases": phases}
            y, past = conv(x, past, w, b, add, **how, activate=activate)
        return y, ConvState(past, started)


def _by_products(x: Array, past: Array, w: Array | QTensor, s: ConvSpec) -> tuple[Array, Array]:
    """What is no plain convolution: y without bias, and the next past."""
    full = jnp.concatenate([past, x], axis=1)
    if s.depthwise:
        y = full[:, :-1, None] * w[0] + full[:, 1:, None] * w[1]  # [B, T, stride, C]
    else:
        y = dot(windows(full, s), w)  # [B, T, Cout], or [B, T, stride * Cout]
    y = y.reshape(len(y), -1, s.cout)  # the phases of a transposed one in a row
    return y, full[:, full.shape[1] - s.memory :]


def windows(full: Array, s: ConvSpec) -> Array:
    """The inputs of each output, tap after tap: [B, T + memory, C] -> [B, T, K * C]."""
    taps, dilation, stride = (2, 1, 1) if s.transposed else (s.kernel, s.dilation, s.stride)
    reach = full.shape[1] - (taps - 1) * dilation  # where the last tap's inputs end
    parts = [full[:, k * dilation : k * dilation + reach : stride] for k in range(taps)]
    return jnp.concatenate(parts, axis=-1)
