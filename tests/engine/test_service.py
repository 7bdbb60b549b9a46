"""The engine with a tiny model: everyone gets the audio that they would get alone."""

import asyncio
import gc
import random
import threading
import time
import weakref

import numpy as np
import pytest

from ptts_jax.engine import core, loops, scheduler
from ptts_jax.engine.core import Closed
from ptts_jax.engine.scheduler import Full
from ptts_jax.engine.service import Engine
from tests.support.sound import same
from tests.support.threads import at_once

TEXTS = (
    "The river was wide, and nobody knew how deep it ran in spring.",
    "Three boats came down that morning! Was it 3.14 miles, or more?",
    "Hello.",
    "The oldest of the men said nothing at all about it. He looked at the water. Then he left.",
)
ENDLESS = {"eos_threshold": float("inf")}


@pytest.fixture
def engine(tts):
    with Engine(tts, slots=4, most_waiting=8) as engine:
        yield engine
        wait_until(lambda: engine.busy == {"open": 0, "waiting": 0})
    assert not [t for t in threading.enumerate() if t.name in ("ptts-lm", "ptts-decoder")]


def wait_until(holds, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never happens"
        time.sleep(0.005)


def whole(speech) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *speech])


def alone(tts, voice, number: int) -> np.ndarray:
    return tts.generate(TEXTS[number % len(TEXTS)], voice, seed=number, max_tokens=12)


def test_a_lone_request_is_bit_for_bit_what_the_library_gives(tts, engine, voices):
    for number in range(4):
        expected = alone(tts, voices[0], number)
        given = whole(engine.submit(TEXTS[number], voices[0], seed=number, max_tokens=12))
        np.testing.assert_array_equal(given, expected)


def test_under_load_everyone_gets_the_audio_they_would_get_alone(tts, engine, voices):
    expected = {n: alone(tts, voices[n % 2], n) for n in range(8)}
    rng = random.Random(0)

    def listen(which: int) -> None:
        for _ in range(3):
            n = rng.randrange(8)
            text = TEXTS[n % len(TEXTS)]
            with engine.submit(text, voices[n % 2], seed=n, max_tokens=12) as speech:
                same(whole(speech), expected[n])

    at_once(listen, 6)


def test_rows_with_other_options_speak_side_by_side(tts, engine, voices):
    options = [{"temperature": 0.0}, {"temperature": 1.0}, {"steps": 3}, {"noise_clamp": 0.5}]
    speeches = [engine.submit(TEXTS[0], voices[0], seed=3, **o) for o in options]
    for speech, chosen in zip(speeches, options, strict=True):
        same(whole(speech), tts.generate(TEXTS[0], voices[0], seed=3, **chosen))


def test_async_readers(tts, engine, voices):
    async def read(number: int) -> np.ndarray:
        speech = engine.submit(TEXTS[number], voices[0], seed=number, max_tokens=12)
        return np.concatenate([block async for block in speech])

    async def both():
        return await asyncio.gather(read(0), read(1))

    for number, given in enumerate(asyncio.run(both())):
        same(given, alone(tts, voices[0], number))


def test_cancelling_frees_the_row_and_ends_the_stream(engine, voices):
    speech = engine.submit(TEXTS[0], voices[0], **ENDLESS)
    next(speech)
    speech.cancel()
    assert list(speech) == []
    wait_until(lambda: engine.busy["open"] == 0)
    speech.cancel()


def test_a_reader_that_leaves_its_block_ends_the_work(engine, voices):
    with engine.submit(TEXTS[0], voices[0], **ENDLESS) as speech:
        next(speech)
    wait_until(lambda: engine.busy["open"] == 0)


def test_who_does_not_read_is_waited_for(tts, engine, voices, monkeypatch):
    monkeypatch.setattr(scheduler, "AHEAD", 16)
    expected = tts.generate(TEXTS[3], voices[0], seed=1, **ENDLESS)
    assert len(expected) > 40 * tts.config.mimi.frame_size
    slow = engine.submit(TEXTS[3], voices[0], seed=1, **ENDLESS)
    wait_until(lambda: slow.request.full_since is not None)
    assert slow.request.made < 16 + scheduler.SEVERAL
    same(
        whole(engine.submit(TEXTS[0], voices[0], seed=0)), tts.generate(TEXTS[0], voices[0], seed=0)
    )
    same(whole(slow), expected)


def test_the_decoder_is_free_for_who_has_just_begun_to_listen(tts, engine, voices, monkeypatch):
    hungry = [True]
    monkeypatch.setattr(engine.core.scheduler, "hungry", lambda now: hungry[0])
    bulk = engine.submit(TEXTS[0], voices[0], live=False, seed=0, max_tokens=12)
    with engine.submit(TEXTS[0], voices[0], **ENDLESS) as live:
        next(live)
        assert bulk.first_audio is None
        hungry[0] = False
        same(whole(bulk), alone(tts, voices[0], 0))


