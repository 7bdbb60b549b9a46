"""Rows with states of their own, several of them in one step.

A step reads the weights once for all its rows, and each row goes on in its own buffers: which rows
share a step may change at every frame, and nothing is copied for it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ptts_jax.model import generate, pytree
from ptts_jax.model.caches import watched
from ptts_jax.model.config import Config
from ptts_jax.model.generate import Frame, GenState
from ptts_jax.model.kept import Function
from ptts_jax.model.pytree import Params


@pytree.dataclass
class SideBySide:
    """Caches of one row each as the cache of them all; of whatever kind they are."""

    rows: tuple[Any, ...]

    @property
    def positions(self) -> Array:
        return jnp.concatenate([row.positions for row in self.rows])

    @property
    def seen(self) -> Array | None:
        parts = [watched.seen(row) for row in self.rows]
        return None if parts[0] is None else jnp.concatenate(parts)

    def open(self, positions: Array) -> "SideBySide":
        opened = (row.open(positions[i : i + 1]) for i, row in enumerate(self.rows))
        return self.replace(rows=tuple(opened))

    def attend(
        self, layer: int, q: Array, k: Array, v: Array, positions: Array
    ) -> tuple[Array, "SideBySide"]:
        parts = [
            row.attend(layer, *(x[i : i + 1] for x in (q, k, v, positions)))
            for i, row in enumerate(self.rows)
        ]
        out, rows = zip(*parts, strict=True)
        return jnp.concatenate(out), self.replace(rows=rows)

    def close(self, positions: Array) -> "SideBySide":
        closed = (row.close(positions[i : i + 1]) for i, row in enumerate(self.rows))
        return self.replace(rows=tuple(closed))


def _joined(states: Sequence[GenState]) -> GenState:
    """States of one row each as the state of them all."""
    bare = [state.replace(cache=(), times=()) for state in states]
    one = jax.tree.map(lambda *x: jnp.concatenate(x), *bare)
    caches = SideBySide(tuple(state.cache for state in states))
    return one.replace(cache=caches, times=states[0].times)


def _parted(joined: GenState) -> tuple[GenState, ...]:
    """The rows' own states again."""
    bare = joined.replace(cache=(), times=())

    def row(i: int, cache: Any) -> GenState:
        one = jax.tree.map(lambda x: x[i : i + 1], bare)
        return one.replace(cache=cache, times=joined.times)

    return tuple(row(i, cache) for i, cache in enumerate(joined.cache.rows))


def _several(
    params: Params, config: Config, states: tuple[GenState, ...], noise: Array, count: Array
) -> tuple[tuple[GenState, ...], Frame]:
    """As generate.several, for rows with states of one row each; noise [N, B, D].

    All rows are watched or none; their caches have one size and their heads one number of sampling
    steps.
    """
    state, frames = generate.some_frames(params, config, _joined(states), noise, count)
    return _parted(state), frames


several = Function(_several, static=("config",), donate=("states",))
