"""Consistency training along the circle x_t = cos t x + sin t e: one step from noise to data.

Here t = 0 is data and t = pi/2 noise, as in the papers. The network is a head with one time, F;
where its path starts is cos t x_t - sin t F(x_t, t), so at t = pi/2 it is -F: `fold` makes a head
without times of it, which generates as it is.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array

from ptts_jax import head
from ptts_jax.config import FlowConfig
from ptts_jax.train.objectives import Params, mean

FEATURES = 5  # of the learned log-precision as a function of t


def loss(
    key: Array,
    params: Params,
    c: FlowConfig,
    z: Array,
    data: Array,
    valid: Array,
    precision: Array,
    share: Array,
    copies: int,
) -> tuple[Array, dict[str, Array]]:
    """Continuous-time consistency; `share` of the unstable part of the tangent rises to 1."""
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
    made = head.network(params, c, z, x, t)
    squared = jnp.mean(jnp.square(made - goal), axis=-1)  # [copies, M]
    w = log_precision(precision, t[..., 0])
    flow = mean(jnp.mean(jnp.square(f - v), axis=-1), valid)
    return mean(squared * jnp.exp(w) - w, valid), {"velocity": flow}


def log_precision(weights: Array, t: Array) -> Array:
    features = [jnp.ones_like(t), jnp.cos(t), jnp.sin(t), jnp.cos(2 * t), jnp.sin(2 * t)]
    return jnp.stack(features, axis=-1) @ weights


def fold(params: Params, c: FlowConfig) -> tuple[Params, FlowConfig]:
    """The head without times that makes -F(e, pi/2) of noise e."""
    at = head.Times(c).apply({"params": params["times"]}, jnp.full((1, 1), math.pi / 2))[0]
    cond, final = params["modulation"]["cond"], params["net"]["final"]
    modulation = {**params["modulation"], "cond": {**cond, "b": cond["b"] + at}}
    net = {**params["net"], "final": jax.tree.map(jnp.negative, final)}
    return {"modulation": modulation, "net": net}, replace(c, type="drifting")
