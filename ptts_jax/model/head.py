"""The sampler head: a small MLP that turns noise into the next latent, given the backbone's output.

Five kinds share the network and differ in the times they are told and in how its output is used:
lsd (two times, n jumps), flow_matching (one time, Euler steps), drifting (the output is the
sample), pointwise (the output is added to the noise) and plain (the output is the mean of all
samples; what differs is what is fed back, see `fed`).
Everything that does not depend on the noise is computed once for all steps.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ptts_jax.model.config import FlowConfig
from ptts_jax.model.layers import LayerNorm, Linear, VarianceNorm, parameter
from ptts_jax.model.pytree import Params

WANDERING = 0.3  # of a plain head: deviations of noise in what is fed back, at temperature 1
UNROLLED = 4  # sampling steps; more are a loop, which compiles once for all of them


def _frequencies(key: Array, shape: tuple[int]) -> Array:
    del key
    (count,) = shape
    return jnp.exp(-jnp.log(10_000.0) * jnp.arange(count, dtype=jnp.float32) / count)


class TimeEmbed(nn.Module):
    features: int

    @nn.compact
    def __call__(self, t: Array) -> Array:
        """[..., 1] -> [..., C]"""
        freqs = parameter(self, "freqs", _frequencies, (128,))
        h = jnp.concatenate([jnp.cos(t * freqs), jnp.sin(t * freqs)], -1)
        h = jax.nn.silu(Linear(self.features, name="in")(h))
        return VarianceNorm(name="norm")(Linear(self.features, name="out")(h))


class Times(nn.Module):
    """The mean embedding of the times of a step: num_times arrays [..., 1] -> [..., C]."""

    config: FlowConfig

    @nn.compact
    def __call__(self, *times: Array) -> Array:
        embeds = [TimeEmbed(self.config.dim, name=f"time_{i}")(t) for i, t in enumerate(times)]
        return sum(embeds) / len(embeds)


class Modulation(nn.Module):
    """Shift, scale and gate of every block from the condition: all in one product."""

    config: FlowConfig

    @nn.compact
    def __call__(self, z: Array, times: Array) -> Array:
        """z [..., Z] and embedded times [..., C] -> [..., 3 * depth * C + 2 * C]"""
        c = self.config
        y = jax.nn.silu(Linear(c.dim, name="cond")(z) + times)
        return Linear((3 * c.depth + 2) * c.dim, name="all")(y)


class Denoiser(nn.Module):
    config: FlowConfig
    latent_dim: int

    @nn.compact
    def __call__(self, x: Array, modulation: Array) -> Array:
        """x [..., latent], modulation as above -> [..., latent]"""
        c = self.config
        parts = jnp.split(modulation, 3 * c.depth + 2, axis=-1)
        x = Linear(c.dim, name="input")(x)
        for i in range(c.depth):
            shift, scale, gate = parts[3 * i : 3 * i + 3]
            h = LayerNorm(eps=1e-6, name=f"norm_{i}")(x) * (1 + scale) + shift
            h = jax.nn.silu(Linear(c.dim, name=f"in_{i}")(h))
            x = x + gate * Linear(c.dim, name=f"out_{i}")(h)
        shift, scale = parts[-2:]
        x = LayerNorm(eps=1e-6, affine=False)(x) * (1 + scale) + shift
        return Linear(self.latent_dim, name="final")(x)


def init(key: Array, c: FlowConfig, z_dim: int, latent_dim: int) -> Params:
    keys = jax.random.split(key, 3)
    z, x, times = jnp.zeros((1, z_dim)), jnp.zeros((1, latent_dim)), jnp.zeros((1, c.dim))
    t = [jnp.zeros((1, 1))] * c.num_times
    modulation = Modulation(c)
    params = {
        "modulation": modulation.init(keys[1], z, times)["params"],
        "net": Denoiser(c, latent_dim).init(keys[2], x, jnp.zeros((1, (3 * c.depth + 2) * c.dim)))[
            "params"
        ],
    }
    if c.num_times:
        params["times"] = Times(c).init(keys[0], *t)["params"]
    return params


def network(params: Params, c: FlowConfig, z: Array, x: Array, *times: Array) -> Array:
    """The raw network at any times [..., 1]: what the training objectives differentiate."""
    embedded = jnp.zeros((*x.shape[:-1], c.dim))
    if c.num_times:
        embedded = Times(c).apply({"params": params["times"]}, *times)
    modulation = Modulation(c).apply({"params": params["modulation"]}, z, embedded)
    return _denoise(params, c, x, modulation)


def _denoise(params: Params, c: FlowConfig, x: Array, modulation: Array) -> Array:
    return Denoiser(c, x.shape[-1]).apply({"params": params["net"]}, x, modulation)


def schedule(params: Params, c: FlowConfig, steps: int) -> Array:
    """The embedded times of all sampling steps, [steps, C]: a constant of the model."""
    if c.num_times == 0:
        return jnp.zeros((1, c.dim))
    start = jnp.arange(steps, dtype=jnp.float32)[:, None] / steps
    times = (start, start + 1.0 / steps)[: c.num_times]
    return Times(c).apply({"params": params["times"]}, *times)


def sample(params: Params, c: FlowConfig, z: Array, noise: Array, times: Array) -> Array:
    """z [B, Z], noise [B, latent], times from `schedule` -> the next latent [B, latent]."""
    steps = times.shape[0]
    modulation = Modulation(c).apply({"params": params["modulation"]}, z[None], times[:, None])

    def step(x: Array, modulation: Array) -> Array:
        out = _denoise(params, c, x, modulation)
        return out if c.type in ("drifting", "plain") else x + out / steps

    if steps > UNROLLED:
        return jax.lax.scan(lambda x, m: (step(x, m), None), noise, modulation)[0]
    x = noise
    for i in range(steps):  # modulation is [steps, B, ...]
        x = step(x, modulation[i])
    return x


def fed(c: FlowConfig, latent: Array, noise: Array) -> Array:
    """What the backbone hears of a latent [B, latent]. The mean alone would be said in one way."""
    return latent + WANDERING * noise if c.type == "plain" else latent
