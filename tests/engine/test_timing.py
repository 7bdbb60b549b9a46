"""When words are spoken: from made-up attention and sound, and in a tiny model's speech."""

import contextlib
import json
import threading

import numpy as np
import pytest

import ptts_jax
from ptts_jax import bundled
from ptts_jax.engine import heads
from ptts_jax.engine.heads import Heads
from ptts_jax.engine.request import Job
from ptts_jax.engine.service import Engine
from ptts_jax.engine.timing import Timing
from ptts_jax.model import config, released
from ptts_jax.text.placing import Placed
from tests.support import tiny_files
from tests.support.sound import same

HOW = {"seed": 7, "max_tokens": 12, "frames_after_eos": 2}
MIMI = tiny_files.CONFIG.mimi
FRAME = MIMI.frame_size / MIMI.sample_rate  # seconds
NAMES = ("One", "two", "three", "four")


def job() -> Job:
    """Four words of two tokens, and a space between them."""
    words = tuple(
        Placed(name, 10 * i, 10 * i + 3, 3 * i, 3 * i + 2) for i, name in enumerate(NAMES)
    )
    return Job(list(range(12)), 2, 100, words=words)


def looked(path: list[int]) -> list[np.ndarray]:
    """Logits [H, N + room] of heads that look at path[f] in frame f."""
    seen = np.full((len(path), 1, 64), -6.0)
    seen[range(len(path)), 0, path] = 6.0
    return list(seen)


def sound(loud: list[tuple[float, float]], frames: int) -> np.ndarray:
    """Noise in some spans of seconds, silence elsewhere."""
    rng = np.random.default_rng(0)
    time = np.arange(frames * MIMI.frame_size) / MIMI.sample_rate
    on = sum(((time >= a) & (time < b)) for a, b in loud)
    return (rng.normal(0, 0.1, time.size) * on).astype(np.float32)


PATH = [0, 1, 1, 3, 4, 4, 4, 6, 7, 7, 9, 9, 10, 11]  # words begin in the frames 0, 3, 7 and 10


def spoken(path=PATH, wave=None, late=0, block=3000, jobs=1):
    timing = Timing([job()] * jobs, MIMI, late)
    for number in range(jobs):
        for seen in looked(path):
            timing.seen(number, seen)
    words = []
    wave = sound([(0, 1e9)], jobs * len(path)) if wave is None else wave
    for at in range(0, wave.size, block):
        timing.heard(wave[at : at + block])
        words += timing.take()
    timing.end()
    return words + timing.take()


def test_words_begin_where_the_attention_reaches_them():
    words = spoken()
    assert [w.text for w in words] == list(NAMES)
    np.testing.assert_allclose([w.start / FRAME for w in words], [0, 3, 7, 10], atol=0.01)
    assert words[2].characters == (20, 23)


@pytest.mark.parametrize("block", [100, 1920, 5000, 10**6])
def test_blocks_do_not_matter(block):
    assert spoken(block=block, jobs=2) == spoken(jobs=2)


def test_the_next_chunk_goes_on_behind_the_last():
    one, both = spoken(), spoken(jobs=2)
    assert [w.text for w in both] == 2 * list(NAMES)
    moved = [w.moved(1, len(PATH) * FRAME) for w in one]
    for word, other in zip(moved, both[4:], strict=True):
        assert word.start == pytest.approx(other.start) and word.end == pytest.approx(other.end)


def test_silence_at_the_edges_of_a_word_is_none_of_it():
    """The second word is looked at from 0.24 to 0.56 s and heard from 0.3 to 0.5."""
    words = spoken(wave=sound([(0, 0.2), (0.3, 0.5), (0.6, 2)], len(PATH)))
    assert (words[1].start, words[1].end) == (pytest.approx(0.3), pytest.approx(0.5))
    assert words[2].start == pytest.approx(0.6)


def test_heads_that_are_late_are_believed_earlier():
    on_time, late = spoken(), spoken(late=2)
    for one, other in zip(on_time[1:], late[1:], strict=True):
        assert one.start - other.start == pytest.approx(2 * FRAME)


def test_speed_and_what_comes_before_move_words():
    word = spoken()[1].moved(2.0, 5.0)
    assert word.start == pytest.approx(5 + 3 * FRAME / 2)


def test_words_come_before_all_is_heard():
    timing = Timing([job()], MIMI, 0)
    for seen in looked(PATH[:13]):
        timing.seen(0, seen)
    timing.heard(sound([(0, 9)], 6))
    assert [w.text for w in timing.take()] == ["One"]
    timing.heard(sound([(0, 9)], 6))
    assert [w.text for w in timing.take()] == ["two"]