def test_the_model_rests_while_much_waits_for_the_decoder(tts, engine, voices, monkeypatch):
    decode, free = loops.decode_block, threading.Event()
    monkeypatch.setattr(loops, "decode_block", lambda *a: free.wait(60) and decode(*a))
    text = " ".join(TEXTS)
    speech = engine.submit(text, voices[0], live=False, seed=0, **ENDLESS)
    wait_until(lambda: speech.waiting >= core.PILED)
    time.sleep(0.5)
    assert speech.waiting < core.PILED + scheduler.SEVERAL and engine.busy["open"] == 1
    free.set()
    same(whole(speech), tts.generate(text, voices[0], seed=0, **ENDLESS))


def test_a_request_that_cannot_be_made_fails_alone(tts, engine, voices, monkeypatch):
    read = engine.core.rows.read

    def broken(row):
        if row.chunk.job.seed == 13:
            raise RuntimeError("no luck")
        return read(row)

    monkeypatch.setattr(engine.core.rows, "read", broken)
    good = engine.submit(TEXTS[1], voices[0], seed=1, max_tokens=12)
    bad = engine.submit(TEXTS[1], voices[0], seed=13)
    with pytest.raises(RuntimeError, match="no luck"):
        list(bad)
    assert list(bad) == [], "the error comes once, then the end"
    same(whole(good), alone(tts, voices[0], 1))


def test_a_failed_decoding_fails_its_request(tts, engine, voices, monkeypatch):
    speech = engine.submit(TEXTS[0], voices[0], **ENDLESS)
    next(speech)

    def broken():
        raise RuntimeError("no memory")

    monkeypatch.setattr(speech.decoding, "next", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        list(speech)
    wait_until(lambda: engine.busy["open"] == 0)
    assert len(whole(engine.submit("Hello.", voices[0], seed=1))) > 0


@pytest.mark.parametrize("ending", ["read", "cancelled", "failed"])
def test_an_ended_request_lets_go_of_its_decoder(engine, voices, ending):
    """At once, not when Python collects: its state is megabytes, and a server has many."""
    gc.disable()
    try:
        how = {"max_tokens": 12} if ending == "read" else ENDLESS
        speech = engine.submit(TEXTS[0], voices[0], **how)
        next(speech)
        state = weakref.ref(speech.decoding)
        if ending == "read":
            list(speech)
        elif ending == "cancelled":
            speech.cancel()
        else:
            engine.core.cancel(speech)
            wait_until(lambda: engine.busy["open"] == 0 and not speech.waiting)
            time.sleep(0.1)  # by now the decoder sleeps
            speech.put(RuntimeError("no luck"))
        wait_until(lambda: state() is None)
    finally:
        gc.enable()


def test_a_failed_step_fails_its_rows_and_the_engine_goes_on(tts, engine, voices, monkeypatch):
    step, failed = engine.core.rows.step, threading.Event()

    def broken(rows, count):
        if not failed.is_set():
            failed.set()
            rows[0].state = None  # as a call that has taken the state and failed
            raise RuntimeError("out of memory")
        return step(rows, count)

    monkeypatch.setattr(engine.core.rows, "step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(engine.submit(TEXTS[0], voices[0], **ENDLESS))
    same(whole(engine.submit(TEXTS[0], voices[0], seed=0, max_tokens=12)), alone(tts, voices[0], 0))


def test_a_full_engine_says_so(tts, voices):
    with Engine(tts, slots=1, most_waiting=2) as engine:
        held = [engine.submit(TEXTS[0], voices[0], **ENDLESS) for _ in range(2)]
        wait_until(lambda: engine.busy == {"open": 2, "waiting": 0})
        held += [engine.submit(TEXTS[0], voices[0], **ENDLESS) for _ in range(2)]
        with pytest.raises(Full) as refused:
            engine.submit(TEXTS[0], voices[0])
        assert refused.value.seconds >= 1
        for speech in held:
            speech.cancel()


def test_closing_ends_everyone(tts, voices):
    engine = Engine(tts, slots=2)
    speech = engine.submit(TEXTS[0], voices[0], **ENDLESS)
    next(speech)
    engine.close()
    with pytest.raises(Closed):
        list(speech)
    with pytest.raises(Closed):
        engine.submit("Hello.", voices[0])


def test_what_no_engine_can_speak_is_refused_at_once(tts, engine, voices):
    for bad in ({"text": ""}, {"text": "Hi.", "temperature": -1}, {"text": "Hi.", "colour": 1}):
        with pytest.raises(ValueError):
            engine.submit(**bad)
    with pytest.raises(ValueError, match="slots"):
        Engine(tts, slots=3)


def test_once_warm_nothing_is_compiled(tts, voices):
    from tests.support.compilations import compilations

    with Engine(tts, slots=2) as engine:
        engine.warm(voices[0])
        with compilations() as compiled:
            streams = [engine.submit(TEXTS[i], voices[0], seed=i, max_tokens=12) for i in range(4)]
            for speech in streams:
                whole(speech)
    assert compiled == []
