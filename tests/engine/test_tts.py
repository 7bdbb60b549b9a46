"""The facade, with a tiny model from files: the same seed, the same audio, and how it ends."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ptts_jax
from convert import flatten, unflatten
from ptts_jax.engine import core, decoding
from ptts_jax.engine.request import Options
from ptts_jax.model import generate
from tests.support import tiny, tiny_files
from tests.support.facade import jobs_of, same, workers

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

LONG = (
    "The river was wide, and nobody knew how deep it ran in spring. Three boats came down that "
    "morning! Was it 3.14 miles, or more? The oldest of the men said nothing at all about it."
)

ENDLESS = {"eos_threshold": float("inf")}  # speaks until it is stopped, or to the limit


# The same seed, the same audio.


@pytest.fixture(scope="module")
def alone(tts, voices) -> list[np.ndarray]:
    """What everything else must equal: several chunks, one after the other."""
    return [tts.generate(LONG, v, seed=7, max_tokens=12) for v in voices]


def test_streamed_and_whole(tts, voices, alone):
    blocks = list(tts.stream(LONG, voices[0], seed=7, max_tokens=12))
    assert all(b.dtype == np.float32 and b.ndim == 1 and b.size for b in blocks)
    assert blocks[0].size == tts.config.mimi.frame_size  # the first frame at once
    np.testing.assert_array_equal(np.concatenate(blocks), alone[0])
    assert alone[0].size != alone[1].size  # the voice matters


@pytest.mark.parametrize("singles, block", [(1, 8), (3, 2), (0, 5)])
def test_sizes_of_blocks_do_not_matter(singles, block, tts, voices, alone, monkeypatch):
    monkeypatch.setattr(core, "SINGLES", singles)
    monkeypatch.setattr(decoding, "BLOCK", block)
    same(tts.generate(LONG, voices[0], seed=7, max_tokens=12), alone[0])


def test_batched(tts, voices, alone):
    """More rows than fit side by side, of both voices, seeds and lengths mixed."""
    lines = [LONG, "Hello.", LONG, "Was it 3.14 miles?"]
    owners = [voices[0], voices[1], voices[1], voices[0]]
    waves = tts.generate_batch(lines, owners, seed=[7, 8, 7, -9], max_tokens=12)
    same(waves[0], alone[0])
    same(waves[2], alone[1])
    same(waves[1], tts.generate("Hello.", voices[1], seed=8, max_tokens=12))
    same(waves[3], tts.generate("Was it 3.14 miles?", voices[0], seed=-9, max_tokens=12))
    assert len(jobs_of(tts, LONG, max_tokens=12)) > 3


def test_lists_of_a_batch(tts, voices):
    one, two = tts.generate_batch(("One.", "Two."), voices[0], seed=3)
    same(one, tts.generate("One.", voices[0], seed=3))
    same(two, tts.generate("Two.", voices[0], seed=3))
    assert tts.generate_batch([], voices[0]) == []
    with pytest.raises(ValueError, match="voice: 2 given for 1 texts"):
        tts.generate_batch(["One."], voices)
    with pytest.raises(ValueError, match="seed: 1 given for 2 texts"):
        tts.generate_batch(["One.", "Two."], voices, seed=[1])
    with pytest.raises(ValueError, match="takes a list of texts"):
        tts.generate_batch("One.", voices[0])
    with pytest.raises(ValueError, match="nothing to say"):
        tts.generate_batch(["One.", "..."], voices[0])


def test_in_threads_as_alone(tts, voices, alone):
    """Two that stream, two that batch and two that clone, on one object at the same time."""
    start = threading.Barrier(6)

    def streamed(which: int) -> np.ndarray:
        start.wait()
        return tts.generate(LONG, voices[which], seed=7, max_tokens=12)

    def batched(which: int) -> np.ndarray:
        start.wait()
        return tts.generate_batch([LONG], voices[which], seed=7, max_tokens=12)[0]

    def cloned(which: int) -> np.ndarray:
        start.wait()
        voice = tts.voice(tiny_files.speech((1, 2.5)[which], seed=which))
        return tts.generate(LONG, voice, seed=7, max_tokens=12)

    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(f, i) for f in (streamed, batched, cloned) for i in (0, 1)]
        for i, wave in enumerate(made):
            same(wave.result(), alone[i % 2])


def test_seeds(tts, voices):
    def speak(seed: int | None) -> bytes:
        return tts.generate("Hello there.", voices[0], seed=seed).tobytes()

    seeds = [0, 1, -1, 2**31, 2**63, 10**30]
    made = [speak(seed) for seed in seeds]
    assert len(set(made)) == len(seeds)
    assert [speak(seed) for seed in seeds] == made
    assert speak(None) != speak(None)
    assert speak(np.int64(1)) == made[1]


def test_temperature_zero_needs_no_seed(tts, voices):
    a, b = (tts.generate("Hello there.", voices[0], temperature=0) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_options_that_change_nothing(tts):
    every = Options(seed=1, steps=2, temperature=0.5, noise_clamp=1.0, eos_threshold=-3.0)
    assert tts.without_effect(every) == []
    c = tiny.with_head(tiny_files.CONFIG, "drifting")
    params = tiny_files.params(c)
    assert ptts_jax.TTS("x", c, params, tts.tokenizer, True).without_effect(every) == ["steps"]
    still = unflatten(flatten(params) | {"lm/head/net/input/w": np.zeros((1, 1))})
    plain = ptts_jax.TTS("x", c, still, tts.tokenizer, True)  # it does not see the noise
    assert plain.without_effect(every) == ["steps", "seed", "temperature", "noise_clamp"]
    assert plain.without_effect(Options(eos_threshold=-3.0)) == []


def test_a_plain_model_varies_by_what_it_hears_of_itself(tts, voices):
    """At temperature 0 it is the same model as the drifting one that the reference knows."""
    made = []
    for kind in ("drifting", "plain"):
        c = tiny.with_head(tiny_files.CONFIG, kind)
        leaves = flatten(tiny_files.params(c))
        leaves["lm/head/net/input/w"] = np.zeros_like(leaves["lm/head/net/input/w"])
        model = ptts_jax.TTS("x", c, unflatten(leaves), tts.tokenizer, True)
        made.append(
            [
                model.generate("Hello there.", voices[0], seed=3, temperature=warmth)
                for warmth in (0, 1, 0.5)
            ]
        )
        told = ["steps"] if kind == "plain" else ["steps", "temperature"]
        assert model.without_effect(Options(steps=2, temperature=0.5)) == told
    for wave in (*made[0], made[1][0]):
        np.testing.assert_array_equal(wave, made[0][0])
    assert not np.array_equal(made[1][1], made[1][0])
    assert not np.array_equal(made[1][2], made[1][1])


def test_models_are_called_by_their_files_name(files, folder):
    for name, known_as in {"mine.yaml": "mine", "english.yaml": "english.yaml"}.items():
        (folder / name).write_text(files.yaml.read_text())
        model = ptts_jax.load(folder / name)
        assert model.name == known_as and not model.released


# How it ends.


def test_options(tts, voices):
    frame = tts.config.mimi.frame_size
    full = tts.generate("Hello.", voices[0], seed=1, **ENDLESS)
    (job,) = jobs_of(tts, "Hello.")
    assert full.size == job.limit * frame
    early = {"eos_threshold": float("-inf"), "seed": 1}
    assert tts.generate("Hello.", voices[0], **early).size == (6 + 3 + 2) * frame
    for tail in (0, 4):
        wave = tts.generate("Hello.", voices[0], frames_after_eos=tail, **early)
        assert wave.size == (6 + tail) * frame
        np.testing.assert_allclose(wave, full[: wave.size], atol=1e-5)
    clamped = tts.generate("Hello.", voices[0], seed=1, noise_clamp=0.01, **ENDLESS)
    still = tts.generate("Hello.", voices[0], temperature=0, **ENDLESS)
    assert np.abs(clamped - still).max() < np.abs(full - still).max() / 3
    twice = tts.generate("Hello.", voices[0], seed=1, steps=2, **ENDLESS)
    assert not np.allclose(twice, full, atol=1e-3)


@pytest.mark.parametrize(
    "name, value",
    [
        *(("temperature", x) for x in (-0.1, float("nan"), float("inf"))),
        *(("steps", x) for x in (0, -1, 10**9)),
        *(("noise_clamp", x) for x in (0, -1, float("nan"))),
        ("eos_threshold", float("nan")),
        *(("frames_after_eos", x) for x in (-1, 2**40)),
        *(("max_tokens", x) for x in (0, -5, 10**6)),
        *(("seed", x) for x in (1.5, "1", True)),
        *((name, "x") for name in ("temperature", "steps")),
        ("steps", 1.5),
    ],
)
def test_options_that_make_no_sense(name, value, tts, voices):
    for call in (tts.stream, lambda line, *a, **k: tts.generate_batch([line], *a, **k)):
        with pytest.raises(ValueError, match=f"^{name} {value}: give a .*number"):
            call("Hello.", voices[0], **{name: value})


@pytest.mark.parametrize("stop", [1, "yes", object()])
def test_a_stop_that_is_no_event(stop, tts, voices):
    for call in (tts.stream, lambda line, *a, **k: tts.generate_batch([line], *a, **k)):
        with pytest.raises(ValueError, match="^stop .*: give a threading.Event"):
            call("Hello.", voices[0], stop=stop)


def test_an_option_that_there_is_not(tts, voices):
    with pytest.raises(ValueError, match="temprature: .* did you mean temperature"):
        tts.stream("Hello.", voices[0], temprature=0.5)


@pytest.mark.parametrize("line", [None, 5, b"Hello.", ["Hello."]])
def test_a_text_that_is_none(line, tts, voices):
    with pytest.raises(ValueError, match="the text must be a str, not "):
        tts.generate(line, voices[0])
    with pytest.raises(ValueError, match="the text must be a str, not "):
        tts.generate_batch([line], voices[0])


@pytest.mark.parametrize("line", ["", " \n", "...", "?! — “”", "🙂🎉", "\u200b"])
def test_nothing_to_say(line, tts, voices):
    with pytest.raises(ValueError, match="there is nothing to say"):
        tts.stream(line, voices[0])  # at once, not with the first block


def test_half_a_character(tts, voices):
    with pytest.raises(ValueError, match="not valid Unicode"):
        tts.stream("Hello \ud83d.", voices[0])


def test_closing_ends_the_work(tts, voices):
    blocks = tts.stream(LONG, voices[0], seed=0, **ENDLESS)
    assert not workers()  # nothing starts before the first block is wanted
    next(blocks)
    assert len(workers()) == 1
    blocks.close()
    assert not workers()
    blocks = tts.stream(LONG, voices[0], seed=0, **ENDLESS)
    next(blocks)
    del blocks  # forgotten rather than closed
    assert not workers()


def test_a_stop_event_ends_the_work(tts, voices):
    stop = threading.Event()
    blocks = tts.stream(LONG, voices[0], seed=0, stop=stop, **ENDLESS)
    next(blocks)
    stop.set()
    assert len(list(blocks)) <= 1
    assert list(tts.stream(LONG, voices[0], stop=stop)) == []
    assert tts.generate(LONG, voices[0], stop=stop).size == 0
    assert [w.size for w in tts.generate_batch([LONG, LONG], voices[0], stop=stop)] == [0, 0]


def test_a_stop_event_ends_work_that_nobody_listens_to(tts, voices):
    stop = threading.Event()
    blocks = tts.stream(LONG, voices[0], seed=0, stop=stop, **ENDLESS)
    next(blocks)
    (worker,) = workers()
    stop.set()
    worker.join(30)
    assert not worker.is_alive()
    blocks.close()


def test_an_error_of_the_worker_reaches_the_listener(tts, voices, monkeypatch):
    def broken(*_):
        raise RuntimeError("the step broke")

    monkeypatch.setattr(generate, "several", broken)
    with pytest.raises(RuntimeError, match="the step broke"):
        tts.generate("Hello.", voices[0])
