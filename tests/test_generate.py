"""The step, its cache and its drivers: what must not matter does not, and nothing is made twice."""

import dataclasses
import itertools
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptts_jax import drivers, generate, lm, stream, voices
from ptts_jax.attention import EMPTY
from ptts_jax.drivers import Job, Sampling
from ptts_jax.voices import Voice
from tests import tiny_files
from tests.compilations import compilations

# Its own config, so that what is compiled for it is compiled in this file.
C = dataclasses.replace(tiny_files.CONFIG, default_temperature=0.4)
PARAMS = tiny_files.params(C)
NOISY = Sampling(temperature=0.4)


def voice(length: int, seed: int = 0) -> Voice:
    t = C.flow_lm.transformer
    rng = np.random.default_rng(seed)

    def layers() -> tuple[np.ndarray, ...]:
        shape = (t.num_layers, t.kv_heads, length, t.head_dim)
        return tuple(rng.standard_normal(shape, np.float32))

    return Voice(layers(), layers())


def job(length: int, seed: int, limit: int = 60, tail: int = 2, index: int = 0) -> Job:
    rng = np.random.default_rng([length, seed])
    return Job(rng.integers(300, 600, length).tolist(), tail, limit, index, seed)


VOICES = (voice(9), voice(30, seed=1), voice(1, seed=2), voice(17, seed=3))
JOBS = (job(5, 1), job(40, 2), job(23, 2, index=3), job(70, 5, limit=9))


def opened(rows: list[int], slots: int = 256, sampling: Sampling = NOISY) -> generate.GenState:
    cache = voices.open_cache([VOICES[i] for i in rows], slots)
    return drivers.start(PARAMS, C, cache, [JOBS[i] for i in rows], sampling)


def noise(rows: list[int], frames: int) -> np.ndarray:
    """[N, B, D]"""
    size = C.mimi.latent_dim
    return np.array([[drivers.noise(NOISY, JOBS[i], f, size) for i in rows] for f in range(frames)])


def scanned(state: generate.GenState, draws: np.ndarray) -> generate.Frame:
    return generate.scan_steps(PARAMS, C, state, draws)[1]


def history(state: generate.GenState, row: int = 0) -> list[np.ndarray]:
    """Keys and values of a row by position, whatever slots they are in: 2 per layer, [H, T, D]."""
    pos = np.asarray(state.cache.pos[row])
    order = [int(np.flatnonzero(pos == p)[0]) for p in range(pos.max() + 1)]
    heads = C.flow_lm.transformer.kv_heads
    layers = [*state.cache.k, *state.cache.v]
    return [np.asarray(x)[row * heads : (row + 1) * heads, order] for x in layers]


def alike(a: list[np.ndarray], b: list[np.ndarray], tol: float = 1e-5) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, atol=tol, rtol=0)


# The cache.


def test_prefill_and_a_step_is_a_prefill_of_one_more():
    stepped, _ = generate.step(PARAMS, C, opened([1]), noise([1], 1)[0])
    filled = opened([1])
    x = lm.embed_latent(PARAMS["lm"], jnp.tile(filled.latent[:, None], (1, 16, 1)))
    filled = generate.prefill(PARAMS, C, filled, x, np.array([1], np.int32))
    assert int(stepped.position[0]) == int(filled.position[0]) == 30 + 40 + 1
    alike(history(stepped), history(filled))


@pytest.mark.parametrize("row, size", [(0, 16), (1, 48), (2, 32)])
def test_a_text_and_the_first_frame_in_one_pass(row, size):
    draws = noise([row], 17)
    state, frame = generate.step(PARAMS, C, opened([row]), draws[0])
    begun = voices.open_cache([VOICES[row]], 256)
    begun = drivers._begin(PARAMS, C, begun, [JOBS[row]], NOISY)
    own = drivers._block([JOBS[row]], 0, size)
    at_once, first = generate.first(PARAMS, C, begun, *own, draws[0])
    np.testing.assert_allclose(first.latent, frame.latent, atol=1e-5)
    np.testing.assert_allclose(first.eos_logit, frame.eos_logit, atol=1e-5)
    alike(history(at_once), history(state))
    for name in ("position", "frame", "eos_frame"):
        np.testing.assert_array_equal(getattr(at_once, name), getattr(state, name))
    # What stands behind it in the cache is overwritten, not seen.
    later = [scanned(s, draws[1:]).latent for s in (poisoned(at_once), state)]
    np.testing.assert_allclose(*later, atol=1e-5)


