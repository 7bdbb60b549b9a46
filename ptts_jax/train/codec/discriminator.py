"""A multi-scale complex STFT discriminator, its hinge losses and feature matching.

One small network of 2-D convolutions per window size looks at the real and imaginary parts. Off in
the default recipe: it costs more than the codec, but is what makes speech sound clean. Made for an
accelerator; knows nothing of codecs.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from ptts_jax.model.pytree import Params
from ptts_jax.train.codec.spectra import spectrum

SIZES = (2048, 1024, 512, 256, 128)
CHANNELS = 32
# (kernel in time, in frequency, dilation in time, stride in frequency) of each layer
LAYERS = ((3, 9, 1, 1), (3, 9, 1, 2), (3, 9, 2, 2), (3, 9, 4, 2), (3, 3, 1, 1), (3, 3, 1, 1))
SLOPE = 0.3

Judged = list[list[Array]]  # per window size: what each layer gives, the logits last


def init(key: Array, sizes: Sequence[int] = SIZES, channels: int = CHANNELS) -> Params:
    params = {}
    for size in sizes:
        layers, cin = {}, 2
        for i, (time, frequency, _, _) in enumerate(LAYERS):
            key, draw = jax.random.split(key)
            cout = channels if i < len(LAYERS) - 1 else 1
            shape = (time, frequency, cin, cout)
            v = jax.random.normal(draw, shape) * (time * frequency * cin) ** -0.5
            layers[f"layer_{i}"] = {"v": v, "g": _norm(v), "b": jnp.zeros((cout,))}
            cin = cout
        params[f"window_{size}"] = layers
    return params


def _norm(v: Array) -> Array:
    """Of each output channel's weights: [Cout]."""
    return jnp.sqrt(jnp.sum(jnp.square(v), axis=(0, 1, 2)))


def judge(params: Params, wave: Array) -> Judged:
    """What every layer makes of waves [B, T]."""
    judged = []
    for name, layers in params.items():
        found = spectrum(wave, int(name.removeprefix("window_")))
        x, given = jnp.stack([found.real, found.imag], axis=-1), []  # [B, frames, bins, 2]
        for i, (_, _, dilation, stride) in enumerate(LAYERS):
            p = layers[f"layer_{i}"]
            x = lax.conv_general_dilated(
                x,
                p["v"] * (p["g"] / _norm(p["v"])),  # weight norm
                window_strides=(1, stride),
                padding="SAME",
                rhs_dilation=(dilation, 1),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            x = x + p["b"]
            if i < len(LAYERS) - 1:
                x = jnp.where(x > 0, x, SLOPE * x)
            given.append(x)
        judged.append(given)
    return judged


def discriminator_loss(real: Judged, fake: Judged) -> Array:
    """Hinge: real logits above 1, fake ones below -1."""
    parts = [
        jnp.mean(jax.nn.relu(1 - a[-1])) + jnp.mean(jax.nn.relu(1 + b[-1]))
        for a, b in zip(real, fake, strict=True)
    ]
    return sum(parts) / len(parts)


def generator_loss(fake: Judged) -> Array:
    return sum(-jnp.mean(given[-1]) for given in fake) / len(fake)


def feature_loss(real: Judged, fake: Judged) -> Array:
    """L1 between the hidden layers, each relative to the real one's size."""
    parts = [
        jnp.mean(jnp.abs(x - y)) / jnp.mean(jnp.abs(x))
        for a, b in zip(lax.stop_gradient(real), fake, strict=True)
        for x, y in zip(a[:-1], b[:-1], strict=True)
    ]
    return sum(parts) / len(parts)
