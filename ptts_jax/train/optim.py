"""Optimisers: AdamW with warm-up, cosine decay and clipping; parts may be frozen by path."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from optax import contrib


def schedule(rate: float, steps: int, warmup: int, floor: float = 0.02) -> optax.Schedule:
    """Linear warm-up, then half a cosine down to `floor` of the rate."""
    return optax.warmup_cosine_decay_schedule(
        0.0, rate, warmup, max(steps, warmup + 1), floor * rate
    )


def adamw(
    rate: float | optax.Schedule,
    *,
    betas: tuple[float, float] = (0.9, 0.95),
    decay: float = 0.01,
    clip: float = 1.0,
) -> optax.GradientTransformation:
    """Weight decay is of matrices alone."""
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.adamw(rate, *betas, weight_decay=decay, mask=matrices),
    )


def muon(
    rate: float | optax.Schedule,
    chosen: Callable[[str], bool],
    *,
    decay: float = 0.01,
    clip: float = 1.0,
) -> optax.GradientTransformation:
    """Orthogonalised momentum for the matrices whose path is `chosen`, AdamW for what is left.

    Its updates are about as large as AdamW's, so that one rate does for both.
    """

    def matrix(params: Any) -> Any:
        return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(), params)

    def alike(update: Array) -> Array:  # an orthogonal matrix's mean square is 1 / its longer side
        return update * (0.2 * max(update.shape) ** 0.5)

    parts = {
        "chosen": optax.chain(
            contrib.scale_by_muon(weight_dimension_numbers=matrix),
            optax.stateless_with_tree_map(lambda update, _: alike(update)),
            optax.add_decayed_weights(decay),
            optax.scale_by_learning_rate(rate),
        ),
        "others": optax.adamw(rate, 0.9, 0.95, weight_decay=decay, mask=matrices),
    }

    def kinds(params: Any) -> Any:
        def kind(path: Any, leaf: Any) -> str:
            return "chosen" if leaf.ndim == 2 and chosen(name(path)) else "others"

        return jax.tree_util.tree_map_with_path(kind, params)

    return optax.chain(optax.clip_by_global_norm(clip), optax.multi_transform(parts, kinds))


def name(path: Any) -> str:
    """A leaf's path in words, as lm/head/net/final/w."""
    return "/".join(str(getattr(k, "key", k)) for k in path)


def matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def average(ema: Any, params: Any, step: Array, decay: float) -> Any:
    """A running mean of the parameters, without a bias towards the start."""
    keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: old + (1 - keep) * (new - old), ema, params)