def test_rows_of_other_lengths_begin_in_one_pass():
    rows = [0, 2]
    state = drivers._begin(
        PARAMS, C, voices.open_cache([VOICES[i] for i in rows], 256), [JOBS[i] for i in rows], NOISY
    )
    draws = noise(rows, 5)
    own = drivers._block([JOBS[i] for i in rows], 0, 32)
    state, frame = generate.first(PARAMS, C, state, *own, draws[0])
    found = np.concatenate([frame.latent[None], scanned(state, draws[1:]).latent])
    np.testing.assert_allclose(found, scanned(opened(rows), draws).latent, atol=1e-5)


def test_prefill_in_other_blocks_is_the_same(monkeypatch):
    at_once = opened([3])  # 64 + 16 slots for 70 tokens
    monkeypatch.setattr(drivers, "PREFILL_BLOCKS", (16, 16))
    in_blocks = opened([3])
    alike(history(at_once), history(in_blocks))
    draws = noise([3], 16)
    a, b = scanned(at_once, draws), scanned(in_blocks, draws)
    np.testing.assert_allclose(a.latent, b.latent, atol=1e-5)


def poisoned(state: generate.GenState) -> generate.GenState:
    """1e4 wherever no entry is."""
    heads = C.flow_lm.transformer.kv_heads
    empty = np.repeat(np.asarray(state.cache.pos) == EMPTY, heads, axis=0)[..., None]
    k, v = (
        tuple(jnp.where(empty, 1e4, x) for x in layers) for layers in (state.cache.k, state.cache.v)
    )
    assert empty.any()
    return state.replace(cache=state.cache.replace(k=k, v=v))


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
    again = drivers.start(PARAMS, C, cache, [JOBS[1]], NOISY)
    np.testing.assert_array_equal(scanned(again, draws).latent, fresh.latent)


def test_capacity_does_not_matter():
    draws = noise([1], 16)
    small, large = scanned(opened([1]), draws), scanned(opened([1], slots=384), draws)
    np.testing.assert_allclose(small.latent, large.latent, atol=1e-5)


