"""The plain regression that is trained beside the head, as a head of its own.

It gives the same latent whatever the noise: a model without variety, but one that is ready as soon
as the backbone is. `fold` writes W z as a head without times, which generates as it is.
"""

import jax
import jax.numpy as jnp
from jax import Array

from ptts_jax import head
from ptts_jax.config import FlowConfig
from ptts_jax.train.objectives import Params


def fold(w: Array) -> tuple[Params, FlowConfig]:
    """The head whose output is w [D, Z] times z.

    Its one nonlinearity on the way is undone: silu(a) - silu(-a) = a.
    """
    size, z_dim = w.shape
    c = FlowConfig(dim=2 * size, depth=1, type="drifting")
    width = c.dim
    pair = jnp.concatenate([jnp.eye(size), -jnp.eye(size)], axis=1)  # [D, 2 D]
    shift = jnp.zeros((width, width)).at[:size].set(pair)
    zeros, block = jnp.zeros((width, width)), jnp.zeros(width)
    ends = jnp.concatenate([zeros, zeros, zeros, shift, zeros])  # block: nothing; last: the shift
    bias = jnp.concatenate([jnp.zeros(4 * width), -jnp.ones(width)])  # scale -1: the shift alone
    linear = {"w": zeros, "b": block}
    params = {
        "modulation": {
            "cond": {"w": jnp.concatenate([w, -w]), "b": block},
            "all": {"w": ends, "b": bias},
        },
        "net": {
            "input": {"w": jnp.zeros((width, size)), "b": block},
            "norm_0": {"scale": jnp.ones(width), "bias": block},
            "in_0": linear,
            "out_0": linear,
            "final": {"w": jnp.eye(size, width), "b": jnp.zeros(size)},
        },
    }
    return params, c


def unfold(params: Params, c: FlowConfig) -> Array | None:
    """The w of `fold`, or None of any other head."""
    size = c.dim // 2
    w = params["modulation"]["cond"]["w"][:size]
    made, flow = fold(w)
    if flow != c or jax.tree.structure(made) != jax.tree.structure(params):
        return None
    alike = jax.tree.map(jnp.array_equal, made, params)
    return w if all(jax.tree.leaves(alike)) else None


def sample(params: Params, c: FlowConfig, z: Array) -> Array:
    """z [B, Z] -> [B, D], as generation calls it."""
    noise = jnp.zeros((z.shape[0], c.dim // 2))
    return head.sample(params, c, z, noise, head.schedule(params, c, 1))
