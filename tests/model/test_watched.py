"""A watched cache: the same frames, and what the heads see of the text beside them."""

import dataclasses

import jax
import numpy as np
import pytest

from ptts_jax.engine import loops
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.engine.voices import Voice
from ptts_jax.model import caches, generate, lm, side_by_side
from ptts_jax.model.caches import watched
from ptts_jax.model.caches.watched import Watched
from tests.support import tiny_files

C = dataclasses.replace(tiny_files.CONFIG, default_temperature=0.7)
PARAMS = tiny_files.params(C)
HEADS = ((0, 2), (1, 0), (1, 3))
T = C.flow_lm.transformer
FRAMES = 5


def voice(length: int, seed: int = 0) -> Voice:
    rng = np.random.default_rng(seed)
    shape = (T.num_layers, T.kv_heads, length, T.head_dim)
    return Voice(*(tuple(rng.standard_normal(shape, np.float32)) for _ in "kv"))


def job(length: int, seed: int = 0) -> Job:
    tokens = np.random.default_rng([length, seed]).integers(300, 600, length).tolist()
    return Job(tokens, 2, 60, 0, seed, Sampling(temperature=0.4))


VOICES, JOBS = (voice(9), voice(30, 1)), (job(5), job(70))


def begun(kind, row: int, heads=()):
    shape = loops.shape_for(PARAMS, C, kind, [VOICES[row]], JOBS)
    cache = loops.watch(C, kind.from_voices(shape, [VOICES[row]]), heads, JOBS)
    return loops.prefill(PARAMS, C, cache, JOBS[row])


def noise(row: int, frames: int = FRAMES) -> np.ndarray:
    return loops.draws(C, [JOBS[row]], range(1, frames + 1))


def frames(kind, row: int, heads=()):
    """The first frame and the next ones, with what is seen."""
    state, first = begun(kind, row, heads)
    _, more = generate.several(PARAMS, C, state, noise(row), np.int32(FRAMES))
    return jax.tree.map(lambda a, b: np.concatenate([a[None], b])[:, 0], first, more)


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("name", ["full", "ring", "paged", "int8"])
def test_who_is_watched_speaks_as_ever(name, row):
    bare, seen = (frames(caches.find(name), row, heads) for heads in ((), HEADS))
    assert bare.seen is None and seen.seen.shape[:2] == (FRAMES + 1, len(HEADS))
    # Native calls give the same bits whatever stands beside them; XLA's own may round otherwise.
    tolerance = 0 if name in ("full", "ring") else 1e-4
    np.testing.assert_allclose(bare.latent, seen.latent, rtol=0, atol=tolerance)
    np.testing.assert_allclose(bare.eos_logit, seen.eos_logit, rtol=0, atol=tolerance)


@pytest.mark.parametrize("row", [0, 1])
def test_seen_is_the_query_times_the_keys(row):
    """The keys are read from the cache, the query from a pass that hands it out."""
    state, first = begun(caches.find("full"), row, HEADS)
    start, count = VOICES[row].length, len(JOBS[row].tokens)
    keys, _ = state.cache.within.entries()
    queries = {}

    class Spy(Watched):
        def attend(self, layer, q, k, v, positions):
            queries[layer] = np.asarray(q[0, 0])
            return super().attend(layer, q, k, v, positions)

    fields = {f.name: getattr(state.cache, f.name) for f in dataclasses.fields(state.cache)}
    x = lm.embed_latent(PARAMS["lm"], state.latent[:, None])
    _, after = lm.backbone(
        PARAMS["lm"], C.flow_lm, x, Spy(**fields), state.cache.positions[:, None]
    )
    for i, (layer, head) in enumerate(HEADS):
        group = head * T.kv_heads // T.num_heads
        text = keys[layer][group, start : start + count]
        right = text @ queries[layer][head] * T.head_dim**-0.5
        np.testing.assert_allclose(after.seen[0, i, :count], right, rtol=1e-4, atol=1e-4)
    assert first.seen.shape == after.seen.shape


def test_rows_side_by_side_see_what_they_see_alone():
    kind = caches.find("full")
    alone = [frames(kind, row, HEADS) for row in (0, 1)]
    states = tuple(begun(kind, row, HEADS)[0] for row in (0, 1))
    drawn = np.concatenate([noise(0), noise(1)], axis=1)
    _, both = side_by_side.several(PARAMS, C, states, drawn, np.int32(FRAMES))
    joined = loops.empty(
        PARAMS, C, loops.Caches(kind), shape := loops.shape_for(PARAMS, C, kind, VOICES, JOBS), 1
    )
    joined = joined.replace(cache=loops.watch(C, kind.init(shape), HEADS, JOBS))
    for row in (0, 1):
        joined = generate.insert(joined, begun(kind, row, HEADS)[0], np.int32(row))
    taken = generate.take(joined, np.int32(1))
    _, batch = generate.scan_steps(PARAMS, C, joined, drawn)
    _, back = generate.scan_steps(PARAMS, C, taken, noise(1))
    for row, one in enumerate(alone):
        size = len(JOBS[row].tokens)
        for made in (both, batch):
            got = made.seen[:, row, :, :size]
            np.testing.assert_allclose(got, one.seen[1:, :, :size], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(back.seen[:, 0], alone[1].seen[1:], rtol=1e-3, atol=1e-3)


def test_nothing_is_computed_where_nobody_watches():
    kind = caches.find("full")

    def products(heads) -> int:
        state, _ = begun(kind, 0, heads)
        jaxpr = jax.make_jaxpr(generate.several, static_argnums=1)(
            PARAMS, C, state, noise(0), np.int32(1)
        )
        return str(jaxpr).count("dot_general"), len(jaxpr.out_avals), len(jax.tree.leaves(state))

    (bare, outputs, leaves), (more, _, _) = products(()), products(HEADS)
    assert more == bare + len(HEADS)
    assert outputs == leaves + 3  # latent, logit, valid
    assert watched.seen(begun(kind, 0)[0].cache) is None