def test_the_cache_never_overflows():
    """Neither with the last frames of the longest row nor with padding behind the last prefill."""
    tight = 0
    for length, tokens, limit in itertools.product((1, 130, 300), (1, 17, 60, 90), range(1, 200)):
        v, j = voice(length), Job([1] * tokens, 1, limit)
        slots = drivers.slots_for([v, VOICES[2]], [JOBS[0], j])
        frames = -(-limit // drivers.SCAN_FRAMES) * drivers.SCAN_FRAMES
        padded = (sum(size for _, size in drivers.prefill_blocks(tokens + i)) for i in (0, 1))
        need = length + max(tokens + frames, *padded)
        assert need <= slots
        tight += need > slots - 40
    assert tight  # some came close


# The drivers.


@pytest.fixture(scope="module")
def streamed() -> list[list[np.ndarray]]:
    """Latents of each row, made frame by frame and alone."""
    made = []
    for v, j in zip(VOICES, JOBS, strict=True):
        frames = drivers.latents(PARAMS, C, v, [j], NOISY, threading.Event())
        made.append([latent for _, latent in frames])
    return made


def test_rows_end_where_they_should(streamed):
    """What the other tests rest on: rows of different length, by EOS and by limit."""
    counts = [len(row) for row in streamed]
    assert len(set(counts)) == len(counts) and counts[3] == JOBS[3].limit
    assert all(6 < n < j.limit for n, j in zip(counts[:3], JOBS[:3], strict=True))


def test_scan_is_the_stream(streamed):
    out = scanned(opened([1]), noise([1], 48))
    count = int(np.asarray(out.valid).sum())
    assert count == len(streamed[1])
    assert np.asarray(out.valid)[:count].all()
    np.testing.assert_allclose(out.latent[:count, 0], streamed[1], atol=2e-5)


def test_rows_of_a_batch_are_the_streams(streamed):
    rows = [0, 1, 2, 3]
    out = scanned(opened(rows), noise(rows, 64))
    counts = np.asarray(out.valid).sum(axis=0)
    assert counts.tolist() == [len(row) for row in streamed]
    for row, want in enumerate(streamed):
        np.testing.assert_allclose(out.latent[: counts[row], row], want, atol=5e-5)


def test_audio_of_a_batch_is_that_of_the_streams():
    never = threading.Event()
    waves = drivers.batch(PARAMS, C, VOICES, JOBS, NOISY, never)
    for v, j, wave in zip(VOICES, JOBS, waves, strict=True):
        alone = np.concatenate(list(stream.stream(PARAMS, C, v, [j], NOISY, never)))
        assert wave.shape == alone.shape and alone.std() > 0.01
        np.testing.assert_allclose(wave, alone, atol=1e-4)


def test_chunks_in_one_stream_are_as_alone(streamed):
    """Each starts from the voice, whatever was said before."""
    jobs = [JOBS[1], JOBS[2], JOBS[0]]
    made: list[list[np.ndarray]] = [[], [], []]
    for number, latent in drivers.latents(PARAMS, C, VOICES[1], jobs, NOISY, threading.Event()):
        made[number].append(latent)
    for row, j in zip(made, jobs, strict=True):
        frames = drivers.latents(PARAMS, C, VOICES[1], [j], NOISY, threading.Event())
        np.testing.assert_allclose(row, [latent for _, latent in frames], atol=2e-5)
    np.testing.assert_allclose(made[0], streamed[1], atol=2e-5)


def test_end_of_speech():
    """Not before the sixth frame, then the tail, and never beyond the limit."""

    def frames(threshold: float, tail: int, limit: int) -> int:
        j = dataclasses.replace(JOBS[0], tail=tail, limit=limit)
        sampling = Sampling(eos_threshold=threshold)
        return len(list(drivers.latents(PARAMS, C, VOICES[0], [j], sampling, threading.Event())))

    first = generate.MIN_FRAMES_BEFORE_EOS
    assert [frames(-1e9, tail, 60) for tail in (0, 1, 5)] == [first, first + 1, first + 5]
    assert frames(-1e9, 1000, 9) == 9
    assert frames(1e9, 0, 33) == 33
    assert frames(1e9, 0, 1) == 1


def test_a_batch_can_be_stopped(monkeypatch):
    """What is decoded by then is given; nothing more is begun."""
    stop, scan, scans = threading.Event(), generate.scan_steps, []

    def last(*args):
        scans.append(args)
        if len(scans) == 2:
            stop.set()
        return scan(*args)

    monkeypatch.setattr(generate, "scan_steps", last)
    endless = Sampling(eos_threshold=1e9)
    waves = drivers.batch(PARAMS, C, VOICES[:2], JOBS[:2], endless, stop)
    assert len(scans) == 2
    most = 2 * drivers.SCAN_FRAMES * C.mimi.frame_size
    assert all(w.size <= most and w.size % C.mimi.frame_size == 0 for w in waves)
    assert [w.size for w in drivers.batch(PARAMS, C, VOICES[:1], JOBS[:1], NOISY, stop)] == [0]


def test_an_error_while_a_batch_is_decoded_is_raised(monkeypatch):
    def broken(*args):
        raise RuntimeError("no room")

    monkeypatch.setattr(generate, "decode", broken)
    with pytest.raises(RuntimeError, match="no room"):
        drivers.batch(PARAMS, C, VOICES[:1], JOBS[:1], NOISY, threading.Event())


# Noise.


def draw(frame: int = 0, temperature: float = 0.5, clamp: float | None = None, **key) -> np.ndarray:
    sampling = Sampling(temperature=temperature, noise_clamp=clamp)
    return drivers.noise(sampling, Job([1], 1, 1, **key), frame, 2000)


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
    assert some.latent.shape == draws.shape and int(used.frame) == count
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
        assert drivers.slots_for([v], jobs) == 512
        assert list(stream.stream(PARAMS, c, v, jobs, sampling, threading.Event()))

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
    shape = ",".join(map(str, state.cache.k[0].shape))
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
    assert states[0].cache.k[0].is_deleted(), "the state was not donated: nothing is proved"
    np.testing.assert_array_equal(a.latent, b.latent)
    jax.tree.map(np.testing.assert_array_equal, before, (VOICES[1].k, VOICES[1].v))
