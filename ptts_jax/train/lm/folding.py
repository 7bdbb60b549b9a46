"""Heads that are trained in one form and speak in another, as a head without times; and one that
begins with what the regression beside it knows.

- consistency: at t = pi/2 the network F gives -F of noise e, and needs no times for it;
- the plain regression beside the head gives the mean of what is possible: a model whose variety is
  that of what it hears of itself, but one that is ready as soon as the backbone is.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array

from ptts_jax.model import head
from ptts_jax.model.config import FlowConfig
from ptts_jax.model.pytree import Params


def consistency(params: Params, c: FlowConfig) -> tuple[Params, FlowConfig]:
    """The head without times that makes -F(e, pi/2) of noise e."""
    at = head.Times(c).apply({"params": params["times"]}, jnp.full((1, 1), math.pi / 2))[0]
    cond, final = params["modulation"]["cond"], params["net"]["final"]
    modulation = {**params["modulation"], "cond": {**cond, "b": cond["b"] + at}}
    net = {**params["net"], "final": jax.tree.map(jnp.negative, final)}
    return {"modulation": modulation, "net": net}, replace(c, type="drifting")


def regression(w: Array) -> tuple[Params, FlowConfig]:
    """The head whose output is w [D, Z] times z.

    Its one nonlinearity on the way is undone: silu(a) - silu(-a) = a.
    """
    size, z_dim = w.shape
    c = FlowConfig(dim=2 * size, depth=1, type="plain")
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


def beginning_with(params: Params, c: FlowConfig, w: Array) -> Params:
    """A fresh head, changed such that its output is w [D, Z] times z, at all times and noise.

    What of it depends on these is there, and begins to learn with the first step. The last 2 D
    channels of the condition carry w z, as in `regression`, the last D channels of the end show it.
    """
    size, modulation, net = len(w), params["modulation"], params["net"]
    inner, shown = slice(c.dim - 2 * size, None), slice(c.dim - size, None)
    cond, ends, final = modulation["cond"], modulation["all"], net["final"]
    cond = {
        "w": cond["w"].at[inner].set(jnp.concatenate([w, -w])),
        "b": cond["b"].at[inner].set(0.0),
    }
    shift = jnp.arange((3 * c.depth + 1) * c.dim - size, (3 * c.depth + 1) * c.dim)
    scale = shift + c.dim
    pair = jnp.concatenate([jnp.eye(size), -jnp.eye(size)], axis=1)  # [D, 2 D]
    ends = {
        "w": ends["w"].at[shift].set(0.0).at[shift, inner].set(pair).at[scale].set(0.0),
        "b": ends["b"].at[shift].set(0.0).at[scale].set(-1.0),  # the shift alone
    }
    final = {"w": jnp.zeros_like(final["w"]).at[:, shown].set(jnp.eye(size)), "b": 0 * final["b"]}
    changed = {"modulation": {"cond": cond, "all": ends}, "net": {**net, "final": final}}
    times = {
        name: {**time, "norm": {"alpha": time["norm"]["alpha"].at[inner].set(0.0)}}
        for name, time in params.get("times", {}).items()
    }
    return {**params, **changed, **({"times": times} if times else {})}


def regression_of(params: Params, c: FlowConfig) -> Array | None:
    """The w that `regression` was given, or None of any other head."""
    size = c.dim // 2
    w = params["modulation"]["cond"]["w"][:size]
    folded, flow = regression(w)
    known = replace(c, type="plain") if c.type == "drifting" else c  # as it once was written
    if flow != known or jax.tree.structure(folded) != jax.tree.structure(params):
        return None
    alike = jax.tree.map(jnp.array_equal, folded, params)
    return w if all(jax.tree.leaves(alike)) else None
