"""The codec over whole utterances as it trains fastest, without a second model: the same numbers.

Intercepts the model's own layers while they are traced. Every convolution is then a plain matrix
product over reshaped inputs, and so are its gradients, which XLA:CPU computes many times faster
than those of convolutions; products may take bfloat16 inputs. An utterance begins from the initial
state and leaves none, so states pass through as they are, and attention is in blocks.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from ptts_jax.model import codec
from ptts_jax.model.config import MimiConfig
from ptts_jax.model.conv import Conv
from ptts_jax.model.conv_spec import ConvSpec, ConvState
from ptts_jax.model.layers import Linear
from ptts_jax.model.pytree import Params

BLOCK = 16  # neighbours in time that thin layers treat as one row


def decode(params: Params, c: MimiConfig, latents: Array, bf16: bool = False) -> Array:
    """Parameters of the decoder, latents [B, T, latent] -> waveform [B, T * frame_size]."""
    state = codec.decoder_state(c, latents.shape[0])
    state = state.replace(window=Blocks(c.decoder_tf.context))
    return _applied(codec.Decoder(c), params, latents, state, bf16)


def features(params: Params, c: MimiConfig, latents: Array, bf16: bool = False) -> Array:
    """As `decode`, but what a vocoder would be given: [B, F, FEATURES]."""
    state = codec.decoder_state(c, latents.shape[0])
    state = state.replace(window=Blocks(c.decoder_tf.context))
    return _applied(codec.Decoder(c, audible=False), params, latents, state, bf16)


def encode(params: Params, c: MimiConfig, wave: Array, bf16: bool = False) -> Array:
    """Parameters of the encoder, waveform [B, T * frame_size] -> [B, T, inner]."""
    state = codec.encoder_state(c, wave.shape[0])
    state = state.replace(window=Blocks(c.transformer.context))
    return _applied(codec.Encoder(c), params, wave, state, bf16)


def _applied(side: nn.Module, params: Params, x: Array, state: Any, bf16: bool) -> Array:
    with nn.intercept_methods(partial(_intercept, bf16)):
        return side.apply({"params": params}, x, state)[0]


def _intercept(bf16: bool, call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
    layer = context.module
    if isinstance(layer, Linear):
        y = product(bf16, args[0], layer.get_variable("params", "w").T)
        return y + layer.get_variable("params", "b") if layer.bias else y
    if isinstance(layer, Conv) and not layer.spec.depthwise:
        return _conv(bf16, layer, *args, **kwargs)
    return call(*args, **kwargs)


def _conv(
    bf16: bool,
    layer: Conv,
    x: Array,
    state: ConvState,
    activate: bool = False,
    add: Array | None = None,
) -> tuple[Array, ConvState]:
    """A convolution from its initial state: [B, T, Cin] -> [B, T', Cout]."""
    s, w = layer.spec, layer.get_variable("params", "w")
    x = elu(x) if activate else x
    if s.transposed:
        x = jnp.concatenate([_before(x, 1, s), x], axis=-1)  # both taps of every step
        y = product(bf16, x, w.reshape(2 * s.cin, -1)).reshape(x.shape[0], -1, s.cout)
    elif s.stride > 1:
        assert s.kernel == 2 * s.stride and s.dilation == 1
        if s.replicate:  # a block of copies before the first one
            x = jnp.concatenate([jnp.repeat(x[:, :1], s.stride, axis=1), x], axis=1)
        blocks = x.reshape(x.shape[0], -1, s.stride * s.cin)
        y = _taps(bf16, w.reshape(2, -1, s.cout), replace(s, dilation=1), blocks)
        y = y[:, 1:] if s.replicate else y
    elif s.cin < 4 and s.memory <= (block := math.gcd(x.shape[1], BLOCK)):
        y = _banded(bf16, w, s, x, block)
    else:
        y = _taps(bf16, w, s, x)
    y = y + layer.get_variable("params", "b") if s.bias else y
    return y if add is None else y + add, state


def _taps(bf16: bool, w: Array, s: ConvSpec, x: Array) -> Array:
    """One product for all taps, whose results are shifted and summed: no copies of the input."""
    taps, cin, cout = w.shape
    y = product(bf16, x, w.swapaxes(0, 1).reshape(cin, taps * cout))  # [B, T, taps * Cout]
    parts = [
        _before(y[..., k * cout : (k + 1) * cout], (taps - 1 - k) * s.dilation, s)
        for k in range(taps)
    ]
    return sum(parts[1:], parts[0])


def _before(x: Array, steps: int, s: ConvSpec) -> Array:
    """x as it was `steps` ago: [B, T, C] both."""
    if steps == 0:
        return x
    first = x[:, :1] if s.replicate else jnp.zeros_like(x[:, :1])
    past = jnp.repeat(first, min(steps, x.shape[1]), axis=1)
    return jnp.concatenate([past, x[:, : max(0, x.shape[1] - steps)]], axis=1)


def _banded(bf16: bool, w: Array, s: ConvSpec, x: Array, block: int) -> Array:
    """One channel makes slow products: a block of outputs at once, from a banded matrix."""
    batch, time, _ = x.shape
    place = np.zeros((s.memory + block, block, s.kernel), np.float32)  # input, output, tap
    for k in range(s.kernel):
        place[np.arange(block) + k * s.dilation, np.arange(block), k] = 1
    banded = jnp.einsum("ijk,kco->icjo", place, w).reshape(-1, block * s.cout)
    first = x[:, :1] if s.replicate else jnp.zeros_like(x[:, :1])
    full = jnp.concatenate([jnp.repeat(first, block, axis=1), x], axis=1)
    full = full.reshape(batch, -1, block, s.cin)
    rows = jnp.concatenate([full[:, :-1, block - s.memory :], full[:, 1:]], axis=2)
    rows = rows.reshape(batch, time // block, -1)
    return product(bf16, rows, banded).reshape(batch, time, s.cout)


def _dot(x: Array, w: Array, axes: tuple[int, int]) -> Array:
    dims = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(x, w, dims, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _of_bf16(x: Array, w: Array) -> Array:
    return _dot(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), (1, 0))


def _of_bf16_forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    x, w = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    return _dot(x, w, (1, 0)), (x, w)


def _of_bf16_backward(inputs: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = inputs
    g = g.astype(jnp.bfloat16)
    return _dot(g, w, (1, 1)), _dot(x, g, (0, 0))


_of_bf16.defvjp(_of_bf16_forward, _of_bf16_backward)


def product(bf16: bool, x: Array, w: Array) -> Array:
    """x [..., K] times w [K, N], in f32 or from bfloat16 (gradients too), summed in f32."""
    rows = x.reshape(-1, x.shape[-1])
    y = _of_bf16(rows, w) if bf16 else rows @ w
    return y.reshape(*x.shape[:-1], w.shape[-1])


@jax.custom_vjp
def elu(x: Array) -> Array:
    """Its gradient from its value alone: less to keep and no second exponential."""
    return jnp.where(x > 0, x, jnp.exp(x) - 1)


def _elu_forward(x: Array) -> tuple[Array, Array]:
    y = lax.optimization_barrier(elu(x))
    return y, y


def _elu_backward(y: Array, g: Array) -> tuple[Array]:
    return (lax.optimization_barrier(g * jnp.where(y > 0, 1.0, y + 1)),)


elu.defvjp(_elu_forward, _elu_backward)


@struct.dataclass
class Blocks:
    """A cache that holds nothing before its rows and keeps nothing after them.

    Causal attention to the last `context` steps, in blocks of that many: a block of queries sees no
    keys but its own block's and those of the block before.
    """

    context: int = struct.field(pytree_node=False)

    def open(self, positions: Array) -> "Blocks":
        return self

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "Blocks"]:
        return _attend(q, k, v, self.context), self

    def close(self, positions: Array) -> "Blocks":
        return self


def _attend(q: Array, k: Array, v: Array, context: int) -> Array:
    """q, k, v [B, T, H, D], from the first step on -> [B, T, H, D]"""
    batch, time, heads, width = q.shape
    count = -(-time // context)
    q, k, v = (_blocks(x, count, context) for x in (q * width**-0.5, k, v))  # [B H, N, S, D]
    k, v = (jnp.concatenate([_block_before(x), x], axis=2) for x in (k, v))  # [B H, N, 2 S, D]
    steps = np.arange(context)
    distance = steps[:, None] + context - np.arange(2 * context)
    mask = np.broadcast_to((distance >= 0) & (distance < context), (count, *distance.shape)).copy()
    mask[0, :, :context] = False
    q, k, v = (x.reshape(-1, *x.shape[2:]) for x in (q, k, v))  # one batch axis: plain products
    logits = lax.dot_general(q, k, (((2,), (2,)), ((0,), (0,))))
    logits = jnp.where(np.tile(mask, (batch * heads, 1, 1)), logits, -1e30)
    weights = jax.nn.softmax(logits, axis=-1)
    out = lax.dot_general(weights, v, (((2,), (1,)), ((0,), (0,))))  # [B H N, S, D]
    out = out.reshape(batch, heads, count * context, width)[:, :, :time]
    return out.swapaxes(1, 2)


def _blocks(x: Array, count: int, size: int) -> Array:
    batch, time, heads, width = x.shape
    x = jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, count * size - time), (0, 0)))
    return x.reshape(batch * heads, count, size, width)


def _block_before(x: Array) -> Array:
    return jnp.concatenate([jnp.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
