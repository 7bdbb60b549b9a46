"""The measurements: a step's time at every filling of a cache, and how its speech agrees.

Yields results as they come; knows no flags, tables or files.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.bench.int8 import speech
from ptts_jax.bench.models import VOICE_SLOTS, random_voice
from ptts_jax.bench.scan import drivers
from ptts_jax.model import generate, lm
from ptts_jax.model.config import Config
from ptts_jax.model.generate import GenState
from ptts_jax.model.pytree import Params

PASS = 32  # entries that are written at once to fill a cache


@dataclass(frozen=True)
class Plan:
    drivers: Sequence[str]
    fills: Sequence[int]  # entries in the cache when steps are timed
    frames: int  # of a block, for which one time is taken
    repeats: int  # blocks; the median counts


@dataclass(frozen=True)
class Timing:
    """One cache with one driver."""

    cache: str
    driver: str
    compile_seconds: float
    cache_bytes: int  # with room for the fullest filling
    scratch_bytes: int  # that a call needs besides
    milliseconds: tuple[float, ...]  # of a step, filling by filling


def timings(
    params: Params, config: Config, caches: Mapping[str, Any], plan: Plan
) -> Iterator[Timing]:
    """Every cache with every driver, on one row. A cache that grows has room for all fillings."""
    room = plan.fills[-1] + (plan.repeats + 1) * plan.frames
    for name, kind in caches.items():
        state = empty(params, config, kind, room)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state.cache))
        chosen = {d: drivers.make(d, plan.frames) for d in plan.drivers}
        compiled, seconds = {}, {}
        for d, driver in chosen.items():
            start = time.perf_counter()
            compiled[d] = driver.compiled(params, config, state)
            seconds[d] = time.perf_counter() - start
        times: dict[str, list[float]] = {d: [] for d in chosen}
        for fill in plan.fills:
            state = _filled(params, config, state, fill)
            for d, driver in chosen.items():
                times[d].append(_step(params, config, state, driver, compiled[d], plan))
        for d in chosen:
            scratch = compiled[d].memory_analysis().temp_size_in_bytes
            yield Timing(name, d, seconds[d], size, scratch, tuple(times[d]))


def empty(params: Params, config: Config, kind: Any, room: int) -> GenState:
    """After a voice, with no text, in a row that never ends."""
    slots = kind.slots_for(VOICE_SLOTS, max(0, room - VOICE_SLOTS))
    shape = lm.cache_shape(params["lm"], config.flow_lm, 1, slots)
    cache = kind.from_voices(shape, [random_voice(config, min(VOICE_SLOTS, slots))])
    zero, limit = np.zeros(1, np.int32), np.full(1, 10**6, np.int32)
    return generate.begin(params, config, 1, cache, zero, limit, np.full(1, np.inf, np.float32))


def _filled(params: Params, config: Config, state: GenState, fill: int) -> GenState:
    """The same row with entries of frames up to `fill`."""
    rng, width = np.random.default_rng(fill), config.flow_lm.transformer.d_model
    while (missing := fill - int(state.cache.positions[0])) > 0:
        x = rng.standard_normal((1, PASS, width), np.float32)
        state = _appended(params, config, state, x, np.int32(min(PASS, missing)))
    return state


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def _appended(params: Params, config: Config, state: GenState, x: Array, count: Array) -> GenState:
    """The first `count` of the entries x [1, T, d], unpinned as those of frames are."""
    slot = jnp.arange(x.shape[1], dtype=jnp.int32)
    positions = jnp.where(slot < count, state.cache.positions[:, None] + slot, -1)
    _, cache = lm.backbone(params["lm"], config.flow_lm, x, state.cache, positions)
    return state.replace(cache=cache)


def _step(
    params: Params,
    config: Config,
    state: GenState,
    driver: drivers.Driver,
    call: Any,
    plan: Plan,
) -> float:
    """Milliseconds of a step; the state stays as it is, since a copy goes on from it."""
    state = jax.block_until_ready(jax.tree.map(jnp.copy, state))
    noise = driver.noise(config.mimi.latent_dim)
    taken = []
    for _ in range(plan.repeats + 1):
        start = time.perf_counter()
        for _ in range(plan.frames // driver.frames):
            state, _ = call(params, state, noise, *driver.further)
        jax.block_until_ready(state)
        taken.append(1000 * (time.perf_counter() - start) / plan.frames)
    return median(taken[1:])


def agreements(
    params: Params, setup: speech.Setup, caches: Mapping[str, Any]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What each cache does to every utterance, against the full one."""
    free = speech.free(params, setup)
    told = [run.latents for run in free]
    forced = speech.forced(params, setup, told)
    for name, kind in caches.items():
        other = replace(setup, cache=kind)
        pairs = zip(
            zip(forced, speech.forced(params, other, told), strict=True),
            zip(free, speech.free(params, other), strict=True),
            strict=True,
        )
        yield name, [speech.compare(setup, *pair) for pair in pairs]
