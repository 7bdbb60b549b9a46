"""The training of a language model: its recipe, its loss on a batch of rows, its update.

A plain regression from the backbone's output and a guide along the diagonal make it find its way
through the text; the head, which is what generation samples from, is trained beside them. Both are
dropped in the end. The forward pass is the model's own code. Knows nothing of files and flags.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ptts_jax import lm
from ptts_jax.config import FlowLMConfig
from ptts_jax.train import consistency, objectives, optim, products, quantaware, rows
from ptts_jax.train.alignment import guide, guided_layers
from ptts_jax.train.frozen import frozen
from ptts_jax.train.loop import Stage
from ptts_jax.train.rows import Material, Rows

Params = dict[str, Any]
OBJECTIVES = ("lsd", "flow_matching", "drifting", "consistency", "regression")
# The head's kind that an objective trains.
HEADS = {"consistency": "flow_matching", "regression": "drifting"}


@dataclass(frozen=True)
class Recipe:
    """How to train; what is trained is a FlowLMConfig."""

    objective: str = "lsd"
    steps: int = 20_000
    batch: int = 32
    rate: float = 1.5e-3
    warmup: int = 300
    decay: float = 0.05
    ema: float = 0.998
    copies: int = 4  # of each frame, for the head
    head_from: int = 0  # step from which the head is trained
    regress: float = 1.0  # weights of the losses beside the head's
    eos: float = 0.3
    eos_frames: int = 2  # before the end that count as the end
    guide: float = 5.0
    guide_later: float = 1.0
    guide_steps: int = 1000  # then the later weight, fading out over the rest
    guide_sigma: float = 0.15
    history_noise: float = 0.25
    history_dropout: float = 0.1
    drop_text: float = 0.0
    drop_voice: float = 0.0
    voices: tuple[int, int] = (8, 18)  # frames of the voice prompt, least and most
    buckets: int = 5
    curriculum: int = 0  # steps until the longest rows are seen
    bf16: bool = False
    muon: bool = False  # orthogonalised updates of the backbone's matrices, else AdamW alone
    int8: bool = False  # products as the int8 model does them, for fine-tuning


def init(key: Array, c: FlowLMConfig, source: Material) -> Params:
    """Fresh trainable parameters: the model's own and what training alone needs."""
    size = inner = source.latents.shape[1]
    keys = jax.random.split(key)
    params = lm.init(keys[0], c, size, inner)
    params["mean"], params["std"] = jnp.asarray(source.mean), jnp.asarray(source.std)
    width = c.z_dim or c.transformer.d_model
    return {"lm": params, "extra": extra(keys[1], width, size)}


def extra(key: Array, width: int, size: int) -> Params:
    return {
        "regress": jax.random.normal(key, (size, width)) * width**-0.5,
        "precision": jnp.zeros(2),
        "consistency": jnp.zeros(consistency.FEATURES),
    }


def loss(
    trained: Params,
    c: FlowLMConfig,
    recipe: Recipe,
    batch: Rows,
    key: Array,
    step: Array,
    weight: objectives.Weight = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """`weight` is that of each dimension of a latent."""
    keys = jax.random.split(key, 3)
    batch = _dropped(keys[0], recipe, batch)
    history = rows.noisy_history(
        keys[1], batch.latents, recipe.history_noise, recipe.history_dropout
    )
    params = trained["lm"]
    wanted = guided_layers(c.transformer) if recipe.guide else ()
    rounded = quantaware.rounded() if recipe.int8 else contextlib.nullcontext()
    with products.fast(recipe.bf16), rounded:
        z, maps = rows.forward(params, c, batch, history, wanted)
    figures = {"eos": objectives.eos(lm.eos_logit(params, z), batch.frame_count, recipe.eos_frames)}
    z, data = z[:, :-1], batch.latents
    valid = jnp.arange(data.shape[1]) < batch.frame_count[:, None]  # [B, T]
    total = recipe.eos * figures["eos"]
    if recipe.regress:
        made = z @ trained["extra"]["regress"].T
        figures["regress"] = objectives.regression(made, data, valid, weight)
        total += recipe.regress * figures["regress"]
    if maps:
        figures["guide"] = guide(maps, batch.token_count, batch.frame_count, recipe.guide_sigma)
        total += _guide_weight(recipe, step) * figures["guide"]

    def with_head() -> tuple[Array, dict[str, Array]]:
        return _head_loss(keys[2], trained, c, recipe, z, data, valid, step, weight)

    if recipe.head_from:
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(with_head))
        own, more = jax.lax.cond(step >= recipe.head_from, with_head, lambda: nothing)
    else:
        own, more = with_head()
    return total + own, {"loss": total + own, **figures, **more}


