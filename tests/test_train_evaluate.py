"""Evaluation: the figures against hand cases, and the whole command with a stand-in recogniser."""

import dataclasses
import functools
import json
import sys

import jax
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ptts_jax import audio, codec, schema, text, tts, voices
from ptts_jax.train import (
    checkpoint,
    corpus,
    evaluate,
    evaluate_report,
    judge,
    metrics,
    recogniser,
    speakers,
)
from tests import tiny_files

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
    assert metrics.edits(metrics.words(said), metrics.words(heard)) == errors


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

    kept = recogniser.remembering(hear, tmp_path / "heard.json")
    a, b = np.full(50, 0.1), np.full(70, 0.1)
    assert kept([a], RATE) == ["50 at 16000"]
    assert kept([b, a], RATE) == ["70 at 16000", "50 at 16000"]
    assert len(asked) == 2
    (tmp_path / "heard.json").write_text("[broken")
    assert kept([a], RATE) == ["50 at 16000"] and len(asked) == 3


# Rows


def row(name, *sentences, speaker="a"):
    return judge.Row(
        name,
        tuple(
            judge.Sentence(f"s{i}", speaker, "", errors, 4, duration, ended, 1.0 + i)
            for i, (errors, duration, ended) in enumerate(sentences)
        ),
    )


ENGINE = row("engine", (0, 1.0, True), (1, 1.0, True), (0, 1.0, True))


def test_figures():
    found = judge.figures(row("model", (1, 0.5, True), (1, 1.1, True), (4, 2.0, False)), ENGINE)
    assert found.wer.value == pytest.approx(6 / 12)
    assert found.gap.value == pytest.approx(5 / 12)
    assert (found.sentences, found.beyond, found.endless, found.failed) == (3, 2, 1, 2)
    assert found.duration == 1.1 and found.distance == 2.0


def test_figures_are_of_the_same_sentences():
    with pytest.raises(ValueError, match="not the sentences"):
        judge.figures(row("model", (0, 1.0, True)), ENGINE)


def test_judging():
    waves = [tone(200, 0.6), tone(900, 0.3)]
    own = [tone(200, 0.3, 8000), tone(900, 0.3, 8000)]
    found = judge.judge(
        "model",
        "a",
        ["Here we are.", "No."],
        waves,
        [True, False],
        RATE,
        own,
        8000,
        lambda waves, rate: ["here they are", "no"],
    )
    assert [s.errors for s in found.sentences] == [1, 0]
    assert [s.words for s in found.sentences] == [3, 1]
    assert [s.duration for s in found.sentences] == pytest.approx([2.0, 1.0])
    assert [s.ended for s in found.sentences] == [True, False]
    assert all(0 <= s.distance < 20 for s in found.sentences)


def test_the_report(tmp_path):
    model = row("model", (1, 1.0, True), (1, 1.0, True), (0, 1.0, True))
    int8 = row("int8", (0, 1.0, True), (1, 1.0, True), (2, 1.0, False))
    report = evaluate_report.write(tmp_path, [ENGINE, model, int8], {"seed": 3})
    lines = report.splitlines()
    assert lines[2].startswith("| engine | a | 3 | 8.3 (")
    assert lines[3].split(" | ")[4].startswith("+8.3 (")
    assert lines[4].split(" | ")[7:9] == ["1", "33.3%"]
    assert "int8 changes the WER by +8.3" in report and "within its interval" in report
    assert (tmp_path / "report.md").read_text() == report
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["seed"] == 3 and len(data["rows"]) == 3 and len(data["sentences"]) == 9
    assert data["rows"][1]["wer"]["value"] == pytest.approx(2 / 12)


def test_the_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="an extra")
    evaluate_report.write(tmp_path, [ENGINE, row("model", *[(1, 1.0, True)] * 3)], {})
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    evaluate_report.write(tmp_path, [ENGINE], {})
    assert "matplotlib is not installed" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_speakers_are_judged_apart_and_together(tmp_path):
    both = judge.Row("engine", ENGINE.sentences + row("", (4, 1.0, True), speaker="b").sentences)
    evaluate_report.write(tmp_path, [both], {})
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [r["speaker"] for r in rows] == ["a", "b", "all"]
    assert [r["wer"]["value"] for r in rows] == pytest.approx([1 / 12, 1, 5 / 16])