# A tiny model with random weights: nothing to understand, but the same rules.


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [t for t in threading.enumerate() if t.name == "ptts-lm"]


TEXT = "One boat came down, and three more followed it. Nobody knew why, or asked."


def test_the_audio_is_the_same_and_every_word_has_a_time(tts, voice):
    wave, words = tts.generate(TEXT, voice, words=True, **HOW)
    np.testing.assert_array_equal(wave, tts.generate(TEXT, voice, **HOW))
    assert [w.text for w in words] == TEXT.split()
    assert [TEXT[slice(*w.characters)] for w in words] == TEXT.split()
    times = [at for w in words for at in (w.start, w.end)]
    assert times == sorted(times) and times[0] >= 0
    assert times[-1] <= wave.size / tts.sample_rate


def test_a_stream_tells_the_words_as_it_goes(tts, voice):
    wave, words = tts.generate(TEXT, voice, words=True, **HOW)
    blocks = list(tts.stream(TEXT, voice, words=True, **HOW))
    np.testing.assert_array_equal(np.concatenate([b for b, _ in blocks]), wave)
    assert [w for _, some in blocks for w in some] == words
    heard = 0
    for block, some in blocks[:-1]:
        heard += block.size
        assert all(w.end <= heard / tts.sample_rate + FRAME for w in some)
    with contextlib.closing(tts.stream(TEXT, voice, words=True, **HOW)) as blocks:
        next(blocks)  # whoever leaves early leaves no thread behind


def test_pauses_speed_and_numbers_shift_words_by_what_they_take(tts, voice):
    """Silence cut in at known places: the words behind it are later by it, to the sample."""
    how = {**HOW, "words": True, "markup": True, "normalize": True}
    first, before = tts.generate("It costs $5.20.", voice, **how)
    text = "It costs $5.20. [pause 1.5] [rate 2] Not more."
    wave, words = tts.generate(text, voice, **how)
    assert [w.text for w in words] == ["It", "costs", "$5.20.", "Not", "more."]
    assert [text[slice(*w.characters)] for w in words] == [w.text for w in words]
    assert words[:3] == before
    begins = first.size / tts.sample_rate + 1.5
    longer, later = tts.generate(text.replace("1.5", "2.75"), voice, **how)
    assert longer.size - wave.size == 1.25 * tts.sample_rate
    for word, other in zip(words[3:], later[3:], strict=True):
        assert word.start >= begins
        assert other.start - word.start == pytest.approx(1.25)
        assert other.end - word.end == pytest.approx(1.25)


def test_a_model_is_listened_to_once(tts, voice, monkeypatch):
    tts.generate("One.", voice, words=True, **HOW)
    monkeypatch.setattr(heads, "calibrated", lambda *a: pytest.fail("it was known"))
    tts.generate("One.", voice, words=True, **HOW)
    [note] = (heads.cache_dir() / "heads").glob("*.json")
    known = json.loads(note.read_text())
    assert len(known["heads"]) == 1
    note.write_text("{")  # half a note is none
    monkeypatch.setattr(heads, "calibrated", lambda *a: Heads(((1, 2),), 3))
    args = tts.name, tts.params, tts.config, tts.tokenizer, voice, tts.caches
    assert heads.find(*args) == heads.find(*args) == Heads(((1, 2),), 3)
    note.write_text(json.dumps(known))


def test_who_asks_a_model_that_follows_nothing_is_told_once(tts, voice, monkeypatch, caplog):
    monkeypatch.setattr(heads, "_warned", set())
    guess = Heads(((0, 0),), 0, heads.UNSURE - 0.1)
    monkeypatch.setattr(heads, "calibrated", lambda *a: guess)
    [note] = (heads.cache_dir() / "heads").glob("*.json")
    known = note.read_text()
    note.unlink()
    args = tts.name, tts.params, tts.config, tts.tokenizer, voice, tts.caches
    assert heads.find(*args) == heads.find(*args) == guess
    assert [r.getMessage() for r in caplog.records] == [
        f"no head of {tts.name} follows the text: times and checks of words are guesses"
    ]
    note.write_text(known)


def test_published_heads_are_there():
    known = {name: released.heads(name) for name in released.names()}
    assert sum(map(bool, known.values())) == 18
    assert known["french_24l"] == ((17, 13), (16, 9), (18, 5), (17, 11))
    assert known["english_2m_2026-10"] == ()
    for name, some in known.items():
        t = config.get(name).flow_lm.transformer
        assert all(layer < t.num_layers and head < t.num_heads for layer, head in some)


