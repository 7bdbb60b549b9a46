"""Corpora: the engine, the files, resuming, a user's recordings and every bad input."""

import json
import os
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from ptts_jax.train import corpus, data, engine, pairs, recipe, sentences
from ptts_jax.train.engine import Manner
from tests import fakeflite, tiny_files

RATE = engine.RATE


@pytest.fixture
def flite(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    fakeflite.write(folder)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def sounding(wave):
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    return loud[0], loud[-1] + 1


def test_speech_is_trimmed_and_levelled(flite):
    wave = engine.speak("Hello.", "rms")
    start, end = sounding(wave)
    assert wave.dtype == np.float32
    assert abs(start - 0.1 * RATE) < 200 and abs(len(wave) - end - 0.2 * RATE) < 200
    assert abs(end - start - RATE) < 200
    loud = wave[start:end]
    assert abs(np.sqrt(np.square(loud).mean()) - engine.LEVEL) < 0.02
    assert (flite / "calls").read_text().startswith("-voice rms --setf duration_stretch=1.0000 -t")


def test_pitch_changes_neither_duration_nor_silence(flite):
    high = engine.speak("Hello.", "rms", Manner(1.0, Fraction(5, 4)))
    assert "duration_stretch=1.2500" in (flite / "calls").read_text()
    # The stand-in does not stretch, so what is played faster is shorter, and higher.
    start, end = sounding(high)
    assert abs((end - start) - RATE / 1.25) < 200

    def pitch(wave):
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        return spectrum[: 400 * len(wave) // RATE].argmax() * RATE / len(wave)

    assert pitch(high) > 1.1 * pitch(engine.speak("Hello.", "rms"))


def test_silence_is_added_where_there_is_none():
    wave = engine.trim(tiny_files.speech(0.5, RATE), RATE)
    assert not wave[:1500].any() and not wave[-3100:].any()
    assert abs(len(wave) - 0.8 * RATE) < 400


def test_loud_peaks_are_not_clipped():
    wave = np.zeros(RATE, np.float32)
    wave[::100] = 0.5
    assert np.abs(engine.level(wave)).max() <= engine.PEAK + 1e-6


def test_a_machine_without_flite(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="flite is not installed: install it"):
        engine.speak("Hello.", "rms")


def test_an_unknown_voice(flite):
    with pytest.raises(ValueError, match="no voice 'kal16': choose of rms, slt"):
        engine.check_voice("kal16")


def test_an_engine_that_fails(flite):
    (flite / "flite").write_text("#!/bin/sh\necho 'no memory' >&2\nexit 3\n")
    with pytest.raises(ValueError, match="did not speak 'Hello.': no memory"):
        engine.speak("Hello.", "rms")


def test_an_engine_that_says_nothing(flite):
    soundfile.write(flite / "said.wav", np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="did not speak 'Hello.': the audio is silent"):
        engine.speak("Hello.", "rms")


@pytest.fixture
def small(monkeypatch):
    """Little to say, in parts of four clips."""
    monkeypatch.setattr(recipe, "_bible_lines", list)
    monkeypatch.setattr(sentences, "fortunes", list)
    monkeypatch.setattr(recipe, "SENTENCES", ("He is here.", "She is at home."))
    monkeypatch.setattr(recipe, "HELD_OUT_MADE", 2)
    monkeypatch.setattr(data, "PART", 4)


def test_the_command(flite, small, tmp_path, capsys):
    out = tmp_path / "corpus"
    assert data.main(["data", f"--out={out}", "--sentences=6", "--seed=3"]) == 0
    made = corpus.open_corpus(out)
    assert "14 clips (8 held out)" in capsys.readouterr().out
    assert made.sample_rate == RATE and made.speakers == ("rms", "slt")
    assert made.recipe["seed"] == 3 and made.recipe["engine"] == "flite"
    assert {p.name for p in out.iterdir()} == {"pcm.npy", "clips.jsonl", "corpus.json"}
    assert made.select("heldout", "rms")[0].text == "He is here."
    assert isinstance(made.pcm, np.memmap)
    for clip in made.clips:
        wave = made.audio(clip)
        assert wave.dtype == np.float32 and len(wave) == clip.length
        assert 0.1 < np.abs(wave).max() <= 1


def said(item_text, speaker, manner):
    seed = sum(map(ord, item_text + speaker + str(manner)))
    return np.random.default_rng(seed).uniform(-1, 1, 100 + seed % 50).astype(np.float32)


def test_a_killed_run_goes_on(flite, small, tmp_path, monkeypatch):
    spoken = []

    def speak(text, speaker, manner):
        spoken.append(text)
        return said(text, speaker, manner)

    monkeypatch.setattr(engine, "speak", speak)
    whole = data.synthesise(tmp_path / "whole", ["rms", "slt"], 10)
    count = len(spoken)

    def killed(*what):
        if len(spoken) >= 9:
            raise KeyboardInterrupt
        return speak(*what)

    spoken.clear()
    monkeypatch.setattr(engine, "speak", killed)
    with pytest.raises(KeyboardInterrupt):
        data.synthesise(tmp_path / "twice", ["rms", "slt"], 10)
    with pytest.raises(ValueError, match="holds no whole corpus"):
        corpus.open_corpus(tmp_path / "twice")
    spoken.clear()
    monkeypatch.setattr(engine, "speak", speak)
    again = data.synthesise(tmp_path / "twice", ["rms", "slt"], 10)
    assert len(spoken) == count - 8  # two parts were there
    assert again.clips == whole.clips and np.array_equal(again.pcm, whole.pcm)


def test_parts_of_another_recipe_are_not_taken(flite, small, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "speak", said)
    folder = tmp_path / "out" / "parts"
    data._fresh(folder, {"seed": 1})
    (folder / "00000.npz").write_bytes(b"another run's")
    made = data.synthesise(tmp_path / "out", ["rms"], 4, seed=2)
    assert len(made.select("train")) == 4


def test_voices_speak_differently(flite, small, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "speak", said)
    one = data.synthesise(tmp_path / "a", ["rms"], 4)
    assert [c.speaker for c in one.clips] == ["rms"] * 8
    assert one.recipe["digest"] != data.synthesise(tmp_path / "b", ["slt"], 4).recipe["digest"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--out is missing"),
        (["--out=x", "--voices=rms,rms"], "--voices: name one or more different voices"),
        (["--out=x", "--voices=bob"], "flite has no voice 'bob'"),
        (["--out=x", "--sample_rate=8000"], "flite speaks at 16000 Hz"),
        (["--out=x", "--sentences=0"], "--sentences"),
        (["--out=x", "--source=none"], "none: no such folder"),
    ],
)
def test_flags_that_cannot_be(flite, flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert data.main(["data", *flags]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


# A corpus on disk


CLIPS = [
    ("One two.", "a", "train", np.arange(5, dtype=np.int16)),
    ("Über three.", "b", "heldout", np.array([-32767, 32767], np.int16)),
]


def test_a_corpus_keeps_what_it_was_given(tmp_path):
    made = corpus.write_corpus(tmp_path / "c", CLIPS, 8000, {"seed": 1})
    assert made.sample_rate == 8000 and made.recipe == {"seed": 1}
    assert [(c.text, c.speaker, c.split) for c in made.clips] == [c[:3] for c in CLIPS]
    assert np.array_equal(corpus.to_pcm(made.audio(made.clips[0])), CLIPS[0][3])
    assert made.audio(made.clips[1]).tolist() == [-1.0, 1.0]
    assert made.select("train") == made.clips[:1] == made.select(speaker="a")
    assert made.select("train", "b") == ()
    assert np.load(tmp_path / "c" / "pcm.npy").shape == (7,)
    with pytest.raises(ValueError, match="no speaker 'z': choose of a, b"):
        made.select(speaker="z")
    with pytest.raises(ValueError, match="split 'test'"):
        made.select("test")


def test_samples_out_of_range_are_held():
    assert corpus.to_pcm(np.array([-3.0, 0, 3])).tolist() == [-32767, 0, 32767]


def test_a_failure_leaves_no_corpus(tmp_path):
    corpus.write_corpus(tmp_path, CLIPS, 8000, {})

    def failing():
        yield CLIPS[0]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        corpus.write_corpus(tmp_path, failing(), 8000, {})
    with pytest.raises(ValueError, match="corpus.json is missing"):
        corpus.open_corpus(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips.jsonl", "pcm.npy"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("corpus.json", b"{", "damaged"),
        ("corpus.json", b"{}", "damaged"),
        ("clips.jsonl", b"", "do not agree"),
        ("clips.jsonl", b'{"text": "a"}\n', "damaged"),
        ("pcm.npy", b"", "damaged"),
        ("pcm.npy", b"\x80\x04K\x01.", "damaged"),
        ("pcm.npy", None, "damaged"),
    ],
)
def test_a_damaged_corpus(tmp_path, file, content, words):
    corpus.write_corpus(tmp_path, CLIPS, 8000, {})
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        corpus.open_corpus(tmp_path)
    assert "python -m ptts_jax.train.data" in str(caught.value)
    assert "\n" not in str(caught.value)


# A user's recordings


def record(folder, name, text="A few words of mine", seconds=1.2, rate=24000, wave=None):
    path = folder / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tiny_files.speech(seconds, rate) if wave is None else wave, rate)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "mine"
    for number in range(30):
        record(folder, f"anna/{number}", f"These are \n {number} words of hers.")
    record(folder, "bert/0", "These are 0 words of hers!")
    record(folder, "own", "And this is\tmine.")
    return folder


def test_recordings_become_a_corpus(recordings, tmp_path):
    out = tmp_path / "out"
    assert data.main(["data", f"--out={out}", f"--source={recordings}", "--sample_rate=8000"]) == 0
    made = corpus.open_corpus(out)
    assert made.sample_rate == 8000 and len(made.clips) == 32
    assert set(made.speakers) == {"anna", "bert", "mine"}
    assert made.select(speaker="mine")[0].text == "And this is mine."
    assert all(abs(c.length / 8000 - 1.5) < 0.05 for c in made.clips)
    held = {recipe.plain(c.text) for c in made.select("heldout")}
    assert len(held) == 1
    assert not held & {recipe.plain(c.text) for c in made.select("train")}


def test_a_sentence_is_held_out_in_every_voice(recordings):
    found = pairs.find(recordings)
    for seed in range(200):
        held = pairs._held_out(found, seed)
        if "these are 0 words of hers" in held:
            break
    splits = {(c[0], c[1]): c[2] for c in pairs.clips(recordings, found, 8000, seed)}
    assert splits["These are 0 words of hers.", "anna"] == "heldout"
    assert splits["These are 0 words of hers!", "bert"] == "heldout"


def problems(folder, tmp_path, capsys):
    assert data.main(["data", f"--out={tmp_path / 'out'}", f"--source={folder}"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "corpus.json").exists()
    return error


def test_audio_and_text_without_the_other(recordings, tmp_path, capsys):
    record(recordings, "alone", text=None)
    (recordings / "only.txt").write_text("Words")
    (recordings / "blank.txt").write_text(" .\n")
    record(recordings, "blank", text=" .\n")
    (record(recordings, "latin").with_suffix(".txt")).write_bytes(b"caf\xe9")
    error = problems(recordings, tmp_path, capsys)
    assert "4 problems" in error
    assert "alone.wav has no text (alone.txt is missing)" in error
    assert "only.txt has no audio (only.wav is missing)" in error
    assert "blank.txt holds no words" in error
    assert "latin.txt is not readable as UTF-8" in error


def test_audio_that_cannot_be_used(recordings, tmp_path, capsys):
    (record(recordings, "broken")).write_bytes(b"RIFF, but not really")
    record(recordings, "silent", wave=np.zeros(24000))
    record(recordings, "tick", wave=np.zeros(10))
    record(recordings, "mixed", text="far too many words for so little of sound " * 9)
    record(recordings, "slow", text="No", seconds=9)
    error = problems(recordings, tmp_path, capsys)
    assert "5 problems" in error
    assert "broken.wav: not readable as audio" in error
    assert "silent.wav: the audio is silent" in error and "tick.wav: the audio is silent" in error
    assert "mixed.wav: 1.2 s of sound cannot be the" in error
    assert "slow.wav: 9.0 s of sound cannot be the 2 characters" in error


def test_many_problems_are_counted(recordings, tmp_path, capsys):
    for number in range(9):
        record(recordings, f"more/{number}", text=None)
    error = problems(recordings, tmp_path, capsys)
    assert "9 problems" in error and "and 4 more" in error


def test_too_few_sentences(tmp_path, capsys):
    for number in range(6):
        record(tmp_path / "few", f"{number}", "Always the same.")
    assert "at least 4 different sentences" in problems(tmp_path / "few", tmp_path, capsys)


def test_a_full_disk_is_one_line(flite, small, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(np, "savez", full)
    assert data.main(["data", f"--out={tmp_path / 'out'}", "--sentences=4"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "parts").glob("*.npz"))


def test_the_module_runs_as_a_command():
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "ptts_jax.train.data", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "--source" in done.stdout
    assert json.dumps(done.stderr) == '""'
