"""What is fixed about a convolution, and what it keeps between two calls; conv.py computes it."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ptts_jax.model import pytree


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
    filtered: bool = False  # by fewer products: as many inputs come at once as make fours of places

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


@pytree.dataclass
class ConvState:
    past: Array  # [B, memory, Cin]: the last inputs, oldest first
    started: Array | None  # [B] bool, only where the padding replicates the first input