def test_no_int8_no_note():
    assert evaluate_report.notes([ENGINE]) == ""


# The whole


TEXTS = ("We are at home.", "She has a dog.", "They were late again today.", "At 5 he was here.")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_files.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def loaded(model):
    return tts.load(model.yaml)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two speakers, held-out sentences of different lengths."""
    clips = [
        (text, name, split, corpus.to_pcm(tiny_files.speech(1.0 + 0.3 * i, RATE, seed)))
        for seed, name in enumerate(("ann", "bob"))
        for i, (text, split) in enumerate(
            [("Train on it.", "train"), *((t, "heldout") for t in TEXTS)]
        )
    ]
    return corpus.write_corpus(tmp_path_factory.mktemp("corpus"), clips, RATE, {"seed": 0})


@pytest.fixture
def ears(monkeypatch):
    """A recogniser that hears the first held-out sentence, always."""
    monkeypatch.setattr(recogniser, "check", lambda: None)
    monkeypatch.setattr(recogniser, "hear", lambda waves, rate: ["we are at home"] * len(waves))


def run(*flags):
    return evaluate.main(["evaluate", *map(str, flags)])


def test_the_command(model, made, ears, tmp_path, capsys):
    flags = (f"--model={model.yaml}", f"--corpus={made.path}", "--sentences=2", "--int8")
    assert run(*flags, f"--out={tmp_path / 'a'}") == 0
    printed = capsys.readouterr().out
    data = json.loads((tmp_path / "a" / "report.json").read_text())
    assert (tmp_path / "a" / "report.md").read_text() in printed
    rows = {(r["row"], r["speaker"]): r for r in data["rows"]}
    names = ("engine", "codec", "model", "int8")
    assert set(rows) == {(n, s) for n in names for s in ("ann", "bob", "all")}
    assert rows["engine", "all"]["wer"]["value"] == pytest.approx(8 / 16)  # one right of two
    assert rows["codec", "ann"]["duration"] == pytest.approx(1.0)
    assert rows["model", "ann"]["sentences"] == 2
    for name in names:
        files = sorted(p.name for p in (tmp_path / "a" / "audio" / name).iterdir())
        assert files == ["ann-00.wav", "ann-01.wav", "bob-00.wav", "bob-01.wav"]
    assert run(*flags, f"--out={tmp_path / 'b'}") == 0
    again = json.loads((tmp_path / "b" / "report.json").read_text())
    assert again == data  # fixed seeds


def test_a_model_speaks_as_it_does_elsewhere(loaded, made):
    voice = evaluate.voice(loaded, made, "ann")
    lines = [*TEXTS, TEXTS[1], TEXTS[2], "It is so. " * 18]  # in eight chunks
    count = sum(len(text.chunks(t, loaded.tokenizer, loaded.config)) for t in lines)
    assert count == speakers.BATCH > len(lines)
    spoken = speakers.speak(loaded, lines, voice, seed=5)
    alone = loaded.generate_batch(lines, voice, seed=[5 + i for i in range(len(lines))])
    for one, other in zip(spoken, alone, strict=True):
        assert len(one.wave) == len(other)
        np.testing.assert_allclose(one.wave, other, atol=2e-4)


def test_a_speech_without_end_is_told(loaded, made):
    never = jax.tree.map(np.asarray, loaded.params)
    never["lm"]["eos"] = {"w": never["lm"]["eos"]["w"] * 0, "b": np.full(1, -99, np.float32)}
    endless = tts.TTS("endless", loaded.config, never, loaded.tokenizer, True)
    assert not any(s.ended for s in speakers.speak(endless, TEXTS[:2], endless.voice(noise()), 0))
    soon = jax.tree.map(np.asarray, never)
    soon["lm"]["eos"]["b"] = np.full(1, 99, np.float32)
    quick = tts.TTS("quick", loaded.config, soon, loaded.tokenizer, True)
    assert all(s.ended for s in speakers.speak(quick, TEXTS[:2], quick.voice(noise()), 0))


def noise():
    return tiny_files.speech(1.0)


def test_a_codec_repeats_each_clip_as_if_alone(loaded):
    c = loaded.config.mimi
    waves = [tiny_files.speech(s, seed=i) for i, s in enumerate((1.97, 2.0))]
    decode = jax.jit(codec.decode, static_argnums=1)
    for wave, got in zip(waves, speakers.repeat(loaded.params["codec"], c, waves), strict=True):
        padded = np.pad(wave, (0, -len(wave) % c.frame_size))[None]
        latents = voices.encode(loaded.params, loaded.config, padded[0])
        out, _ = decode(loaded.params["codec"], c, latents, codec.decoder_state(c, 1))
        assert len(got) == len(wave)
        np.testing.assert_allclose(got, out[0, : len(wave)], atol=1e-5)


def test_a_codec_that_cannot_repeat(loaded):
    c = dataclasses.replace(loaded.config.mimi, inner_dim=None)
    with pytest.raises(ValueError, match="16 numbers a frame and the decoder takes 8"):
        speakers.repeat(loaded.params["codec"], c, [noise()])


def test_a_codec_alone(loaded, made, ears, tmp_path):
    c = loaded.config.mimi
    meta = {"mimi": schema.write(c)}
    checkpoint.save(tmp_path / "run", {"ema": loaded.params["codec"]}, 7, meta)
    flags = (f"--codec={tmp_path / 'run'}", f"--corpus={made.path}", "--speakers=bob")
    assert run(*flags, f"--out={tmp_path / 'out'}") == 0
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    assert data["step"] == 7
    assert [(r["row"], r["speaker"]) for r in data["rows"]] == [("engine", "bob"), ("codec", "bob")]
    wave, rate = soundfile.read(tmp_path / "out" / "audio" / "codec" / "bob-00.wav")
    assert rate == c.sample_rate
    assert len(wave) == pytest.approx((1.3 + audio.TAIL) * rate, rel=0.01)


def test_held_out_sentences(made):
    assert [c.text for c in evaluate.held_out(made, "ann", 9)] == list(TEXTS[:3])  # without digits
    assert len(evaluate.held_out(made, "ann", 2)) == 2


def test_nothing_to_judge(tmp_path):
    clips = [("No.", "ann", "heldout", np.ones(9, np.int16))]
    made = corpus.write_corpus(tmp_path, clips, RATE, {})
    with pytest.raises(ValueError, match="no held-out sentence of ann"):
        evaluate.held_out(made, "ann", 60)


def test_a_voice_is_cloned_from_a_sentence_or_given(loaded, made, tmp_path):
    prompt = speakers.prompt(made, "bob")
    assert np.array_equal(prompt, made.audio(made.select("train", "bob")[0]))
    cloned = evaluate.voice(loaded, made, "bob")
    cloned.save(tmp_path / "v.safetensors")
    given = evaluate.voice(loaded, made, "ann", str(tmp_path / "v.safetensors"))
    assert np.array_equal(given.k[0], cloned.k[0])
    assert not np.array_equal(evaluate.voice(loaded, made, "ann").k[0], cloned.k[0])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give --model"),
        (["--model=a", "--codec=b"], "give --model"),
        (["--model=a", "--corpus=none"], "none holds no whole corpus"),
        (["--model=a.yaml", "--speakers=eve"], "no speaker 'eve'"),
        (["--model=a.yaml", "--voices=x"], "--voices: give one for each speaker (ann, bob)"),
        (["--model=a.yaml", "--sentences=0"], "--sentences"),
        (["--codec=none"], "no checkpoint there"),
    ],
)
def test_flags_that_cannot_be(flags, words, made, ears, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(f"--corpus={made.path}", f"--out={tmp_path / 'out'}", *flags) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
