"""Texts read into caches: in any blocks, with any capacity, the same states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptts_jax.engine import loops
from ptts_jax.engine.request import Job
from ptts_jax.model import generate, lm
from ptts_jax.model.caches.full import FullCache
from tests.support.generation import (
    JOBS,
    PARAMS,
    VOICES,
    C,
    alike,
    history,
    noise,
    opened,
    scanned,
    voice,
    voiced,
)


def test_prefill_and_a_step_is_a_prefill_of_one_more():
    stepped, _ = generate.step(PARAMS, C, opened([1]), noise([1], 1)[0])
    filled = opened([1])
    x = lm.embed_latent(PARAMS["lm"], jnp.tile(filled.latent[:, None], (1, 16, 1)))
    filled = generate.prefill(PARAMS, C, filled, x, np.array([1], np.int32))
    assert int(stepped.cache.positions[0]) == int(filled.cache.positions[0]) == 30 + 40 + 1
    alike(history(stepped), history(filled))


@pytest.mark.parametrize("row, size", [(0, 16), (1, 48), (2, 32)])
def test_a_text_and_the_first_frame_in_one_pass(row, size):
    draws = noise([row], 17)
    state, frame = generate.step(PARAMS, C, opened([row]), draws[0])
    begun = loops.begin(PARAMS, C, voiced([row]), [JOBS[row]])
    own = loops.block([JOBS[row]], 0, size)
    at_once, first = generate.first(PARAMS, C, begun, *own, draws[0])
    np.testing.assert_allclose(first.latent, frame.latent, atol=1e-5)
    np.testing.assert_allclose(first.eos_logit, frame.eos_logit, atol=1e-5)
    alike(history(at_once), history(state))
    for name in ("frame", "eos_frame"):
        np.testing.assert_array_equal(getattr(at_once, name), getattr(state, name))
    np.testing.assert_array_equal(at_once.cache.positions, state.cache.positions)
    # What stands behind it in the cache is overwritten, not seen.
    later = [scanned(s, draws[1:]).latent for s in (poisoned(at_once), state)]
    np.testing.assert_allclose(*later, atol=1e-5)


def test_rows_of_other_lengths_begin_in_one_pass():
    rows = [0, 2]
    state = loops.begin(PARAMS, C, voiced(rows), [JOBS[i] for i in rows])
    draws = noise(rows, 5)
    own = loops.block([JOBS[i] for i in rows], 0, 32)
    state, frame = generate.first(PARAMS, C, state, *own, draws[0])
    found = np.concatenate([frame.latent[None], scanned(state, draws[1:]).latent])
    np.testing.assert_allclose(found, scanned(opened(rows), draws).latent, atol=1e-5)


def test_prefill_in_other_blocks_is_the_same(monkeypatch):
    at_once = opened([3])  # 64 + 16 slots for 70 tokens
    monkeypatch.setattr(loops, "PREFILL_BLOCKS", (16, 16))
    in_blocks = opened([3])
    alike(history(at_once), history(in_blocks))
    draws = noise([3], 16)
    a, b = scanned(at_once, draws), scanned(in_blocks, draws)
    np.testing.assert_allclose(a.latent, b.latent, atol=1e-5)


def poisoned(state: generate.GenState) -> generate.GenState:
    """1e4 wherever no entry is."""
    heads, positions = C.flow_lm.transformer.kv_heads, np.asarray(state.cache.positions)
    empty = np.arange(state.cache.slots) >= np.repeat(positions, heads)[:, None]
    assert empty.any()

    def poison(x: jax.Array) -> jax.Array:
        return jnp.where(empty[..., None], 1e4, x) if x.ndim == 3 else x

    return state.replace(cache=jax.tree.map(poison, state.cache))


def test_stale_slots_do_not_matter():
    rows, draws = [0, 1, 2, 3], noise([0, 1, 2, 3], 16)
    clean, dirty = scanned(opened(rows), draws), scanned(poisoned(opened(rows)), draws)
    np.testing.assert_array_equal(clean.latent, dirty.latent)
    np.testing.assert_array_equal(clean.eos_logit, dirty.eos_logit)


def test_a_rewound_cache_is_a_voice_again():
    rows, draws = [1], noise([1], 16)
    fresh = scanned(opened(rows), draws)
    used, _ = generate.scan_steps(PARAMS, C, opened(rows), draws)
    cache = poisoned(used.replace(cache=used.cache.rewind(VOICES[1].length))).cache
    again = loops.start(PARAMS, C, cache, [JOBS[1]])
    np.testing.assert_array_equal(scanned(again, draws).latent, fresh.latent)


def test_capacity_does_not_matter():
    draws = noise([1], 16)
    small, large = scanned(opened([1]), draws), scanned(opened([1], slots=384), draws)
    np.testing.assert_allclose(small.latent, large.latent, atol=1e-5)


def test_the_cache_never_overflows():
    """Not with the last frame of the longest row; padding and what comes after is not written."""
    tight = 0
    for length, tokens, limit in itertools.product((1, 130, 300), (1, 17, 60, 90), range(1, 200)):
        v, j = voice(length), Job([1] * tokens, 1, limit)
        need = length + tokens + limit
        slots = loops.shape_for(PARAMS, C, FullCache, [v, VOICES[2]], [JOBS[0], j]).slots
        assert need <= slots
        tight += need > slots - 40
    assert tight  # some came close
