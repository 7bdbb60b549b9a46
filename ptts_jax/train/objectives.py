"""What a frame of the language model is trained for: the losses of each kind of head, and of EOS.

t = 1 is data, t = 0 noise. All work on M frames: z [M, Z] from the backbone, data [M, D]
(normalised latents), valid [M]. Knows nothing of rows, optimisers or files.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ptts_jax import head
from ptts_jax.config import FlowConfig

Params = dict[str, Any]

Weight = Array | float  # of each dimension of a latent [D]

SIGMA_MIN = 1e-3  # of flow matching: noise that is left on data
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


def regression(made: Array, data: Array, valid: Array, weight: Weight = 1.0) -> Array:
    """Squared and absolute error: blurred where several frames are possible, and quick to learn."""
    error = made - data
    return mean(jnp.mean(weight * (jnp.square(error) + jnp.abs(error)), axis=-1), valid)


def head_regression(
    key: Array, params: Params, c: FlowConfig, z: Array, data: Array, valid: Array
) -> tuple[Array, dict[str, Array]]:
    """The datum from any noise, for a head without times: one that hardly samples at all."""
    made = head.network(params, c, z, jax.random.normal(key, data.shape))
    loss = regression(made, data, valid)
    return loss, {"head": loss}


def eos(logits: Array, counts: Array, frames: int) -> Array:
    """logits [B, T + 1]: true in the slot after the last frame and in `frames` before it."""
    slot = jnp.arange(logits.shape[1])
    wanted = (slot >= counts[:, None] - frames).astype(jnp.float32)
    loss = optax.sigmoid_binary_cross_entropy(logits, wanted)
    return mean(loss, slot <= counts[:, None])


def weighted(squared: Array, size: int, log_precision: Array) -> Array:
    """A squared norm over `size` numbers, at a learned precision."""
    return squared * jnp.exp(log_precision) / size - log_precision


def lsd(
    key: Array,
    params: Params,
    c: FlowConfig,
    z: Array,
    data: Array,
    valid: Array,
    precision: Array,
    copies: int,
    weight: Weight = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """Lagrangian self-distillation: a velocity, and jumps that agree with it.

    `precision` [2] is learned. Each frame has `copies` draws of noise and times; the jumps, which
    cost several times as much, are learned from a quarter as many.
    """
    keys = jax.random.split(key, 4)
    noise = jax.random.normal(keys[0], (copies, *data.shape))
    t = _times(keys[1], (copies, *data.shape[:-1], 1))
    x = t * data + (1 - t) * noise
    velocity = head.network(params, c, z, x, t, t)
    diagonal = mean(jnp.sum(weight * jnp.square(velocity - (data - noise)), axis=-1), valid)

    distilled, some = max(copies // 4, 1), max(data.shape[0] * min(copies, 4) // 4, 1)
    z, data, valid = z[:some], data[:some], valid[:some]
    pair = _times(keys[2], (2, distilled, *data.shape[:-1], 1))
    s, t = jnp.min(pair, axis=0), jnp.max(pair, axis=0)
    noise = jax.random.normal(keys[3], (distilled, *data.shape))
    x = s * data + (1 - s) * noise

    def jump(t: Array) -> Array:
        return head.network(params, c, z, x, s, t)

    u, slope = jax.jvp(jump, (t,), (jnp.ones_like(t),))
    landed = x + (t - s) * u
    fixed = jax.lax.stop_gradient((params, z))
    wanted = head.network(fixed[0], c, fixed[1], landed, t, t)
    off = jnp.sum(weight * jnp.square(u + (t - s) * slope - wanted), axis=-1)
    jumps = mean(off, valid)

    size = data.shape[-1]
    loss = 0.75 * weighted(diagonal, size, precision[0])
    loss += 0.25 * weighted(jumps, size, precision[1])
    return loss, {"velocity": diagonal / size, "jump": jumps / size}


def _times(key: Array, shape: tuple[int, ...]) -> Array:
    return jax.nn.sigmoid(0.4 + jax.random.normal(key, shape))


def flow_matching(
    key: Array, params: Params, c: FlowConfig, z: Array, data: Array, valid: Array, copies: int
) -> tuple[Array, dict[str, Array]]:
    """The velocity of the straight path from noise to data."""
    keys = jax.random.split(key)
    noise = jax.random.normal(keys[0], (copies, *data.shape))
    t = jax.random.uniform(keys[1], (copies, *data.shape[:-1], 1))
    x = t * data + (1 - (1 - SIGMA_MIN) * t) * noise
    velocity = head.network(params, c, z, x, t)
    error = jnp.mean(jnp.square(velocity - (data - (1 - SIGMA_MIN) * noise)), axis=-1)
    loss = mean(error, valid)
    return loss, {"velocity": loss}


def pointwise(
    key: Array,
    params: Params,
    c: FlowConfig,
    z: Array,
    teacher: tuple[Params, FlowConfig, Array],
    valid: Array,
    width: int,
    copies: int,
) -> tuple[Array, dict[str, Array]]:
    """A teacher's whole way from noise to data, from the same noise, without times.

    `teacher` is (parameters, config, z [M, Z]) of an lsd head.
    """
    noise = jax.random.normal(key, (copies, *z.shape[:-1], width))
    taught, tc, tz = jax.lax.stop_gradient(teacher[0]), teacher[1], teacher[2]
    ends = jnp.zeros((1, 1)), jnp.ones((1, 1))
    wanted = head.network(taught, tc, jax.lax.stop_gradient(tz), noise, *ends)
    made = head.network(params, c, z, noise)
    loss = mean(jnp.mean(jnp.square(made - wanted), axis=-1), valid)
    return loss, {"pointwise": loss}


def drifting(
    key: Array,
    params: Params,
    c: FlowConfig,
    z: Array,
    data: Array,
    valid: Array,
    tau: Array,
    copies: int,
) -> tuple[Array, dict[str, Array]]:
    """Outputs from different noise drift towards the datum and away from each other."""
    noise = jax.random.normal(key, (copies, *data.shape))
    made = head.network(params, c, z, noise)  # [G, M, D]
    drift = jax.lax.stop_gradient(drift_field(made, data, tau))
    size = jnp.sqrt(mean(jnp.mean(jnp.square(drift), axis=-1), valid))
    goal = jax.lax.stop_gradient(made) + drift / jnp.maximum(size, 1e-6)
    loss = mean(jnp.mean(jnp.square(made - goal), axis=-1), valid)
    return loss, {"drift": size}


def drift_field(made: Array, data: Array, tau: Array) -> Array:
    """Where each of the outputs [G, M, D] of a frame is pulled, given its datum [M, D]."""
    copies = made.shape[0]
    points = jnp.moveaxis(jnp.concatenate([data[None], made]), 0, -2)  # [M, 1 + G, D]
    own = points[..., 1:, :]  # [M, G, D]
    squares = jnp.sum(jnp.square(points), axis=-1)  # [M, 1 + G]
    products = jnp.einsum("...id,...jd->...ij", own, points)
    squared = squares[..., 1:, None] + squares[..., None, :] - 2 * products
    distance = jnp.sqrt(jnp.maximum(squared, 1e-12))  # [M, G, 1 + G]
    distance /= distance.mean(axis=(-2, -1), keepdims=True)
    itself = jnp.eye(copies, 1 + copies, k=1)
    logits = -(distance + 100.0 * itself) / tau
    both = jax.nn.softmax(logits, axis=-1) * jax.nn.softmax(logits, axis=-2)
    affinity = jnp.sqrt(jnp.maximum(both, 1e-6))  # [M, G, 1 + G]
    near, others = affinity[..., :1], affinity[..., 1:]
    # Attraction and repulsion weigh alike, so that the mean of them all is no place of rest.
    pull = near * others.sum(axis=-1, keepdims=True) * data[..., None, :]
    push = jnp.einsum("...ij,...jd->...id", others * near, own)
    return jnp.moveaxis(pull - push, -2, 0)  # [G, M, D]


def drifting_tau(progress: Array) -> Array:
    """From far to near: 10 at the start, 0.05 from the middle of the training on."""
    share = jnp.clip(2 * progress, 0, 1)
    return jnp.exp((1 - share) * math.log(10.0) + share * math.log(0.05))
