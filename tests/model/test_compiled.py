"""Noise by its keys, and what the step is compiled into."""

import dataclasses
import re
import threading

import jax
import numpy as np
import pytest

from ptts_jax.engine import loops, stream
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.engine.voices import Voice
from ptts_jax.model import generate
from ptts_jax.model.caches.full import FullCache
from tests.support.compilations import compilations
from tests.support.generation import (
    JOBS,
    PARAMS,
    VOICES,
    C,
    alike,
    history,
    job,
    noise,
    opened,
    said,
    scanned,
)

# Noise.


def draw(frame: int = 0, temperature: float = 0.5, clamp: float | None = None, **key) -> np.ndarray:
    sampling = Sampling(temperature=temperature, noise_clamp=clamp)
    return loops.noise(Job([1], 1, 1, sampling=sampling, **key), frame, 2000)


def test_noise_is_keyed_by_seed_chunk_and_frame():
    keys = [{}, {"seed": 1}, {"seed": -1}, {"seed": 2**63}, {"index": 1}, {"frame": 1}]
    keys += [{"seed": 1, "index": 1}, {"index": 1, "frame": 1}, {"index": 2}, {"frame": 2}]
    draws = [draw(**key) for key in keys]
    for i, (key, x) in enumerate(zip(keys, draws, strict=True)):
        np.testing.assert_array_equal(x, draw(**key))
        for y in draws[:i]:
            assert abs(np.corrcoef(x, y)[0, 1]) < 0.1
    np.testing.assert_array_equal(draw(seed=-1), draw(seed=2**64 - 1))


def test_temperature_is_the_variance():
    for temperature in (1e-6, 0.3, 4.0):
        assert draw(temperature=temperature).std() == pytest.approx(temperature**0.5, rel=0.05)
    assert not draw(temperature=0.0).any()


@pytest.mark.parametrize("clamp", [1e-9, 0.1, 0.7, 0.8, 1.5, 1e5])
def test_clamped_noise(clamp):
    """The standard deviation of a normal distribution cut at the clamp, from its integral."""
    x = np.linspace(-min(clamp, 20), min(clamp, 20), 20001)
    weight = np.exp(-(x**2) / 2 / 0.5)
    want = np.sqrt((weight * x**2).sum() / weight.sum())
    drawn = draw(clamp=clamp)
    assert drawn.shape == (2000,) and np.abs(drawn).max() <= clamp
    assert drawn.std() == pytest.approx(want, rel=0.05)


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_several_frames_are_the_first_of_a_scan(count):
    rows = [0, 1]
    draws = noise(rows, 4)
    used, some = generate.several(PARAMS, C, opened(rows), draws, np.int32(count))
    stepped, frames = opened(rows), []
    for one in draws[:count]:
        stepped, frame = generate.step(PARAMS, C, stepped, one)
        frames.append(frame)
    assert some.latent.shape == draws.shape and used.frame.tolist() == [count] * 2
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(some.latent[i], frame.latent, atol=1e-5)
        np.testing.assert_allclose(some.eos_logit[i], frame.eos_logit, atol=1e-5)
        np.testing.assert_array_equal(some.valid[i], frame.valid)
    assert not np.any(some.valid[count:]) and not np.any(some.latent[count:])
    alike(history(used), history(stepped))


# What is compiled, and into what.


def test_each_shape_is_compiled_once():
    """The first utterance compiles one step, the next of the same bucket nothing at all."""
    c = dataclasses.replace(C, default_temperature=0.41)  # another model: all is compiled anew
    names = ("begin", "prefill_text", "first", "several", "decode")
    functions = {name: getattr(generate, name) for name in names}
    before = {name: f._cache_size() for name, f in functions.items()}

    def speak(v: Voice, jobs: list[Job], sampling: Sampling) -> None:
        jobs = [dataclasses.replace(j, sampling=sampling) for j in jobs]
        assert loops.shape_for(PARAMS, c, FullCache, [v], jobs).slots == 512
        assert list(stream.stream([PARAMS], c, said(jobs, v), threading.Event()))

    speak(VOICES[1], [JOBS[1], JOBS[3]], Sampling(0.4, eos_threshold=1e9))
    made = {name: f._cache_size() - before[name] for name, f in functions.items()}
    assert made == {"begin": 1, "prefill_text": 1, "first": 2, "several": 1, "decode": 2}
    with compilations() as found:
        for seed, v in enumerate(VOICES):
            jobs = [job(length, seed, limit=25 + seed, tail=seed) for length in (1, 15, 64, 66)]
            speak(v, jobs, Sampling(0.1 * seed, 1, None if seed else 2.0, -4.0 - seed))
    assert not found


def test_compilations_are_counted():
    with compilations() as found:
        jax.jit(lambda x: x * 3 + 1)(np.zeros(7, np.float32))
    assert len(found) == 1


def cache_copies(compiled, state: generate.GenState) -> list[str]:
    """Instructions that copy a whole buffer of the cache."""
    heads, width = C.flow_lm.transformer.kv_heads, C.flow_lm.transformer.head_dim
    shape = f"{len(state.frame) * heads},{state.cache.slots},{width}"
    pattern = rf"= f32\[{shape}\]\S* copy\S*\("
    return [line for line in compiled.as_text().splitlines() if re.search(pattern, line)]


@pytest.mark.parametrize("rows", [[1], [0, 1, 2, 3]], ids=["one", "batch"])
def test_a_step_copies_no_cache(rows):
    state, draws = opened(rows), noise(rows, 16)
    assert not cache_copies(generate.step.lower(PARAMS, C, state, draws[0]).compile(), state)
    assert not cache_copies(generate.scan_steps.lower(PARAMS, C, state, draws).compile(), state)
    several = generate.several.lower(PARAMS, C, state, draws, np.int32(3))
    assert not cache_copies(several.compile(), state)


def test_a_copied_cache_would_be_seen():
    state, draws = opened([1]), noise([1], 1)
    kept = jax.jit(generate._step, static_argnames="config")  # does not donate
    copies = cache_copies(kept.lower(PARAMS, C, state, draws[0]).compile(), state)
    assert len(copies) >= 2 * C.flow_lm.transformer.num_layers


def test_a_voice_outlives_its_utterances(streamed):
    """Its arrays are never given away, although states are."""
    before = jax.tree.map(np.copy, (VOICES[1].k, VOICES[1].v))
    states = [opened([1]), opened([1])]  # both alive at once
    draws = noise([1], 16)
    a, b = (scanned(state, draws) for state in states)
    assert states[0].cache.positions.is_deleted(), "the state was not donated: nothing is proved"
    np.testing.assert_array_equal(a.latent, b.latent)
    jax.tree.map(np.testing.assert_array_equal, before, (VOICES[1].k, VOICES[1].v))
