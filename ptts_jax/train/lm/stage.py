"""The training of a language model: its recipe, its loss on a batch of rows, its update.

A plain regression from the backbone's output and a guide along the diagonal make it find its way
through the text; the head, which is what generation samples from, is trained beside them. Both are
dropped in the end. The forward pass is the model's own code. Knows nothing of files and flags.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ptts_jax.model import lm
from ptts_jax.model.config import FlowLMConfig
from ptts_jax.model.pytree import Params
from ptts_jax.train.lm import folding, losses, objectives, products, quantaware, rows
from ptts_jax.train.lm.alignment import guide, guided_layers
from ptts_jax.train.lm.objectives import OBJECTIVES
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.rows import Material, Rows
from ptts_jax.train.run import optim
from ptts_jax.train.run.loop import Progress, Stage


def init(key: Array, c: FlowLMConfig, source: Material) -> Params:
    """Fresh trainable parameters: the model's own and what training alone needs."""
    size = inner = source.latents.shape[1]
    keys = jax.random.split(key)
    params = lm.init(keys[0], c, size, inner)
    params["mean"], params["std"] = jnp.asarray(source.mean), jnp.asarray(source.std)
    width = c.z_dim or c.transformer.d_model
    return {"lm": params, "extra": extra(keys[1], width, size)}


def extra(key: Array, width: int, size: int) -> Params:
    """What training alone needs: the regression beside the head, and learned precisions."""
    return {
        "regress": jax.random.normal(key, (size, width)) * width**-0.5,
        **objectives.precisions(),
    }


def loss(
    trained: Params,
    c: FlowLMConfig,
    recipe: Recipe,
    batch: Rows,
    key: Array,
    progress: Progress,
    weight: losses.Weight = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """`weight` is that of each dimension of a latent."""
    keys = jax.random.split(key, 3)
    batch = _dropped(keys[0], recipe, batch)
    history = rows.noisy_history(
        keys[1], batch.latents, recipe.history_noise, recipe.history_dropout
    )
    params = trained["lm"]
    wanted = guided_layers(c.transformer) if recipe.guide and not recipe.head_only else ()
    rounded = quantaware.rounded() if recipe.int8 else contextlib.nullcontext()
    with products.fast(recipe.bf16), rounded:
        z, maps = rows.forward(params, c, batch, history, wanted)
    figures = {"eos": losses.eos(lm.eos_logit(params, z), batch.frame_count, recipe.eos_frames)}
    z, data = z[:, :-1], batch.latents
    valid = jnp.arange(data.shape[1]) < batch.frame_count[:, None]  # [B, T]
    total = recipe.eos * figures["eos"]
    if recipe.regress:
        guess = z @ trained["extra"]["regress"].T
        figures["regress"] = losses.regression(guess, data, valid, weight)
        total += recipe.regress * figures["regress"]
    if maps:
        figures["guide"] = guide(maps, batch.token_count, batch.frame_count, recipe.guide_sigma)
        total += _guide_weight(recipe, progress) * figures["guide"]
    if recipe.head_only:
        z, total = jax.lax.stop_gradient(z), 0.0

    frames = objectives.Frames(z, data, valid)
    done = progress.step / progress.steps
    how = objectives.How(trained["extra"], recipe.copies, done, weight)

    def with_head() -> tuple[Array, objectives.Figures]:
        return OBJECTIVES[recipe.objective](keys[2], params["head"], c.flow, frames, how)

    if recipe.head_from:
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(with_head))
        head, more = jax.lax.cond(progress.step >= recipe.head_from, with_head, lambda: nothing)
    else:
        head, more = with_head()
    return total + head, {"loss": total + head, **figures, **more}


def _dropped(key: Array, recipe: Recipe, batch: Rows) -> Rows:
    if not recipe.drop_text and not recipe.drop_voice:
        return batch
    draw = jax.random.uniform(key, (2, batch.tokens.shape[0]))
    return rows.drop(batch, draw[0] < recipe.drop_text, draw[1] < recipe.drop_voice)


def _guide_weight(recipe: Recipe, progress: Progress) -> Array:
    rest = jnp.maximum(progress.steps - recipe.guide_steps, 1)
    share = (progress.step - recipe.guide_steps) / rest
    return jnp.where(share < 0, recipe.guide, recipe.guide_later * (1 - share))


def deployed(params: Params, c: FlowLMConfig, recipe: Recipe) -> tuple[Params, FlowLMConfig]:
    """What generation takes, of a model's parameters as they are trained."""
    if recipe.objective != "consistency":
        return params, c
    folded, flow = folding.consistency(params["head"], c.flow)
    return {**params, "head": folded}, replace(c, flow=flow)


def optimiser(
    recipe: Recipe, c: FlowLMConfig, fixed: tuple[str, ...], steps: int | Array
) -> optax.GradientTransformation:
    """`fixed` are patterns of parameters that stay; `steps` is the length of the run."""
    rate = optim.schedule(recipe.rate, steps, recipe.warmup)
    constants = ("lm/mean", "lm/std", "lm/head/times/.*/freqs")[: 3 if c.flow.num_times else 2]
    if recipe.head_only:
        constants += ("lm/(?!head/)", "extra/regress")
    if recipe.muon:
        tx = optim.muon(rate, lambda path: "/layers/" in path, decay=recipe.decay)
    else:
        tx = optim.adamw(rate, decay=recipe.decay)
    return optim.frozen(tx, constants + fixed)


def stage(
    c: FlowLMConfig,
    recipe: Recipe,
    initial: Callable[[Array], Params],
    batch: Callable[[int], Rows],
    validate: Callable[[Params], dict[str, float]] | None = None,
    fixed: tuple[str, ...] = (),
    meta: Mapping[str, Any] | None = None,
    weight: losses.Weight = 1.0,
) -> Stage:
    def start(key: Array) -> Params:
        trained, tx = initial(key), optimiser(recipe, c, fixed, recipe.steps)
        return {"trained": trained, "ema": trained["lm"], "optimiser": tx.init(trained)}

    def update(
        state: Params, batch: Rows, key: Array, progress: Progress
    ) -> tuple[Params, dict[str, Array]]:
        gradient, figures = jax.grad(loss, has_aux=True)(
            state["trained"], c, recipe, batch, key, progress, weight
        )
        tx = optimiser(recipe, c, fixed, progress.steps)
        updates, optimiser_state = tx.update(gradient, state["optimiser"], state["trained"])
        trained = optax.apply_updates(state["trained"], updates)
        ema = optim.average(state["ema"], trained["lm"], progress.step, recipe.ema)
        return {"trained": trained, "ema": ema, "optimiser": optimiser_state}, figures

    return Stage("lm", start, update, batch, validate, meta or {})
