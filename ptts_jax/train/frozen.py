"""Training some parameters and leaving others as they are, told apart by their paths."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import optax

from ptts_jax.train import optim


def labels(params: Any, patterns: Sequence[str]) -> Any:
    """The word frozen for a leaf whose path, as lm/head/net/final/w, a pattern matches from its
    start, and trained for the others."""
    flat, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [optim.name(path) for path, _ in flat]
    idle = [p for p in patterns if not any(re.match(p, name) for name in names)]
    if idle:
        raise ValueError(f"frozen: no parameter matches {idle[0]!r}; there is {names[0]}, ...")
    found = ["frozen" if any(re.match(p, n) for p in patterns) else "trained" for n in names]
    return jax.tree.unflatten(structure, found)


def frozen(
    inner: optax.GradientTransformation, patterns: Sequence[str]
) -> optax.GradientTransformation:
    """`inner` for what no pattern matches. What is frozen has no optimiser state either."""
    parts = {"trained": inner, "frozen": optax.set_to_zero()}
    return optax.multi_transform(parts, lambda params: labels(params, patterns))
