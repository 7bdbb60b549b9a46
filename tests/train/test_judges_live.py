"""The real judges: their packages are installed, and they tell good speech from bad."""

from pathlib import Path

import numpy as np
import pytest

from ptts_jax import audio
from ptts_jax.train.evaluate import dnsmos, similarity, whisper
from ptts_jax.train.evaluate.spelling import words


@pytest.fixture(scope="module")
def recording():
    return audio.read(Path(__file__).parents[1] / "goldens" / "engine.ogg")


@pytest.fixture(scope="module")
def noisy(recording):
    wave, rate = recording
    noise = np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
    return wave + 0.05 * noise, rate


def test_whisper_hears_what_was_said(recording):
    wave, rate = recording
    assert words(whisper.hear([wave], rate)[0]) == ["come", "and", "see", "me", "tomorrow"]


def test_dnsmos_hears_noise(recording, noisy):
    clean, noise = (dnsmos.rate([wave], rate)[0] for wave, rate in (recording, noisy))
    assert 2.5 < clean[0] < 4.5
    assert all(a > b + 0.3 for a, b in zip(clean, noise, strict=True))


def test_a_voice_is_like_itself(recording):
    wave, rate = recording
    one, part, high = similarity.embed(
        [wave, wave[: len(wave) // 2], audio.resample(wave, rate, rate * 2 // 3)], rate
    )
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-3)
    assert similarity.alike(one, part) > similarity.alike(one, high) + 0.05
