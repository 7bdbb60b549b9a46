"""Optimisers: AdamW with warm-up, cosine decay and clipping; parts may be frozen by path."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array


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


def matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def average(ema: Any, params: Any, step: Array, decay: float) -> Any:
    """A running mean of the parameters, without a bias towards the start."""
    keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: old + (1 - keep) * (new - old), ema, params)
