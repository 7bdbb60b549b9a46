"""What a head is trained for: a function for each objective, all called alike.

t = 1 is data, t = 0 noise, but for consistency. Knows nothing of rows, optimisers or files.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ptts_jax.model import head
from ptts_jax.model.config import FlowConfig
from ptts_jax.model.pytree import Params
from ptts_jax.train.lm import losses
from ptts_jax.train.lm.losses import Weight, mean, weighted

Figures = dict[str, Array]

SIGMA_MIN = 1e-3  # of flow matching: noise that is left on data
FEATURES = 5  # of consistency's learned log-precision as a function of t


@struct.dataclass
class Frames:
    """What a head learns from: M frames (M may be several axes)."""

    z: Array  # [M, Z], from the backbone
    data: Array  # [M, D]: normalised latents
    valid: Array  # [M] bool


@struct.dataclass
class How:
    """What is beside the frames: any objective takes of it what it needs."""

    extra: Params  # what is learned for training alone
    copies: int = struct.field(pytree_node=False)  # draws of noise and times for each frame
    done: Array | float = 0.0  # share of the run
    weight: Weight = 1.0


def precisions() -> Params:
    """The learned precisions, as they begin."""
    return {"precision": jnp.zeros(2), "consistency": jnp.zeros(FEATURES)}


def lsd(
    key: Array, params: Params, c: FlowConfig, frames: Frames, how: How
) -> tuple[Array, Figures]:
    """Lagrangian self-distillation: a velocity, and jumps that agree with it.

    The jumps, which cost several times as much, are learned from a quarter as many copies.
    """
    z, data, valid, copies, weight = frames.z, frames.data, frames.valid, how.copies, how.weight
    precision = how.extra["precision"]  # [2]: learned
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
    key: Array, params: Params, c: FlowConfig, frames: Frames, how: How
) -> tuple[Array, Figures]:
    """The velocity of the straight path from noise to data."""
    data, copies, keys = frames.data, how.copies, jax.random.split(key)
    noise = jax.random.normal(keys[0], (copies, *data.shape))
    t = jax.random.uniform(keys[1], (copies, *data.shape[:-1], 1))
    x = t * data + (1 - (1 - SIGMA_MIN) * t) * noise
    velocity = head.network(params, c, frames.z, x, t)
    error = jnp.mean(jnp.square(velocity - (data - (1 - SIGMA_MIN) * noise)), axis=-1)
    loss = mean(error, frames.valid)
    return loss, {"velocity": loss}


def drifting(
    key: Array, params: Params, c: FlowConfig, frames: Frames, how: How
) -> tuple[Array, Figures]:
    """Outputs from different noise drift towards the datum and away from each other."""
    data, valid = frames.data, frames.valid
    noise = jax.random.normal(key, (how.copies, *data.shape))
    samples = head.network(params, c, frames.z, noise)  # [G, M, D]
    drift = jax.lax.stop_gradient(drift_field(samples, data, drifting_tau(how.done)))
    size = jnp.sqrt(mean(jnp.mean(jnp.square(drift), axis=-1), valid))
    goal = jax.lax.stop_gradient(samples) + drift / jnp.maximum(size, 1e-6)
    loss = mean(jnp.mean(jnp.square(samples - goal), axis=-1), valid)
    return loss, {"drift": size}


def drift_field(samples: Array, data: Array, tau: Array) -> Array:
    """Where each of the outputs [G, M, D] of a frame is pulled, given its datum [M, D]."""
    copies = samples.shape[0]
    points = jnp.moveaxis(jnp.concatenate([data[None], samples]), 0, -2)  # [M, 1 + G, D]
    outputs = points[..., 1:, :]  # [M, G, D]
    squares = jnp.sum(jnp.square(points), axis=-1)  # [M, 1 + G]
    products = jnp.einsum("...id,...jd->...ij", outputs, points)
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
    push = jnp.einsum("...ij,...jd->...id", others * near, outputs)
    return jnp.moveaxis(pull - push, -2, 0)  # [G, M, D]


def drifting_tau(progress: Array) -> Array:
    """From far to near: 10 at the start, 0.05 from the middle of the training on."""
    share = jnp.clip(2 * progress, 0, 1)
    return jnp.exp((1 - share) * math.log(10.0) + share * math.log(0.05))


def consistency(
    key: Array, params: Params, c: FlowConfig, frames: Frames, how: How
) -> tuple[Array, Figures]:
    """Continuous-time consistency along the circle x_t = cos t x + sin t e: one step to the data.

    Here t = 0 is data and t = pi/2 noise, as in the papers. The network is a head with one time,
    F; where its path starts is cos t x_t - sin t F(x_t, t), so at t = pi/2 it is -F (folding.py
    makes a head without times of it).
    """
    z, data, valid, copies = frames.z, frames.data, frames.valid, how.copies
    share = jnp.minimum(4 * how.done, 1.0)  # of the unstable part of the tangent
    keys = jax.random.split(key)
    noise = jax.random.normal(keys[0], (copies, *data.shape))
    t = jnp.arctan(jnp.exp(1.4 * jax.random.normal(keys[1], (copies, *data.shape[:-1], 1)) - 1.0))
    cos, sin = jnp.cos(t), jnp.sin(t)
    x, v = cos * data + sin * noise, cos * noise - sin * data
    fixed, fixed_z = jax.lax.stop_gradient((params, z))

    def network(x: Array, t: Array) -> Array:
        return head.network(fixed, c, fixed_z, x, t)

    f, slope = jax.jvp(network, (x, t), (cos * sin * v, cos * sin))
    tangent = -(cos**2) * (f - v) - share * (cos * sin * x + slope)
    tangent /= jnp.linalg.norm(tangent, axis=-1, keepdims=True) + 0.1
    goal = jax.lax.stop_gradient(f + tangent)
    guess = head.network(params, c, z, x, t)
    squared = jnp.mean(jnp.square(guess - goal), axis=-1)  # [copies, M]
    w = log_precision(how.extra["consistency"], t[..., 0])
    flow = mean(jnp.mean(jnp.square(f - v), axis=-1), valid)
    return mean(squared * jnp.exp(w) - w, valid), {"velocity": flow}


def log_precision(weights: Array, t: Array) -> Array:
    features = [jnp.ones_like(t), jnp.cos(t), jnp.sin(t), jnp.cos(2 * t), jnp.sin(2 * t)]
    return jnp.stack(features, axis=-1) @ weights


def regression(
    key: Array, params: Params, c: FlowConfig, frames: Frames, how: How
) -> tuple[Array, Figures]:
    """The datum from any noise, for a head without times: one that hardly samples at all."""
    del how
    noise = jax.random.normal(key, frames.data.shape)
    guess = head.network(params, c, frames.z, noise)
    loss = losses.regression(guess, frames.data, frames.valid)
    return loss, {"head": loss}


def pointwise(
    key: Array,
    params: Params,
    c: FlowConfig,
    frames: Frames,
    teacher: tuple[Params, FlowConfig],
    copies: int,
) -> tuple[Array, Figures]:
    """A teacher's whole way from noise to data, from the same noise, without times.

    `teacher` is (parameters, config) of an lsd head, whose z the frames have.
    """
    noise = jax.random.normal(key, (copies, *frames.data.shape))
    taught, z = jax.lax.stop_gradient((teacher[0], frames.z))
    ends = jnp.zeros((1, 1)), jnp.ones((1, 1))
    wanted = head.network(taught, teacher[1], z, noise, *ends)
    guess = head.network(params, c, frames.z, noise)
    loss = mean(jnp.mean(jnp.square(guess - wanted), axis=-1), frames.valid)
    return loss, {"pointwise": loss}


OBJECTIVES = {
    "lsd": lsd,
    "flow_matching": flow_matching,
    "drifting": drifting,
    "consistency": consistency,
    "regression": regression,
}
# The kind of head that an objective trains, where it has another name.
HEADS = {"consistency": "flow_matching", "regression": "drifting"}
