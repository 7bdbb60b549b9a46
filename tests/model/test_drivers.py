"""Ways to drive the step: stream, scan, batch and rows give the same frames."""

import dataclasses
import threading

import numpy as np
import pytest

from ptts_jax.engine import loops, stream
from ptts_jax.engine.caches import Caches
from ptts_jax.engine.request import Sampling
from ptts_jax.engine.rows import Rows
from ptts_jax.model import generate, head, lm
from tests.support.generation import (
    JOBS,
    PARAMS,
    VOICES,
    C,
    noise,
    opened,
    said,
    scanned,
    spoken,
    voiced,
)


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
    waves = stream.batch([PARAMS], C, VOICES, JOBS, never)
    for v, j, wave in zip(VOICES, JOBS, waves, strict=True):
        alone = np.concatenate(list(stream.stream([PARAMS], C, said([j], v), never)))
        assert wave.shape == alone.shape and alone.std() > 0.01
        np.testing.assert_allclose(wave, alone, atol=1e-4)


def test_rows_join_and_leave_at_any_frame(streamed):
    """Each gives the frames that it gives alone, whoever comes, goes or stands beside it."""
    joins = {0: 0, 3: 1, 7: 2, 12: 3}  # step -> row
    places = {0: 2, 1: 0, 2: 1, 3: 2}  # row 3 takes the place that row 0 has to leave
    leaves = 10  # row 0, in the middle of its text
    shape = lm.cache_shape(PARAMS["lm"], C.flow_lm, 3, 256)
    state = loops.empty(PARAMS, C, Caches(), shape, 1)
    spoken: dict[int, list[np.ndarray]] = {}
    speaking: dict[int, int] = {}  # place -> row
    compiled = None
    for step in range(64):
        if step in joins:
            row = joins[step]
            alone, frame = loops.prefill(PARAMS, C, voiced([row]), JOBS[row])
            spoken[row] = [np.asarray(frame.latent[0])]
            speaking[places[row]] = row
            state = generate.insert(state, alone, np.int32(places[row]))
        if step == leaves:
            assert speaking.pop(places[0]) == 0 and len(spoken[0]) < len(streamed[0])
            state = generate.release(state, np.int32(places[0]))
            assert int(state.cache.positions[places[0]]) == 0
        draws = np.zeros((3, C.mimi.latent_dim), np.float32)
        for place, row in speaking.items():
            draws[place] = loops.noise(JOBS[row], len(spoken[row]), C.mimi.latent_dim)
        state, frame = generate.step(PARAMS, C, state, draws)
        for place, valid in enumerate(frame.valid.tolist()):
            assert place in speaking or not valid
            if valid:
                spoken[speaking[place]].append(np.asarray(frame.latent[place]))
        compiled = compiled or generate.step._cache_size()
    assert generate.step._cache_size() == compiled  # whoever speaks, it is one function
    assert len(spoken[0]) == leaves + 1
    for row in (1, 2, 3):
        assert len(spoken[row]) == len(streamed[row])
    for row, latents in spoken.items():
        want = np.array(streamed[row][: len(latents)])
        error = np.sqrt(np.mean(np.square(np.array(latents) - want)))
        assert error < 1e-5 * want.std(), "less than 100 dB"


def test_a_row_that_rests_goes_on_where_it_was():
    draws = noise([0, 1], 24)
    state, _ = generate.scan_steps(PARAMS, C, opened([0, 1]), draws[:8])
    resting = generate.take(state, np.int32(1))
    want = scanned(state, draws[8:]).latent[:, 1]
    back = generate.insert(opened([2, 3]), resting, np.int32(0))
    np.testing.assert_allclose(scanned(back, draws[8:][:, [1, 0]]).latent[:, 0], want, atol=1e-5)


def test_rows_of_other_sampling_steps_do_not_stand_side_by_side():
    quick, slow = JOBS[0], dataclasses.replace(JOBS[1], sampling=Sampling(0.4, steps=2))
    with pytest.raises(ValueError, match="the same number of sampling steps"):
        loops.start(PARAMS, C, voiced([0, 1]), [quick, slow])
    row = loops.start(PARAMS, C, voiced([1]), [slow])
    with pytest.raises(ValueError, match="the same number of sampling steps"):
        generate.insert(opened([0, 1]), row, np.int32(0))


@pytest.mark.parametrize("steps", [5, 16])
def test_many_sampling_steps_are_the_same_as_a_loop(steps, monkeypatch):
    p, c = PARAMS["lm"]["head"], C.flow_lm
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, c.z_dim or c.transformer.d_model), np.float32)
    draws = rng.standard_normal((2, C.mimi.latent_dim), np.float32)
    times = head.schedule(p, c.flow, steps)
    looped = head.sample(p, c.flow, z, draws, times)
    monkeypatch.setattr(head, "UNROLLED", 1000)
    unrolled = head.sample(p, c.flow, z, draws, times)
    np.testing.assert_allclose(looped, unrolled, atol=1e-6)


def test_chunks_in_one_stream_are_as_alone():
    """Each starts from the voice, whatever was said before."""
    jobs, never = [JOBS[1], JOBS[2], JOBS[0]], threading.Event()
    whole = np.concatenate(list(stream.stream([PARAMS], C, said(jobs, VOICES[1]), never)))
    each = [said([j], VOICES[1]) for j in jobs]
    alone = [b for one in each for b in stream.stream([PARAMS], C, one, never)]
    np.testing.assert_allclose(whole, np.concatenate(alone), atol=1e-4)


def test_end_of_speech():
    """Not before the sixth frame, then the tail, and never beyond the limit."""

    def frames(threshold: float, tail: int, limit: int) -> int:
        sampling = Sampling(eos_threshold=threshold)
        j = dataclasses.replace(JOBS[0], tail=tail, limit=limit, sampling=sampling)
        return len(spoken(VOICES[0], j))

    first = generate.MIN_FRAMES_BEFORE_EOS
    assert [frames(-1e9, tail, 60) for tail in (0, 1, 5)] == [first, first + 1, first + 5]
    assert frames(-1e9, 1000, 9) == 9
    assert frames(1e9, 0, 33) == 33
    assert frames(1e9, 0, 1) == 1


def test_a_batch_can_be_stopped(monkeypatch):
    """What is decoded by then is given; nothing more is begun."""
    stop, steps, step = threading.Event(), [], Rows.step

    def last(self, rows, count):
        steps.append(count)
        if len(steps) == 5:
            stop.set()
        return step(self, rows, count)

    monkeypatch.setattr(Rows, "step", last)
    endless = [dataclasses.replace(j, sampling=Sampling(eos_threshold=1e9)) for j in JOBS[:2]]
    waves = stream.batch([PARAMS], C, VOICES[:2], endless, stop)
    assert len(steps) == 5
    most = (1 + sum(steps)) * C.mimi.frame_size
    assert all(w.size <= most and w.size % C.mimi.frame_size == 0 for w in waves)
    assert [w.size for w in stream.batch([PARAMS], C, VOICES[:1], JOBS[:1], stop)] == [0]


def test_an_error_while_a_batch_is_decoded_is_raised(monkeypatch):
    def broken(*args):
        raise RuntimeError("no room")

    monkeypatch.setattr(generate, "decode", broken)
    with pytest.raises(RuntimeError, match="no room"):
        stream.batch([PARAMS], C, VOICES[:1], JOBS[:1], threading.Event())
