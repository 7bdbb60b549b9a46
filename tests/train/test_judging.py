"""Figures of a judgement: words, sounds, rows, and the report of them."""

import functools
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptts_jax.train.evaluate import (
    judge,
    judges,
    metrics,
    recogniser,
    report,
    spelling,
)
from ptts_jax.train.evaluate.judge import Asked, Heard, Speech
from tests.support import tiny_files

RATE = 16_000

# Words


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("the cat sat", "the cat sat", 0),
        ("The cat, sat!", "the cat sat", 0),
        ("the cat sat", "the bat sat", 1),
        ("the cat sat", "cat sat", 1),
        ("the cat sat", "the cat sat down", 1),
        ("the cat sat", "", 3),
        ("the cat sat", "a the cat fat on", 3),
        ("don’t go", "don't go", 0),
        ("one two three four", "two one four three", 3),
    ],
)
def test_word_errors(said, heard, errors):
    assert metrics.edits(spelling.words(said), spelling.words(heard)) == errors


@functools.cache
def recursive_edits(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    inner = recursive_edits(a[1:], b[1:]) + (a[0] != b[0])
    return min(inner, 1 + recursive_edits(a[1:], b), 1 + recursive_edits(a, b[1:]))


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_edits_are_the_fewest(a, b):
    assert metrics.edits(a, b) == recursive_edits(a, b)


def test_error_rate_is_of_words_not_of_sentences():
    found = metrics.error_rate([1, 0], [2, 8])
    assert found.value == pytest.approx(0.1)
    assert found.low == 0.0 and found.high == pytest.approx(0.5)  # a draw of either sentence alone


def test_intervals():
    assert metrics.error_rate([1] * 9, [4] * 9) == metrics.Interval(0.25, 0.25, 0.25)
    errors = [0, 1, 0, 2, 0, 0, 1, 0, 0, 0] * 6
    found = metrics.error_rate(errors, [8] * 60, seed=1)
    assert found == metrics.error_rate(errors, [8] * 60, seed=1)
    # The textbook's interval for the mean of 60: 1.96 standard errors.
    half = 1.96 * np.std(errors) / 60**0.5 / 8
    assert found.high - found.value == pytest.approx(half, rel=0.25)
    assert found.value - found.low == pytest.approx(half, rel=0.25)


def test_a_difference_is_drawn_in_pairs():
    hard = [0, 5, 0, 5] * 10
    same = metrics.difference([e + 1 for e in hard], hard, [10] * 40)
    assert (same.value, same.low, same.high) == pytest.approx((0.1, 0.1, 0.1))
    assert metrics.difference(hard, hard, [10] * 40).high == 0
    assert metrics.difference([0] * 4, [1] * 4, [2] * 4).value == -0.5
    with pytest.raises(ValueError, match="no words"):
        metrics.error_rate([0], [0])


# Sounds


def test_durations():
    assert [metrics.beyond(r) for r in (0.59, 0.6, 1.0, 1.6, 1.61)] == [True, *[False] * 3, True]


def tone(hertz, seconds=0.5, rate=RATE):
    time = np.arange(int(seconds * rate)) / rate
    rng = np.random.default_rng(0)
    return np.sin(2 * np.pi * hertz * time) * 0.2 + 0.003 * rng.standard_normal(len(time))


def test_cepstral_distance():
    a = np.concatenate([tone(200), tone(900), tone(3000)])
    slower = np.concatenate([tone(200, 0.9), tone(900, 0.7), tone(3000)])
    reordered = np.concatenate([tone(3000), tone(900), tone(200)])

    def distance(x):
        return metrics.cepstral_distance(a, x, RATE)

    assert distance(a) < 1e-6
    assert distance(slower) < 0.3 * distance(reordered)
    assert distance(2 * a) < 0.1 * distance(reordered)  # loudness does not count
    assert np.isnan(distance(a[:100]))
    fast = np.concatenate([tone(200, rate=8000), tone(900, rate=8000), tone(3000, rate=8000)])
    assert metrics.cepstral_distance(fast, fast, 8000) < 1e-6


def test_cepstral_distance_of_a_known_tilt():
    """A cepstrum that differs by c in one coefficient is 10 / ln 10 * sqrt(2) * c dB away."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(RATE)
    cepstra = metrics.mel_cepstra(noise)
    assert cepstra.shape == (1 + (RATE - metrics.WINDOW) // metrics.HOP, metrics.CEPSTRA)
    # White noise through an exponential of a cosine on the mel scale has that cosine's cepstrum.
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    mel = np.log10(1 + hertz / 700) / np.log10(1 + RATE / 2 / 700)
    shaped = np.fft.irfft(np.fft.rfft(noise) * np.exp(2 * 0.3 * np.cos(2 * np.pi * mel)))
    change = (metrics.mel_cepstra(shaped) - cepstra).mean(axis=0)
    assert change[1] == pytest.approx(0.3, abs=0.03)
    assert np.abs(np.delete(change, 1)).max() < 0.05


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_alignment_is_the_cheapest_path(rows, columns, seed):
    cost = np.random.default_rng(seed).random((rows, columns))

    @functools.cache
    def best(i, j):  # (total, steps) from (0, 0) to (i, j)
        if i < 0 or j < 0:
            return np.inf, 0
        before = (
            (0.0, 0) if i == j == 0 else min(best(i - 1, j - 1), best(i - 1, j), best(i, j - 1))
        )
        return before[0] + cost[i, j], before[1] + 1

    total, steps = best(rows - 1, columns - 1)
    assert metrics._aligned(cost) == pytest.approx(total / steps)


# The recogniser


def test_a_machine_without_the_recogniser(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ValueError, match="pocketsphinx is not installed: run pip install"):
        recogniser.hear([np.zeros(10)], RATE)


def test_clips_for_the_recogniser():
    clip = np.frombuffer(recogniser._clip(tiny_files.speech(1.0, 24000) * 99, 24000), "<i2")
    pause = int(recogniser.PAUSE * RATE)
    assert len(clip) == RATE + 2 * pause
    assert not clip[:pause].any() and not clip[-pause:].any()
    assert clip.max() == 32767 and clip.min() == -32767


def test_what_was_heard_is_remembered(tmp_path):
    asked = []

    def hear(waves, rate):
        asked.extend(waves)
        return [f"{len(wave)} at {rate}" for wave in waves]

    kept = judges.remembering(hear, tmp_path / "heard.json")
    a, b = np.full(50, 0.1), np.full(70, 0.1)
    assert kept([a], RATE) == ["50 at 16000"]
    assert kept([b, a], RATE) == ["70 at 16000", "50 at 16000"]
    assert len(asked) == 2
    (tmp_path / "heard.json").write_text("[broken")
    assert kept([a], RATE) == ["50 at 16000"] and len(asked) == 3


# Rows


def sentence(number, errors, duration, ended, speaker="a", **more):
    return judge.Sentence(
        Asked(f"s{number}", speaker, "everyday"),
        4,
        {"ear": Heard("", errors)},
        duration,
        ended,
        1.0 + number,
        **more,
    )


def row(name, *said, speaker="a"):
    return judge.Row(name, tuple(sentence(i, *s, speaker=speaker) for i, s in enumerate(said)))


TEACHER = row("teacher", (0, 1.0, True), (1, 1.0, True), (0, 1.0, True))


def test_figures():
    found = judge.figures(row("model", (1, 0.5, True), (1, 1.1, True), (4, 2.0, False)), TEACHER)
    assert found.wer["ear"].value == pytest.approx(6 / 12)
    assert found.gap["ear"].value == pytest.approx(5 / 12)
    assert (found.sentences, found.beyond, found.endless, found.failed) == (3, 2, 1, 2)
    assert found.duration == 1.1 and found.distance == 2.0


def test_figures_are_of_the_same_sentences():
    with pytest.raises(ValueError, match="not the sentences"):
        judge.figures(row("model", (0, 1.0, True)), TEACHER)


def test_judging():
    speech = Speech([tone(200, 0.6), tone(900, 0.3)], RATE, [True, False])
    teacher = Speech([tone(200, 0.3, 8000), tone(900, 0.3, 8000)], 8000)
    asked = [Asked("Here we are.", "a", "everyday"), Asked("No.", "a", "prose")]
    ears = {
        "one": lambda waves, rate: ["here they are", "no"],
        "two": lambda waves, rate: ["", "No!"],
    }
    heard_by = judges.Judges(
        ears,
        quality=lambda waves, rate: [[3.0, 2.0, 1.0]] * len(waves),
        embed=lambda waves, rate: [[0.6, 0.8] if rate == RATE else [1.0, 0.0]] * len(waves),
    )
    found = judge.judge("model", asked, speech, teacher, heard_by)
    assert [s.errors for s in found.sentences] == [1, 0]
    assert [s.heard["two"].errors for s in found.sentences] == [3, 0]
    assert [s.words for s in found.sentences] == [3, 1]
    assert [s.duration for s in found.sentences] == pytest.approx([2.0, 1.0])
    assert [s.ended for s in found.sentences] == [True, False]
    assert all(0 <= s.distance < 20 for s in found.sentences)
    assert all(s.quality == (3.0, 2.0, 1.0) for s in found.sentences)
    assert [s.likeness for s in found.sentences] == pytest.approx([0.6, 0.6])
    assert found.kinds == ("everyday", "prose") and len(found.of("a", "prose").sentences) == 1


def test_ratings_are_held_against_the_teacher(tmp_path):
    def rated(name, *quality):
        said = [sentence(i, 0, 1.0, True, quality=(q, 2.0, 2.0)) for i, q in enumerate(quality)]
        return judge.Row(name, tuple(said))

    teacher, codec = rated("teacher", 4.0, 3.8), rated("codec", 3.5, 3.5)
    found = judge.figures(codec, teacher)
    assert found.quality.value == pytest.approx(3.5) and found.overall == pytest.approx(2.0)
    assert found.below.value == pytest.approx(0.4)
    assert (found.below.low, found.below.high) == pytest.approx((0.3, 0.5))
    assert "| 3.50 (3.50 to 3.50) | +0.40 (" in report.write(tmp_path, [teacher, codec], {})


def test_the_report(tmp_path):
    model = row("model", (1, 1.0, True), (1, 1.0, True), (0, 1.0, True))
    int8 = row("int8", (0, 1.0, True), (1, 1.0, True), (2, 1.0, False))
    text = report.write(tmp_path, [TEACHER, model, int8], {"seed": 3})
    lines = text.splitlines()
    assert lines[2].startswith("| teacher | a | everyday | 3 | 8.3 (")
    assert lines[3].split(" | ")[5].startswith("+8.3 (")
    assert lines[4].split(" | ")[8:10] == ["1", "33.3%"]
    assert "P.808" not in text and "likeness" not in text  # nobody judged them
    assert "int8 changes the WER by +8.3" in text and "within its interval" in text
    assert (tmp_path / "report.md").read_text().startswith(text)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["seed"] == 3 and len(data["rows"]) == 3 and len(data["sentences"]) == 9
    assert data["rows"][1]["wer"]["ear"]["value"] == pytest.approx(2 / 12)


def test_the_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="an extra")
    report.write(tmp_path, [TEACHER, row("model", *[(1, 1.0, True)] * 3)], {})
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report.write(tmp_path, [TEACHER], {})
    assert "matplotlib is not installed" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_speakers_are_judged_apart_and_together(tmp_path):
    both = judge.Row("teacher", TEACHER.sentences + row("", (4, 1.0, True), speaker="b").sentences)
    report.write(tmp_path, [both], {})
    found = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [r["speaker"] for r in found] == ["a", "b", "all"]
    assert [r["wer"]["ear"]["value"] for r in found] == pytest.approx([1 / 12, 1, 5 / 16])


def test_no_int8_no_note():
    assert report.notes([TEACHER]) == ""
