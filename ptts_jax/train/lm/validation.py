"""How a language model in training does on held-out utterances: frame by frame after the true ones,
and speaking freely. Knows no files."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.engine.request import Sampling
from ptts_jax.model import head
from ptts_jax.model.config import Config, FlowLMConfig
from ptts_jax.train.lm import freerun, losses, rows, stage
from ptts_jax.train.lm.alignment import guide, guided_layers
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.rows import Material, Rows
from ptts_jax.train.lm.stage import Params

FREE = 48  # utterances to speak freely
PROMPT = 12  # frames of their voice
TAUGHT = 6  # batches to follow frame by frame


def validator(c: Config, recipe: Recipe, held: Material) -> Callable[[Params], dict[str, float]]:
    bucket = rows.buckets(held.utterances, 1)[0]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(bucket.members))
    size = min(recipe.batch, len(order))
    parts = [
        rows.make(held, bucket, order[at : at + size], recipe.voices, rng)
        for at in range(0, min(len(order) - size + 1, TAUGHT * size), size)
    ]
    chosen = order[:FREE]
    sampling = Sampling(c.default_temperature, eos_threshold=c.default_eos_threshold)

    def validate(state: Params) -> dict[str, float]:
        params, flow_lm = stage.deployed(state["ema"], c.flow_lm, recipe)
        regress = state["trained"].get("extra", {}).get("regress")  # a student has none
        figures = [jax.device_get(_taught(params, flow_lm, part, regress)) for part in parts]
        means = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
        spoken = freerun.durations(
            params,
            replace(c, flow_lm=flow_lm),
            held,
            chosen,
            PROMPT,
            recipe.eos_frames,
            sampling,
        )
        return means | spoken

    return validate


@partial(jax.jit, static_argnums=1)
def _taught(
    params: Params, c: FlowLMConfig, batch: Rows, regress: Array | None
) -> dict[str, Array]:
    """Squared error of the next frame after the true ones, by the head and by the regression beside
    it, and how diagonal the attention is."""
    z, maps = rows.forward(params, c, batch, batch.latents, guided_layers(c.transformer))
    data = batch.latents
    valid = jnp.arange(data.shape[1]) < batch.frame_count[:, None]
    z = z[:, :-1].reshape(-1, z.shape[-1])
    draw = jax.random.normal(jax.random.key(0), (z.shape[0], data.shape[-1]))
    times = head.schedule(params["head"], c.flow, 1)
    found = {"off_diagonal": guide(maps, batch.token_count, batch.frame_count, 0.15)}
    if regress is not None:
        error = jnp.square((z @ regress.T).reshape(data.shape) - data).mean(-1)
        found["error_plain"] = losses.mean(error, valid)
    for name, temperature in (("error_at_0", 0.0), ("error_at_0.3", 0.3)):
        made = head.sample(params["head"], c.flow, z, draw * temperature**0.5, times)
        error = jnp.square(made.reshape(data.shape) - data).mean(-1)
        found[name] = losses.mean(error, valid)
    return found
