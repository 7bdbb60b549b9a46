"""The losses of a frame but the head's own: the regression beside it, and the end of speech.

Frames are M: z [M, Z] from the backbone, data [M, D] (normalised latents), valid [M]. M may be
several axes.
"""

import jax.numpy as jnp
import optax
from jax import Array

Weight = Array | float  # of each dimension of a latent [D]

LEAST_NOISE = 0.1  # share of a dimension's variance that no model is asked to be nearer than


def importance(noise: Array) -> Array:
    """Weights [D], 1 on average, of a latent's dimensions by the posterior's variance in them.

    `noise` [D] is a share of each dimension's variance. What a codec's decoder is used to see
    noisy matters less to it, and training on all alike goes for the greater part to dimensions
    that nobody hears.
    """
    weight = 1 / (noise + LEAST_NOISE)
    return weight / jnp.mean(weight)


def mean(values: Array, valid: Array) -> Array:
    """Mean of values [..., M] over the valid frames."""
    valid = jnp.broadcast_to(valid, values.shape)
    return jnp.sum(values * valid) / jnp.maximum(valid.sum(), 1)


def regression(guess: Array, data: Array, valid: Array, weight: Weight = 1.0) -> Array:
    """Squared and absolute error: blurred where several frames are possible, and quick to learn."""
    error = guess - data
    return mean(jnp.mean(weight * (jnp.square(error) + jnp.abs(error)), axis=-1), valid)


def eos(logits: Array, counts: Array, frames: int) -> Array:
    """logits [B, T + 1]: true in the slot after the last frame and in `frames` before it."""
    slot = jnp.arange(logits.shape[1])
    wanted = (slot >= counts[:, None] - frames).astype(jnp.float32)
    loss = optax.sigmoid_binary_cross_entropy(logits, wanted)
    return mean(loss, slot <= counts[:, None])


def weighted(squared: Array, size: int, log_precision: Array) -> Array:
    """A squared norm over `size` numbers, at a learned precision."""
    return squared * jnp.exp(log_precision) / size - log_precision
