"""What is told of words: their times, faults of theirs, and how many of hard sentences are lost."""

from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax.engine.request import Job
from ptts_jax.text import following
from ptts_jax.text.placing import Placed
from ptts_jax.train.data import drills, recipe, teachers
from ptts_jax.train.data import hard as sentences
from ptts_jax.train.data.said import Said
from ptts_jax.train.evaluate import faults, hard, times, whisper
from tests.support import tiny_files

RATE = 12.5


@pytest.fixture
def tts(files, monkeypatch):
    monkeypatch.setattr(whisper, "check", lambda: None)
    loaded = ptts_jax.load(files.yaml)
    monkeypatch.setattr(ptts_jax, "load", lambda _: loaded)
    return loaded


@pytest.fixture
def recording(tts, tmp_path) -> str:
    soundfile.write(tmp_path / "me.wav", tiny_files.speech(1.0, seed=0), tts.sample_rate)
    return str(tmp_path / "me.wav")


# Times.


def test_words_that_both_have_are_compared():
    ours = [("The", 0.0, 0.2), ("grey", 0.2, 0.5), ("boat,", 0.5, 0.9), ("sank.", 1.0, 1.4)]
    theirs = [("the", 0.1, 0.2), ("gray", 0.2, 0.6), ("float", 0.6, 0.9), ("sank", 1.1, 1.4)]
    pairs = [(a[0], b[0]) for a, b in times.agreed(ours, theirs)]
    assert pairs == [("The", "the"), ("grey", "gray"), ("sank.", "sank")]


def test_silence_before_a_word_is_no_part_of_it():
    tts, wave = SimpleNamespace(sample_rate=1000), np.zeros(1000, np.float32)
    wave[300:500] = 0.5
    wave[800:900] = 0.001  # too quiet to be heard beside the other
    heard = [("boat", 0.0, 0.7), ("sank", 0.75, 1.0)]
    assert times.audible(heard, wave, tts) == [("boat", 0.3, 0.5), ("sank", 0.75, 1.0)]


def test_what_is_printed_of_times():
    line = times._line("starts", [0.02, -0.04, 0.06, 0.0])
    assert line == "starts: median error 30 ms, 95% within 57 ms, bias +10 ms"


