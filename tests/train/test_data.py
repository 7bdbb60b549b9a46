"""A corpus of synthetic speech: sentences spoken by flite, and the command."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile

from ptts_jax.train.data import command as data
from ptts_jax.train.data import corpus, flite
from ptts_jax.train.data.flite import Manner
from tests.support import tiny_files
from tests.support.mistakes import mistakes

RATE = flite.RATE


def sounding(wave):
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    return loud[0], loud[-1] + 1


def test_speech_is_trimmed_and_levelled(installed):
    wave = flite.speak("Hello.", "rms")
    start, end = sounding(wave)
    assert wave.dtype == np.float32
    assert abs(start - 0.1 * RATE) < 200 and abs(len(wave) - end - 0.2 * RATE) < 200
    assert abs(end - start - RATE) < 200
    loud = wave[start:end]
    assert abs(np.sqrt(np.square(loud).mean()) - flite.LEVEL) < 0.02
    assert (
        (installed / "calls").read_text().startswith("-voice rms --setf duration_stretch=1.0000 -t")
    )


def test_pitch_changes_neither_duration_nor_silence(installed):
    high = flite.speak("Hello.", "rms", Manner(1.0, Fraction(5, 4)))
    assert "duration_stretch=1.2500" in (installed / "calls").read_text()
    # The stand-in does not stretch, so what is played faster is shorter, and higher.
    start, end = sounding(high)
    assert abs((end - start) - RATE / 1.25) < 200

    def pitch(wave):
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        return spectrum[: 400 * len(wave) // RATE].argmax() * RATE / len(wave)

    assert pitch(high) > 1.1 * pitch(flite.speak("Hello.", "rms"))


def test_silence_is_added_where_there_is_none():
    wave = flite.trim(tiny_files.speech(0.5, RATE), RATE)
    assert not wave[:1500].any() and not wave[-3100:].any()
    assert abs(len(wave) - 0.8 * RATE) < 400


def test_loud_peaks_are_not_clipped():
    wave = np.zeros(RATE, np.float32)
    wave[::100] = 0.5
    assert np.abs(flite.level(wave)).max() <= flite.PEAK + 1e-6


def test_a_machine_without_flite(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="flite is not installed: install it"):
        flite.speak("Hello.", "rms")


def test_an_unknown_voice(installed):
    with pytest.raises(ValueError, match="no voice 'kal16': choose of rms, slt"):
        flite.check_voice("kal16")


def test_an_engine_that_fails(installed):
    (installed / "flite").write_text("#!/bin/sh\necho 'no memory' >&2\nexit 3\n")
    with pytest.raises(ValueError, match="did not speak 'Hello.': no memory"):
        flite.speak("Hello.", "rms")


def test_an_engine_that_says_nothing(installed):
    soundfile.write(installed / "said.wav", np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="did not speak 'Hello.': the audio is silent"):
        flite.speak("Hello.", "rms")


def test_the_command(installed, small, tmp_path, capsys):
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


def test_a_killed_run_goes_on(installed, small, tmp_path, monkeypatch):
    spoken = []

    def speak(text, speaker, manner):
        spoken.append(text)
        return said(text, speaker, manner)

    monkeypatch.setattr(flite, "speak", speak)
    whole = data.synthesise(tmp_path / "whole", ["rms", "slt"], 10)
    count = len(spoken)

    def killed(*what):
        if len(spoken) >= 9:
            raise KeyboardInterrupt
        return speak(*what)

    spoken.clear()
    monkeypatch.setattr(flite, "speak", killed)
    with pytest.raises(KeyboardInterrupt):
        data.synthesise(tmp_path / "twice", ["rms", "slt"], 10)
    with pytest.raises(ValueError, match="holds no whole corpus"):
        corpus.open_corpus(tmp_path / "twice")
    spoken.clear()
    monkeypatch.setattr(flite, "speak", speak)
    again = data.synthesise(tmp_path / "twice", ["rms", "slt"], 10)
    assert len(spoken) == count - 8  # two parts were there
    assert again.clips == whole.clips and np.array_equal(again.pcm, whole.pcm)


def test_parts_of_another_recipe_are_not_taken(installed, small, tmp_path, monkeypatch):
    monkeypatch.setattr(flite, "speak", said)
    folder = tmp_path / "out" / "parts"
    data._fresh(folder, {"seed": 1})
    (folder / "00000.npz").write_bytes(b"another run's")
    made = data.synthesise(tmp_path / "out", ["rms"], 4, seed=2)
    assert len(made.select("train")) == 4


def test_voices_speak_differently(installed, small, tmp_path, monkeypatch):
    monkeypatch.setattr(flite, "speak", said)
    one = data.synthesise(tmp_path / "a", ["rms"], 4)
    assert [c.speaker for c in one.clips] == ["rms"] * 8
    assert one.recipe["digest"] != data.synthesise(tmp_path / "b", ["slt"], 4).recipe["digest"]


@mistakes(
    """
                               | --out is missing
    --out=x --voices=rms,rms   | --voices: name one or more different voices
    --out=x --voices=bob       | flite has no voice 'bob'
    --out=x --sample_rate=8000 | flite speaks at 16000 Hz
    --out=x --sentences=0      | --sentences
    --out=x --source=none      | none: no such folder
    """
)
def test_flags_that_cannot_be(installed, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert data.main(["data", *words]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()
