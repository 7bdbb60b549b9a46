"""How long the stages of our own engine take, one by one, in milliseconds.

The functions that the loops call, with arrays of the shapes they give them. Knows no text and no
files; runs in the worker of the benchmark.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ptts_jax.bench.models import VOICE_SLOTS, random_voice
from ptts_jax.engine import loops
from ptts_jax.model import generate, head, lm
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params

Times = dict[str, list[float]]  # case -> milliseconds of each call

DECODE_BLOCKS = (1, 2, 4, 8)  # whichever of them the streaming decoder uses


def measure(params: Params, config: Config, fills: list[int], repeats: int) -> dict[str, Times]:
    """Prefill per block, a step at every filling, the head alone, decoding per frame."""
    return {
        "prefill": _prefill(params, config, repeats),
        "step": _step(params, config, fills, repeats),
        "head": _head(params, config, repeats),
        "decode": _decode(params, config, repeats),
    }


def _state(params: Params, config: Config, filled: int, room: int) -> generate.GenState:
    """As after a voice and a text that fill so many slots, in the smallest cache for the rest."""
    shape = lm.cache_shape(params["lm"], config.flow_lm, 1, FullCache.slots_for(filled, room))
    cache = FullCache.from_voices(shape, [random_voice(config, filled)])
    zero, limit = np.zeros(1, np.int32), np.full(1, 10**6, np.int32)
    state = generate.begin(params, config, 1, cache, zero, limit, np.full(1, np.inf, np.float32))
    return jax.block_until_ready(state)


def _clock(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    return 1000 * (time.perf_counter() - start), result


def _prefill(params: Params, config: Config, repeats: int) -> Times:
    """A whole block of text after a voice."""
    times = {}
    for size in loops.PREFILL_BLOCKS:
        tokens, count = np.zeros((1, size), np.int32), np.full(1, size, np.int32)
        taken = []
        for _ in range(repeats + 1):  # the first call compiles
            state = _state(params, config, VOICE_SLOTS, size)
            took, _ = _clock(generate.prefill_text, params, config, state, tokens, count)
            taken.append(took)
        times[str(size)] = taken[1:]
    return times


def _step(params: Params, config: Config, fills: list[int], repeats: int) -> Times:
    """The fillings in turn, so that whatever else the machine does strikes all of them."""
    states = {filled: _state(params, config, filled, repeats + 1) for filled in fills}
    noise = np.zeros((1, config.mimi.latent_dim), np.float32)
    times: Times = {str(filled): [] for filled in fills}
    for turn in range(repeats + 1):
        for filled in fills:
            took, made = _clock(generate.step, params, config, states[filled], noise)
            states[filled], _ = made
            if turn:
                times[str(filled)].append(took)
    return times


def _head(params: Params, config: Config, repeats: int) -> Times:
    """One sampling step of the head by itself."""
    c, p = config.flow_lm, params["lm"]["head"]
    run = jax.jit(lambda p, z, noise, times: head.sample(p, c.flow, z, noise, times))
    times = jax.jit(lambda p: head.schedule(p, c.flow, 1))(p)
    z = np.ones((1, c.z_dim or c.transformer.d_model), np.float32)
    noise = np.ones((1, config.mimi.latent_dim), np.float32)
    return {"": [_clock(run, p, z, noise, times)[0] for _ in range(repeats + 1)][1:]}


def _decode(params: Params, config: Config, repeats: int) -> Times:
    """Per frame, in blocks of several sizes."""
    rng, times = np.random.default_rng(0), {}
    for size in DECODE_BLOCKS:
        latents = rng.standard_normal((1, size, config.mimi.latent_dim), np.float32)
        decoder, taken = None, []
        for _ in range(repeats + 1):
            took, made = _clock(loops.decode_block, params, config, decoder, latents)
            decoder, _ = made
            taken.append(took / size)
        times[str(size)] = taken[1:]
    return times
