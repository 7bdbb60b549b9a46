"""Distillation of a language model: what a student learns from its teacher, frame by frame.

- backbone: the student's output z regresses the teacher's, guided away from what the teacher makes
  of a row without its text (so that one pass does what guidance does with two); a student of fewer
  layers begins with the teacher's lowest and topmost ones. Head and EOS are the teacher's.
- pointwise: the backbone stays; a head without times learns the teacher's whole jump.

Knows nothing of files and flags.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ptts_jax.model import head
from ptts_jax.model.config import FlowLMConfig
from ptts_jax.model.pytree import Params
from ptts_jax.train.lm import losses, objectives, products, rows
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.rows import Rows
from ptts_jax.train.run import optim
from ptts_jax.train.run.loop import Progress, Stage

KINDS = ("backbone", "pointwise")
CONSTANTS = ("mean", "std", "head/", "eos/")  # of a student's backbone


def kept_layers(teacher: int, student: int) -> tuple[int, ...]:
    """Which of the teacher's layers a student begins with: the lowest and the topmost."""
    if not 0 < student <= teacher:
        raise ValueError(f"{student} layers: the teacher has {teacher}; give from 1 to {teacher}")
    low = -(-student // 2)
    return (*range(low), *range(teacher - (student - low), teacher))


def shallow(params: Params, c: FlowLMConfig, layers: int) -> tuple[Params, FlowLMConfig]:
    """A student of some of the teacher's layers."""
    kept = kept_layers(c.transformer.num_layers, layers)
    old = params["backbone"]["layers"]
    some = {f"layer_{new}": old[f"layer_{i}"] for new, i in enumerate(kept)}
    backbone = {**params["backbone"], "layers": some}
    config = replace(c, transformer=replace(c.transformer, num_layers=layers))
    return {**params, "backbone": backbone}, config


def pointwise(key: Array, params: Params, c: FlowLMConfig) -> tuple[Params, FlowLMConfig]:
    """The same model with a fresh head without times."""
    flow = replace(c.flow, type="pointwise")
    size, z_dim = params["mean"].shape[0], c.z_dim or c.transformer.d_model
    return {**params, "head": head.init(key, flow, z_dim, size)}, replace(c, flow=flow)


def guided(params: Params, c: FlowLMConfig, batch: Rows, history: Array, scale: float) -> Array:
    """The teacher's z, `scale` of the way from that without the text to that with it."""
    z, _ = rows.forward(params, c, batch, history)
    if scale == 1:
        return z
    count = batch.tokens.shape[0]
    bare = rows.drop(batch, jnp.ones(count, bool), jnp.zeros(count, bool))
    null, _ = rows.forward(params, c, bare, history)
    return null + scale * (z - null)


def loss(
    student: Params,
    teacher: Params,
    configs: tuple[FlowLMConfig, FlowLMConfig],
    kind: str,
    scale: float,
    recipe: Recipe,
    batch: Rows,
    key: Array,
) -> tuple[Array, dict[str, Array]]:
    """`configs` are the student's and the teacher's."""
    c, tc = configs
    keys = jax.random.split(key)
    history = rows.noisy_history(
        keys[0], batch.latents, recipe.history_noise, recipe.history_dropout
    )
    with products.fast(recipe.bf16):
        wanted = jax.lax.stop_gradient(guided(teacher, tc, batch, history, scale))
    slot = jnp.arange(wanted.shape[1])
    if kind == "backbone":
        with products.fast(recipe.bf16):
            z, _ = rows.forward(student, c, batch, history)
        error = jnp.mean(jnp.square(z - wanted), axis=-1)
        off = losses.mean(error, slot <= batch.frame_count[:, None])
        return off, {"loss": off}
    valid = slot[:-1] < batch.frame_count[:, None]
    frames = objectives.Frames(wanted[:, :-1], batch.latents, valid)
    taught = teacher["head"], tc.flow
    return objectives.pointwise(keys[1], student["head"], c.flow, frames, taught, recipe.copies)


def stage(
    kind: str,
    configs: tuple[FlowLMConfig, FlowLMConfig],
    recipe: Recipe,
    initial: Callable[[Array], tuple[Params, Params]],
    batch: Callable[[int], Rows],
    scale: float = 1.0,
    validate: Callable[[Params], dict[str, float]] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Stage:
    """`initial` gives the student's and the teacher's parameters; the teacher's stay."""
    fixed = CONSTANTS if kind == "backbone" else ("(?!head/)",)

    def optimiser(steps: int | Array) -> optax.GradientTransformation:
        rate = optim.schedule(recipe.rate, steps, recipe.warmup)
        return optim.frozen(optim.adamw(rate, decay=recipe.decay), fixed)

    def start(key: Array) -> Params:
        student, teacher = initial(key)
        return {
            "trained": student,
            "ema": student,
            "teacher": teacher,
            "optimiser": optimiser(recipe.steps).init(student),
        }

    def update(
        state: Params, batch: Rows, key: Array, progress: Progress
    ) -> tuple[Params, dict[str, Array]]:
        gradient, figures = jax.grad(loss, has_aux=True)(
            state["trained"], state["teacher"], configs, kind, scale, recipe, batch, key
        )
        tx = optimiser(progress.steps)
        updates, after = tx.update(gradient, state["optimiser"], state["trained"])
        student = optax.apply_updates(state["trained"], updates)
        ema = optim.average(state["ema"], student, progress.step, recipe.ema)
        return {**state, "trained": student, "ema": ema, "optimiser": after}, figures

    return Stage(f"distill {kind}", start, update, batch, validate, meta or {})
