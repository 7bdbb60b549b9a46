"""The codec over whole utterances, in the form that trains fast: same parameters, same results.

Every convolution is a plain matrix product over reshaped inputs, and so are its gradients, which
XLA:CPU computes many times faster than gradients of convolutions; products may take bfloat16
inputs. There is no streaming state here: the model that speaks is `ptts_jax.codec`.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ptts_jax.codec import Plan, decoder_plan, downsample_spec, encoder_plan, upsample_spec
from ptts_jax.config import CodecTransformerConfig, MimiConfig
from ptts_jax.conv import ConvSpec
from ptts_jax.layers import rope, rope_angles

Params = dict[str, Any]
BLOCK = 16  # neighbours in time that thin layers treat as one row


def _dot(x: Array, w: Array, axes: tuple[int, int]) -> Array:
    dims = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(x, w, dims, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _half(x: Array, w: Array) -> Array:
    return _dot(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), (1, 0))


def _half_forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    x, w = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    return _dot(x, w, (1, 0)), (x, w)


def _half_backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = kept
    g = g.astype(jnp.bfloat16)
    return _dot(g, w, (1, 1)), _dot(x, g, (0, 0))


_half.defvjp(_half_forward, _half_backward)


def product(x: Array, w: Array, half: bool) -> Array:
    """x [..., K] times w [K, N], in f32 or from bfloat16 (gradients too), summed in f32."""
    rows = x.reshape(-1, x.shape[-1])
    y = _half(rows, w) if half else rows @ w
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


def conv(p: Params, s: ConvSpec, x: Array, half: bool) -> Array:
    """`ptts_jax.conv.Conv` from its initial state: [B, T, Cin] -> [B, T', Cout]."""
    w = p["w"]
    if s.depthwise:
        y = _depthwise(w, x)
    elif s.transposed:
        x = jnp.concatenate([_before(x, 1, s), x], axis=-1)  # both taps of every step
        y = product(x, w.reshape(2 * s.cin, -1), half).reshape(x.shape[0], -1, s.cout)
    elif s.stride > 1:
        assert s.kernel == 2 * s.stride and s.dilation == 1
        if s.replicate:  # a block of copies before the first one
            x = jnp.concatenate([jnp.repeat(x[:, :1], s.stride, axis=1), x], axis=1)
        blocks = x.reshape(x.shape[0], -1, s.stride * s.cin)
        y = _taps(w.reshape(2, -1, s.cout), replace(s, dilation=1), blocks, half)
        y = y[:, 1:] if s.replicate else y
    elif s.cin < 4 and s.memory <= (block := math.gcd(x.shape[1], BLOCK)):
        y = _banded(w, s, x, block, half)
    else:
        y = _taps(w, s, x, half)
    return y + p["b"] if s.bias else y


def _taps(w: Array, s: ConvSpec, x: Array, half: bool) -> Array:
    """One product for all taps, whose results are shifted and summed: no copies of the input."""
    taps, cin, cout = w.shape
    y = product(x, w.swapaxes(0, 1).reshape(cin, taps * cout), half)  # [B, T, taps * Cout]
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


def _depthwise(w: Array, x: Array) -> Array:
    before = jnp.concatenate([jnp.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    y = before[:, :, None] * w[0] + x[:, :, None] * w[1]  # [B, T, stride, C]
    return y.reshape(x.shape[0], -1, x.shape[2])


def _banded(w: Array, s: ConvSpec, x: Array, block: int, half: bool) -> Array:
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
    return product(rows, banded, half).reshape(batch, time, s.cout)


def _seanet(p: Params, plan: Plan, x: Array, half: bool) -> Array:
    for stage in plan:
        y = x
        for spec in stage:
            y = y if spec.name == "first" else elu(y)
            y = conv(p[spec.name], spec, y, half)
        x = x + y if len(stage) > 1 else y
    return x


def _norm(p: Params, x: Array) -> Array:
    mean = x.mean(-1, keepdims=True)
    x = (x - mean) * lax.rsqrt(jnp.square(x - mean).mean(-1, keepdims=True) + 1e-5)
    return x * p["scale"] + p["bias"]


def _transformer(p: Params, c: CodecTransformerConfig, x: Array, half: bool) -> Array:
    batch, time, _ = x.shape
    if "input" in p:
        x = product(x, p["input"]["w"].T, half)
    positions = jnp.arange(time, dtype=jnp.int32)[None]
    angles = rope_angles(positions, c.head_dim, float(c.max_period))
    for i in range(c.num_layers):
        layer = p["layers"][f"layer_{i}"]
        h = product(_norm(layer["norm1"], x), layer["in_proj"]["w"].T, half)
        q, k, v = jnp.moveaxis(h.reshape(batch, time, 3, c.num_heads, c.head_dim), 2, 0)
        h = _attend(rope(q, angles), rope(k, angles), v, c.context)
        h = product(h.reshape(batch, time, -1), layer["out_proj"]["w"].T, half)
        x = x + h * layer["scale1"]
        h = product(_norm(layer["norm2"], x), layer["up"]["w"].T, half)
        h = product(jax.nn.gelu(h, approximate=True), layer["down"]["w"].T, half)
        x = x + h * layer["scale2"]
    if "output" in p:
        x = product(x, p["output"]["w"].T, half)
    return x


def _attend(q: Array, k: Array, v: Array, context: int) -> Array:
    """Causal attention [B, T, H, D] to the last `context` steps, in blocks of that many.

    A block of queries sees no keys but its own block's and those of the block before.
    """
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


@partial(jax.named_call, name="decode")
def decode(p: Params, c: MimiConfig, latents: Array, half: bool = False) -> Array:
    """Parameters of the decoder, latents [B, T, latent] -> waveform [B, T * frame_size]."""
    x = product(latents, p["quantizer"]["w"].T, half)
    x = conv(p["upsample"], upsample_spec(c), x, half)
    x = _transformer(p["transformer"], c.decoder_tf, x, half)
    return _seanet(p["seanet"], decoder_plan(c.decoder_net), x, half)[..., 0]


@partial(jax.named_call, name="encode")
def encode(p: Params, c: MimiConfig, wave: Array, half: bool = False) -> Array:
    """Parameters of the encoder, waveform [B, T * frame_size] -> [B, T, inner]."""
    x = _seanet(p["seanet"], encoder_plan(c.seanet), wave[..., None], half)
    x = _transformer(p["transformer"], c.transformer, x, half)
    return conv(p["downsample"], downsample_spec(c), x, half)
