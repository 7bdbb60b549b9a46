"""Causal convolutions over [B, T, C] as `(x, state) -> (y, state)`.

A transposed convolution whose kernel is twice its stride is a causal two-tap convolution into
`stride` phases, so both kinds keep the same state: the inputs that later outputs still need.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from int8 import QTensor, conv, dot, elu
from ptts_jax.model.conv_spec import ConvSpec, ConvState
from ptts_jax.model.layers import parameter


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
            y, past = conv(x, past, w, b, add, **how, activate=activate, filtered=s.filtered)
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
