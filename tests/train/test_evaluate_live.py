"""The real recogniser on a kept recording of the engine (flite, rms)."""

from pathlib import Path

import numpy as np
import pocketsphinx  # noqa: F401 (a missing one is an error)

from ptts_jax import audio
from ptts_jax.train.evaluate import recogniser

SAID = "come and see me tomorrow"


def recording():
    return audio.read(Path(__file__).parents[1] / "goldens" / "engine.ogg")


def test_it_hears_what_was_said():
    wave, rate = recording()
    assert recogniser.hear([wave], rate) == [SAID]


def test_it_hears_at_any_rate():
    wave, rate = recording()
    assert recogniser.hear([audio.resample(wave, rate, 24_000)], 24_000) == [SAID]


def test_it_hears_nothing_in_silence_and_less_in_half():
    wave, rate = recording()
    nothing, half = recogniser.hear([np.zeros(rate, np.float32), wave[: len(wave) // 2]], rate)
    assert nothing == ""
    assert half and half != SAID


def test_processes_hear_the_same_in_the_same_order(monkeypatch):
    monkeypatch.setattr(recogniser, "FEW", 1)
    monkeypatch.setattr(recogniser.os, "cpu_count", lambda: 2)
    wave, rate = recording()
    heard = recogniser.hear([wave, np.zeros(rate, np.float32), wave], rate)
    assert heard == [SAID, "", SAID]
