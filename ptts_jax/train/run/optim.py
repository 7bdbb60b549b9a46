"""Optimisers: AdamW or Muon with warm-up, cosine decay and clipping; freezing by path."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from optax import contrib


def schedule(rate: float, steps: int | Array, warmup: int, floor: float = 0.02) -> optax.Schedule:
    """Linear warm-up, then half a cosine down to `floor` of the rate; `steps` may be traced."""
    length = jnp.maximum(steps - warmup, 1).astype(jnp.float32)

    def cosine(count: Array) -> Array:
        share = jnp.pi * jnp.minimum(count, length) / length
        return rate * ((1 - floor) * (0.5 * (1 + jnp.cos(share))) + floor)

    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), cosine], [warmup])


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

    def as_large(update: Array) -> Array:  # an orthogonal matrix's mean square: 1 / longer side
        return update * (0.2 * max(update.shape) ** 0.5)

    parts = {
        "chosen": optax.chain(
            contrib.scale_by_muon(weight_dimension_numbers=matrix),
            optax.stateless_with_tree_map(lambda update, _: as_large(update)),
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


def frozen(
    inner: optax.GradientTransformation, patterns: Sequence[str]
) -> optax.GradientTransformation:
    """`inner` for what no pattern matches. What is frozen has no optimiser state either."""
    parts = {"trained": inner, "frozen": optax.set_to_zero()}
    return optax.multi_transform(parts, lambda params: labels(params, patterns))


def labels(params: Any, patterns: Sequence[str]) -> Any:
    """The word frozen for a leaf whose path, as lm/head/net/final/w, a pattern matches from its
    start, and trained for the others."""
    flat, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [name(path) for path, _ in flat]
    idle = [p for p in patterns if not any(re.match(p, name) for name in names)]
    if idle:
        raise ValueError(f"frozen: no parameter matches {idle[0]!r}; there is {names[0]}, ...")
    words = ["frozen" if any(re.match(p, n) for p in patterns) else "trained" for n in names]
    return jax.tree.unflatten(structure, words)


def name(path: Any) -> str:
    """A leaf's path in words, as lm/head/net/final/w."""
    return "/".join(str(getattr(k, "key", k)) for k in path)


def matrices(params: Any) -> Any:
    """True for each leaf that is a matrix or more."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def average(ema: Any, params: Any, step: Array, decay: float) -> Any:
    """A running mean of the parameters, without a bias towards the start."""
    share = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: old + (1 - share) * (new - old), ema, params)