def _dropped(key: Array, recipe: Recipe, batch: Rows) -> Rows:
    if not recipe.drop_text and not recipe.drop_voice:
        return batch
    draw = jax.random.uniform(key, (2, batch.tokens.shape[0]))
    return rows.drop(batch, draw[0] < recipe.drop_text, draw[1] < recipe.drop_voice)


def _guide_weight(recipe: Recipe, step: Array) -> Array:
    share = (step - recipe.guide_steps) / max(recipe.steps - recipe.guide_steps, 1)
    return jnp.where(share < 0, recipe.guide, recipe.guide_later * (1 - share))


def _head_loss(
    key: Array,
    trained: Params,
    c: FlowLMConfig,
    recipe: Recipe,
    z: Array,
    data: Array,
    valid: Array,
    step: Array,
    weight: objectives.Weight,
) -> tuple[Array, dict[str, Array]]:
    own, extras, copies = trained["lm"]["head"], trained["extra"], recipe.copies
    args = (key, own, c.flow, z, data, valid)
    match recipe.objective:
        case "lsd":
            return objectives.lsd(*args, extras["precision"], copies, weight)
        case "flow_matching":
            return objectives.flow_matching(*args, copies)
        case "drifting":
            tau = objectives.drifting_tau(step / recipe.steps)
            return objectives.drifting(*args, tau, copies)
        case "consistency":
            share = jnp.minimum(4 * step / recipe.steps, 1.0)
            return consistency.loss(*args, extras["consistency"], share, copies)
        case "regression":
            return objectives.head_regression(*args)
    raise ValueError(f"objective {recipe.objective!r}: there are {', '.join(OBJECTIVES)}")


def deployed(params: Params, c: FlowLMConfig, recipe: Recipe) -> tuple[Params, FlowLMConfig]:
    """What generation takes, of a model's parameters as they are trained."""
    if recipe.objective != "consistency":
        return params, c
    folded, flow = consistency.fold(params["head"], c.flow)
    return {**params, "head": folded}, replace(c, flow=flow)


def optimiser(
    recipe: Recipe, c: FlowLMConfig, fixed: tuple[str, ...]
) -> optax.GradientTransformation:
    rate = optim.schedule(recipe.rate, recipe.steps, recipe.warmup)
    constants = ("lm/mean", "lm/std", "lm/head/times/.*/freqs")[: 3 if c.flow.num_times else 2]
    if recipe.muon:
        tx = optim.muon(rate, lambda path: "/layers/" in path, decay=recipe.decay)
    else:
        tx = optim.adamw(rate, decay=recipe.decay)
    return frozen(tx, constants + fixed)


def stage(
    c: FlowLMConfig,
    recipe: Recipe,
    initial: Callable[[Array], Params],
    batch: Callable[[int], Rows],
    validate: Callable[[Params, int], dict[str, float]] | None = None,
    fixed: tuple[str, ...] = (),
    meta: Mapping[str, Any] | None = None,
    weight: objectives.Weight = 1.0,
) -> Stage:
    tx = optimiser(recipe, c, fixed)

    def start(key: Array) -> Params:
        trained = initial(key)
        return {"trained": trained, "ema": trained["lm"], "optimiser": tx.init(trained)}

    def update(
        state: Params, rows_: Rows, key: Array, step: Array
    ) -> tuple[Params, dict[str, Array]]:
        gradient, figures = jax.grad(loss, has_aux=True)(
            state["trained"], c, recipe, rows_, key, step, weight
        )
        updates, optimiser_state = tx.update(gradient, state["optimiser"], state["trained"])
        trained = optax.apply_updates(state["trained"], updates)
        ema = optim.average(state["ema"], trained["lm"], step, recipe.ema)
        return {"trained": trained, "ema": ema, "optimiser": optimiser_state}, figures

    return Stage("lm", start, update, batch, validate, meta or {})