def test_noted_heads_are_known_if_they_fit():
    c = config.get("french_24l")
    heads_of = heads.written(some := Heads(((3, 2),), 1, -0.5))
    assert heads.known("mine", c, heads_of) == some
    assert heads.known("french_24l", c, heads_of) == some, "the note goes before what is published"
    assert heads.known("mine", c) is None
    assert heads.known("french_24l", c) == Heads(released.heads("french_24l"))
    unfit = [heads.written(Heads((pair,))) for pair in ((99, 0), (0, 99), (-1, 0))]
    for note in (*unfit, heads.written(Heads(())), "{", "{}", '{"heads": 3, "late": 0, "sure": 0}'):
        assert heads.known("mine", c, note) is None


@pytest.mark.slow
def test_the_bundled_model_looks_at_what_it_says():
    """Its words come one after the other, at a reader's pace, with a pause at the comma."""
    tts = ptts_jax.load(bundled.NAME)
    text = "The train to the city was late again, and nobody could say why."
    wave, words = tts.generate(text, words=True, seed=0)
    assert [w.text for w in words] == text.split()
    lengths = [w.end - w.start for w in words]
    assert min(lengths) > 0.03 and max(lengths) < 1.2
    assert words[-1].end > 0.8 * wave.size / tts.sample_rate
    letters = [len(w.text) for w in words]
    assert np.corrcoef(lengths, letters)[0, 1] > 0.5


def test_the_engine_tells_the_same_words(tts, voice):
    """Beside requests that do not want them, and where every row is made for them."""
    text = "It costs $5.20. [pause 0.5] [rate 2] Not more, and not less."
    how = {**HOW, "markup": True, "normalize": True}
    wave, words = tts.generate(text, voice, words=True, **how)
    for everyone in (False, True):
        with Engine(tts, slots=2, words=everyone) as engine:
            told = engine.submit(text, voice, words=True, **how)
            plain = engine.submit(text, voice, **how)
            same(np.concatenate(list(told)), wave)
            same(np.concatenate(list(plain)), wave)
        assert [(w.text, w.characters) for w in told.words] == [
            (w.text, w.characters) for w in words
        ]
        times = [time for w in words for time in (w.start, w.end)]
        assert [time for w in told.words for time in (w.start, w.end)] == pytest.approx(times)
        assert plain.words == []


def test_words_with_speed_and_loudness_are_the_same_in_every_way_in(tts, voice):
    """Levelling holds audio back, not the words' times; a speed moves them."""
    text = "It costs $5.20. [pause 0.5] [rate 2] Not more, and not less."
    how = {**HOW, "markup": True, "normalize": True, "speed": 0.8, "loudness": -20}
    wave, words = tts.generate(text, voice, words=True, **how)
    _, plain = tts.generate(text, voice, words=True, **{**how, "loudness": None})
    assert words == plain and len(words) == 8
    blocks = list(tts.stream(text, voice, words=True, **how))
    streamed = np.concatenate([block for block, _ in blocks])
    same(streamed, np.concatenate(list(tts.stream(text, voice, **how))))
    assert [word for _, some in blocks for word in some] == words
    with Engine(tts, slots=2) as engine:
        told = engine.submit(text, voice, words=True, **how)
        same(np.concatenate([block for block, _ in told.with_words()]), streamed)
    assert told.words == words
    assert max(w.end for w in words) <= wave.size / tts.sample_rate


def test_a_batch_tells_the_same_words(tts, voice):
    """Its chunks are spoken side by side, and joined in the texts' order."""
    texts = [TEXT, "It costs $5.20. [pause 0.5] [rate 2] Not more.", "One."]
    how = {**HOW, "markup": True, "normalize": True, "speed": 1.25, "loudness": -20}
    said = tts.generate_batch(texts, voice, words=True, **how)
    for text, (wave, words), plain in zip(
        texts, said, tts.generate_batch(texts, voice, **how), strict=True
    ):
        same(wave, plain)
        alone, expected = tts.generate(text, voice, words=True, **how)
        same(wave, alone)
        assert [(w.text, w.characters) for w in words] == [(w.text, w.characters) for w in expected]
        times = [time for w in expected for time in (w.start, w.end)]
        assert [time for w in words for time in (w.start, w.end)] == pytest.approx(times, abs=1e-6)
    assert tts.generate_batch([], voice, words=True) == []
