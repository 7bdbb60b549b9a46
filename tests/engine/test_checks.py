"""What was said wrong is found in the attention, and said again."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ptts_jax.engine import checks, pieces
from ptts_jax.engine.checks import Checked, Fault
from ptts_jax.engine.request import Job, Options
from ptts_jax.engine.rows import Chunk, Rows
from ptts_jax.engine.service import Engine
from ptts_jax.text import following
from ptts_jax.text.placing import Placed
from ptts_jax.text.reading import Manner
from ptts_jax.tts import TTS
from tests.support.sound import same

LENGTHS = (3, 5, 4, 6, 4, 7, 5)  # letters of the words
RATE = 12.5


def job(limit: int = 200) -> Job:
    """Words of some letters with a space between them, and a point at the end: a token each."""
    words, at = [], 0
    for number, length in enumerate(LENGTHS):
        words.append(Placed(f"word{number}", 10 * number, 10 * number + 5, at, at + length))
        at += length + 1
    return Job(list(range(at)), 2, limit, words=tuple(words))


def said(rng: np.random.Generator, tokens: int) -> list[int]:
    """A token for each frame, as somebody speaks: most letters once, some twice, spaces hardly."""
    ends = {word.last for word in job().words}
    counts = [rng.integers(0, 2) if t in ends else rng.integers(1, 3) for t in range(tokens)]
    return np.repeat(np.arange(tokens), counts).tolist() + [tokens - 1] * 4


def wrong(path: list[int], of: Job, rng: np.random.Generator) -> list[Fault]:
    """The faults of who looks at a token in each frame, and a little elsewhere."""
    logits = rng.normal(0, 1, (len(path), 1, len(of.tokens)))
    logits[range(len(path)), 0, path] += 9
    weights = [following.weights(one) for one in logits]
    return checks.faults(of, weights, following.path(weights), RATE)


seeds = st.integers(0, 10**6).map(np.random.default_rng)
inner = st.integers(1, len(LENGTHS) - 2)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_what_is_said_as_it_is_written_has_no_fault(rng):
    assert wrong(said(rng, len(job().tokens)), job(), rng) == []


@given(seeds, inner)
@settings(max_examples=50, deadline=None)
def test_a_word_that_is_left_out_is_skipped(rng, number):
    word = job().words[number]
    path = [t for t in said(rng, len(job().tokens)) if not word.first <= t <= word.last]
    found = wrong(path, job(), rng)
    assert [f.kind for f in found] == ["skipped"]
    assert word.text in found[0].text and found[0].characters[0] <= word.start


@given(seeds, inner)
@settings(max_examples=50, deadline=None)
def test_a_word_that_is_said_twice_is_repeated(rng, number):
    word, path = job().words[number], said(rng, len(job().tokens))
    mine = [t for t in path if word.first <= t < word.last]
    assume(len(mine) > 5)  # of words that take less than half a second some are not found
    at = path.index(mine[-1]) + mine.count(mine[-1])
    found = wrong(path[:at] + mine + path[at:], job(), rng)
    assert "repeated" in [f.kind for f in found]
    assert any(f.text == word.text for f in found)


@given(seeds, inner)
@settings(max_examples=50, deadline=None)
def test_an_end_that_is_missing_is_cut_off(rng, number):
    path = [t for t in said(rng, len(job().tokens)) if t < job().words[number].first]
    found = wrong(path, job(), rng)
    assert found[-1].kind == "cut off" and job().words[-1].text in found[-1].text


@given(seeds, inner)
@settings(max_examples=50, deadline=None)
def test_a_sound_without_end_is_babble(rng, number):
    path = said(rng, len(job().tokens))
    at = path.index(job().words[number].first)
    assert "babbling" in [
        f.kind for f in wrong(path[:at] + [path[at]] * 20 + path[at:], job(), rng)
    ]
    assert [f.kind for f in wrong(path, job(limit=len(path)), rng)] == ["babbling"]


def test_nothing_is_known_of_a_text_without_words():
    assert checks.faults(replace(job(), words=()), [np.ones(3) / 3], [0], RATE) == []
    assert checks.faults(job(), [], [], RATE) == []


# Tries.


TEXT = "One boat came down. Nobody knew why."
HOW = {"seed": 7, "max_tokens": 12}
PLAIN = Options(seed=7, max_tokens=12), Manner(), False, None
WRONG = Fault("skipped", "boat", (4, 8))


def judged(monkeypatch, verdicts: list[list[Fault]]) -> None:
    turns = iter(verdicts)
    monkeypatch.setattr(checks, "faults", lambda *_: next(turns))


def test_the_first_try_is_what_would_have_been_heard(tts, voice, monkeypatch):
    judged(monkeypatch, [[]] * 10)
    found: list[Checked] = []
    wave = tts.generate(TEXT, voice, checks=found, **HOW)
    np.testing.assert_array_equal(wave, tts.generate(TEXT, voice, **HOW))
    assert len(found) > 1 and set(found) == {Checked((), 1)}


def test_what_was_wrong_is_said_again_with_another_seed(tts, voice, monkeypatch):
    how = {**HOW, "max_tokens": 100}  # one chunk
    first = tts.generate(TEXT, voice, **how)
    other = tts.generate(TEXT, voice, **{**how, "seed": 7 + checks.NEXT_SEED})
    assert first.shape != other.shape or not np.array_equal(first, other)
    judged(monkeypatch, [[WRONG], []])
    found: list[Checked] = []
    wave, words = tts.generate(TEXT, voice, checks=found, words=True, **how)
    np.testing.assert_array_equal(wave, other)
    assert found == [Checked((), 2)] and [w.text for w in words] == TEXT.split()


def test_the_best_try_is_heard_and_their_number_is_bounded(tts, voice, monkeypatch):
    how = {**HOW, "max_tokens": 100}
    judged(monkeypatch, [[WRONG] * 3, [WRONG] * 2, [WRONG], [WRONG] * 4])
    found: list[Checked] = []
    wave = tts.generate(TEXT, voice, checks=found, **how)
    third = tts.generate(TEXT, voice, **{**how, "seed": 7 + 2 * checks.NEXT_SEED})
    np.testing.assert_array_equal(wave, third)
    assert found == [Checked((WRONG,), 1 + len(checks.AGAIN_VARIED))]


def test_without_noise_a_chunk_is_said_again_in_pieces(tts, voice, monkeypatch):
    judged(monkeypatch, [[WRONG], []])
    found: list[Checked] = []
    how = {**HOW, "max_tokens": 100, "temperature": 0.0}
    wave, words = tts.generate(TEXT, voice, checks=found, words=True, **how)
    assert found == [Checked((), 2)] and [w.text for w in words] == TEXT.split()
    options = Options(seed=7, max_tokens=100, temperature=0.0)
    [part] = tts._utterance(TEXT, voice, options, Manner(), True, None).parts
    [job] = part.jobs
    parts = pieces.cut(job, 2, tts.config.mimi.frame_rate)
    assert len(parts) == 2
    rows = Rows(tts.weights, tts.config, tts.caches, [job])
    said = [rows.whole(Chunk(piece.job, part.voice)) for piece in parts]
    assert wave.size == sum(map(len, said)) * tts.config.mimi.frame_size


def test_only_the_chunk_that_was_wrong_is_said_again(tts, voice, monkeypatch):
    """And the words are those of what is heard."""
    jobs = [job for part in tts._utterance(TEXT, voice, *PLAIN).parts for job in part.jobs]
    assert len(jobs) == 2
    judged(monkeypatch, [[], [WRONG], []])
    found: list[Checked] = []
    wave, words = tts.generate(TEXT, voice, checks=found, words=True, **HOW)
    assert found == [Checked((), 1), Checked((), 2)]
    again = {**HOW, "seed": 7 + checks.NEXT_SEED}
    first, second = (tts.generate(TEXT, voice, **how) for how in (HOW, again))
    assert wave[:1920].tolist() == first[:1920].tolist()
    tail = min(wave.size, second.size) // 3
    same(wave[-tail:], second[-tail:])
    assert [w.text for w in words] == TEXT.split()
    assert words[-1].end <= wave.size / tts.sample_rate


def test_a_chunk_that_may_begin_again_is_not_heard_before_it_is_whole(tts, voice, monkeypatch):
    judged(monkeypatch, [[]] * 4)
    found: list[Checked] = []
    for _ in tts.stream(TEXT, voice, checks=found, **HOW):
        assert found
    plain = [block.size for block in tts.stream(TEXT, voice, **HOW)]
    assert [block.size for block in tts.stream(TEXT, voice, checks=[], **HOW)] == plain


# The best of several.


def test_the_best_of_one_is_what_is_heard_anyway(tts, voice, monkeypatch):
    plain = tts.generate(TEXT, voice, **HOW)
    monkeypatch.setattr(TTS, "heads", lambda *_: pytest.fail("nobody is watched"))
    np.testing.assert_array_equal(tts.generate(TEXT, voice, best_of=1, **HOW), plain)
    cold = {**HOW, "temperature": 0}
    plain = tts.generate(TEXT, voice, **cold)
    np.testing.assert_array_equal(tts.generate(TEXT, voice, best_of=3, **cold), plain)


@pytest.mark.parametrize("best", range(3))
def test_the_best_of_several_is_heard(tts, voice, monkeypatch, best):
    """They are said with one step of all of them."""
    how = {**HOW, "max_tokens": 100}
    judged(monkeypatch, [[WRONG] * (1 + (i != best)) for i in range(3)])
    steps, step = [], Rows.step
    monkeypatch.setattr(
        Rows, "step", lambda self, rows, n: steps.append(rows) or step(self, rows, n)
    )
    wave = tts.generate(TEXT, voice, best_of=3, **how)
    assert len(steps[0]) == 3
    monkeypatch.undo()
    same(wave, tts.generate(TEXT, voice, **{**how, "seed": 7 + best * checks.NEXT_SEED}))


def test_of_those_without_fault_the_surest_is_kept(tts, voice, monkeypatch):
    how = {**HOW, "max_tokens": 100}
    judged(monkeypatch, [[]] * 3)
    sure = iter([-1.2, -1.0, -1.1])
    monkeypatch.setattr(following, "sureness", lambda _: next(sure))
    found: list[Checked] = []
    wave = tts.generate(TEXT, voice, best_of=3, checks=found, **how)
    same(wave, tts.generate(TEXT, voice, **{**how, "seed": 7 + checks.NEXT_SEED}))
    assert found == [Checked((), 3)]


def test_the_best_of_several_may_be_said_again(tts, voice, monkeypatch):
    how = {**HOW, "max_tokens": 100}
    judged(monkeypatch, [[WRONG], [WRONG] * 2, []])
    found: list[Checked] = []
    wave = tts.generate(TEXT, voice, best_of=2, checks=found, **how)
    same(wave, tts.generate(TEXT, voice, **{**how, "seed": 7 + 2 * checks.NEXT_SEED}))
    assert found == [Checked((), 3)]


# Many texts, many listeners.


def test_a_batch_is_checked_text_by_text(tts, voice, monkeypatch):
    texts = [TEXT, "One boat."]
    plain = tts.generate_batch(texts, voice, **HOW)
    wrong = lambda job, *_: [WRONG] * (job.index == 1 and job.seed == 7)  # noqa: E731
    monkeypatch.setattr(checks, "faults", wrong)
    found: list[list[Checked]] = []
    waves = tts.generate_batch(texts, voice, checks=found, **HOW)
    assert found == [[Checked((), 1), Checked((), 2)], [Checked((), 1)]]
    same(waves[0], tts.generate(TEXT, voice, checks=[], **HOW))
    same(waves[1], plain[1])
    assert waves[0].shape != plain[0].shape or not np.array_equal(waves[0], plain[0])


def test_an_engine_checks_for_who_wants_it(tts, voice, monkeypatch):
    wrong = lambda job, *_: [WRONG] * (job.index == 0 and job.seed < 2 * checks.NEXT_SEED)  # noqa: E731
    monkeypatch.setattr(checks, "faults", wrong)
    right = tts.generate(TEXT, voice, checks=[], **HOW)
    with Engine(tts, slots=2) as engine:
        asked = engine.submit(TEXT, voice, checks=[], **HOW)
        others = [engine.submit(TEXT, voice, **HOW) for _ in range(2)]
        same(np.concatenate(list(asked)), right)
        for other in others:
            same(np.concatenate(list(other)), tts.generate(TEXT, voice, **HOW))
            assert other.checks == []
        assert asked.checks == [Checked((), 3), Checked((), 1)]
        assert asked.request.made == asked.decoded == asked.request.taken
        with engine.submit(TEXT, voice, checks=[], **HOW):
            pass  # who leaves frees the rows of all tries
        until = time.monotonic() + 30
        while engine.busy["open"] and time.monotonic() < until:
            time.sleep(0.01)
        assert sum(engine.core.rows._rows_on) == 0


def test_it_can_be_stopped(tts, voice, monkeypatch):
    stop, step = threading.Event(), Rows.step

    def last(*args):
        stop.set()
        return step(*args)

    monkeypatch.setattr(Rows, "step", last)
    found: list[Checked] = []
    assert tts.generate(TEXT, voice, checks=found, stop=stop, **HOW).size == 0
    assert found == []