def test_times_of_a_model(tts, recording, monkeypatch, capsys):
    """A recogniser that hears each word 20 ms late."""
    late, spoken = 0.02, []
    generate = ptts_jax.TTS.generate

    def remembered(self, *args, **how):
        wave, words = generate(self, *args, **how)
        spoken.append(words)
        return wave, words

    heard = lambda waves, rate: [[(w.text, w.start + late, w.end) for w in spoken[-1]]]  # noqa: E731
    monkeypatch.setattr(ptts_jax.TTS, "generate", remembered)
    monkeypatch.setattr(whisper, "hear_words", heard)
    monkeypatch.setattr(times, "audible", lambda words, *_: words)
    monkeypatch.setattr(times, "SENTENCES", ("One boat came down.",))
    assert times.main(["it", "--sentences=1", f"--voice={recording}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("4 of 4 words in 1 sentences")
    assert lines[1] == "starts: median error 20 ms, 95% within 20 ms, bias -20 ms"
    monkeypatch.setattr(whisper, "hear_words", lambda waves, rate: [[("nothing", 0.0, 1.0)]])
    assert times.main(["it", "--sentences=1", f"--voice={recording}"]) == 1
    assert "Whisper understands not one of its words" in capsys.readouterr().err


# Faults.


def look(lengths=(6, 5, 7, 6, 5)) -> faults.Look:
    """Who looks at each letter for a frame."""
    words, at = [], 0
    for number, length in enumerate(lengths):
        words.append(Placed("abcdefgh"[:length], 10 * number, 10 * number + 9, at, at + length))
        at += length + 1
    logits = np.zeros((at, 1, at))
    logits[range(at), 0, range(at)] = 9
    seen = np.stack([following.weights(one) for one in logits])
    return Job(list(range(at)), 2, 200, words=tuple(words)), seen


def test_the_checks_find_what_is_spoiled():
    tts = SimpleNamespace(config=SimpleNamespace(mimi=SimpleNamespace(frame_rate=RATE)))
    rng = np.random.default_rng(0)
    assert not faults._found(look(), tts)
    for name, spoil in faults.SPOILS:
        found = sum(faults._found(spoil(look(), rng), tts) for _ in range(20))
        assert found >= 18, name


def test_what_is_spoiled_is_another_length():
    rng = np.random.default_rng(1)
    job, seen = look()
    for name, spoil in faults.SPOILS:
        _, other = spoil((job, seen), rng)
        shorter = name in ("a word left out", "broken off")
        assert (len(other) < len(seen)) == shorter, name
    assert faults._left_out(look((6, 3, 6)), rng) is None, "the word inside is too short"


# Hard sentences.


def test_hard_sentences_are_always_the_same_and_none_twice():
    chosen = sentences.sentences()
    assert chosen == sentences.sentences() and len(chosen) == len(set(chosen)) == sentences.ALL
    kinds = [kind for kind, _ in chosen]
    assert {kinds.count(kind) for kind in sentences.KINDS} == {50}
    assert len(sentences.sentences(8)) == 8
    for kind, text in chosen:
        assert (text == text.upper()) == (kind == "all capitals") or len(text) < 3
        assert kind != "one word" or len(text.split()) == 1


def test_drills_are_others():
    judged = {recipe.plain(text) for _, text in sentences.sentences()}
    made = drills.drills(("dog", "sky", "clear", "over", "ran"), ("Alice", "Bob"), Random(0))
    some = [next(made) for _ in range(300)]
    assert all(len(text) <= drills.LONGEST and text[0].isupper() for text in some)
    assert len(set(some)) > 200 and not judged & {recipe.plain(text) for text in some}
    assert list(drills.drills((), (), Random(0))) == []


def test_words_that_are_lost_are_at_most_all():
    assert hard.missing(["one", "boat"], ["one", "goat"]) == 1
    assert hard.missing(["one", "boat"], ["no"] * 40) == 2


def test_the_table_and_what_the_check_brings_back():
    found = [
        hard.Said("lists", 8, (1, 5, 2), True),
        hard.Said("lists", 2, (0, 0, 0), False),
        hard.Said("one word", 1, (0, 1, 1), True),
    ]
    lines = hard.table(found)
    assert lines[2:] == [
        "| lists | 2 | 10 | 10.0% | 50.0% | 20.0% | 1 |",
        "| one word | 1 | 1 | 0.0% | 100.0% | 100.0% | 1 |",
        "| all | 3 | 11 | 9.1% | 54.5% | 27.3% | 2 |",
        "Of the words lost beyond the teacher's, the check brings back 60%.",
    ]
    assert len(hard.table([hard.Said("lists", 8, (3, 2, 2), False)])) == 4, "nothing to bring back"


def test_hard_sentences_of_a_model(tts, recording, monkeypatch, capsys):
    read: list[str] = []

    def speak(text: str) -> Said:
        read.append(text)
        return Said(np.zeros(1600, np.float32), 16_000)

    monkeypatch.setattr(teachers, "start", lambda *_: SimpleNamespace(speak=speak))
    monkeypatch.setattr(whisper, "hear", lambda waves, rate: [read[-1] if rate == 16_000 else ""])
    assert hard.main(["it", "--sentences=6", f"--voice={recording}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" |")[0][2:] for line in lines[3:9]] == list(sentences.KINDS)
    assert all("| 0.0% | 100.0% | 100.0% |" in line for line in lines[3:10])
    assert lines[-1] == "Of the words lost beyond the teacher's, the check brings back 0%."
    assert len(read) == 6 and not any(c.isdigit() for text in read for c in text)
