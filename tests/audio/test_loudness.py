"""Loudness: the standard's own figures, another implementation's, and streams."""

import numpy as np
import pyloudnorm
import pytest

from ptts_jax.audio import loudness

RATES = (16000, 24000, 44100, 48000)


def speech(rate: int, seconds: float = 6.0, seed: int = 0) -> np.ndarray:
    """Noise in bursts, as loud as a voice."""
    rng, at = np.random.default_rng(seed), np.arange(int(seconds * rate)) / rate
    bursts = np.clip(np.sin(2 * np.pi * 0.7 * at + seed), 0, 1) ** 2 + 0.003
    noise = rng.standard_normal(len(at))
    return (0.1 * bursts * (noise + np.roll(noise, 1) + np.roll(noise, 2))).astype(np.float32)


def decibel(peak: float) -> float:
    return 20 * np.log10(peak)


def test_the_filter_is_the_standards():
    """The coefficients that ITU-R BS.1770-4 prints, which are for 48 kHz."""
    shelf, high_pass = loudness.weighting(48000)
    printed = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1]
    np.testing.assert_allclose(shelf, [*printed, -1.69065929318241, 0.73248077421585], atol=1e-9)
    rest = [1, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(high_pass, [1, -2, 1, *rest], atol=1e-9)


def test_a_tone_of_full_scale():
    """997 Hz at 0 dB in one channel is -3.01 LUFS, says the standard."""
    tone = np.sin(2 * np.pi * 997 * np.arange(48000 * 3) / 48000)
    assert loudness.measure(tone, 48000) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seed", [0, 1])
def test_as_pyloudnorm_measures(rate, seed):
    wave = speech(rate, seed=seed)
    other = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(wave)
    assert loudness.measure(wave, rate) == pytest.approx(other, abs=1e-6)


def test_true_peaks_lie_between_samples():
    rate = 24000
    wave = np.sin(2 * np.pi * rate / 4 * np.arange(2400) / rate + np.pi / 4)
    assert np.abs(wave).max() == pytest.approx(0.7071, abs=1e-4)
    assert loudness.peaks(wave)[100:-100].max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("target", [-30, -23, -16, -12])
def test_a_recording_gets_exactly_its_loudness_and_never_clips(target):
    wave = speech(24000)
    levelled = loudness.levelled(wave, 24000, target)
    assert loudness.measure(levelled, 24000) == pytest.approx(target, abs=0.05)
    assert decibel(loudness.peaks(levelled).max()) <= -1 + 0.01
    assert levelled.dtype == np.float32 and levelled.shape == wave.shape


def test_far_below_the_ceiling_it_is_one_gain():
    wave = speech(24000)
    levelled = loudness.levelled(wave, 24000, -35)
    ratio = levelled[np.abs(wave) > 1e-3] / wave[np.abs(wave) > 1e-3]
    assert np.ptp(ratio) < 1e-4


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros(24000), np.zeros(10)])
def test_silence_stays_silence(wave):
    np.testing.assert_array_equal(loudness.levelled(wave, 24000, -16), wave)
    given = list(loudness.stream([wave.astype(np.float32)], 24000, -16))
    np.testing.assert_array_equal(np.concatenate([np.zeros(0), *given]), wave)


def test_a_short_sound_has_a_loudness_too():
    wave = speech(24000)[2000:6000]
    levelled = loudness.levelled(wave, 24000, -20)
    assert loudness.measure(levelled, 24000) == pytest.approx(-20, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_gets_nearly_its_loudness(seed):
    """Within 2 LU, whatever the sizes of its blocks, and without clipping."""
    wave, rng = speech(24000, 10, seed), np.random.default_rng(seed)
    waves = []
    for _ in range(2):
        cuts = np.sort(rng.integers(0, len(wave), 20))
        given = list(loudness.stream(np.split(wave, cuts), 24000, -16))
        waves.append(np.concatenate(given))
    np.testing.assert_array_equal(*waves)
    assert waves[0].shape == wave.shape
    assert loudness.measure(waves[0], 24000) == pytest.approx(-16, abs=2)
    assert decibel(loudness.peaks(waves[0]).max()) <= -1 + 0.01


def test_a_stream_hands_on_that_nothing_is_there_yet():
    wave = speech(24000, 2)
    given = list(loudness.stream([wave[:30000], None, wave[30000:]], 24000, -20))
    assert [block is None for block in given] == [False, True, False, False]


@pytest.mark.parametrize("target", [0, -4.9, -61, float("nan"), float("inf")])
def test_what_is_no_loudness(target):
    with pytest.raises(ValueError, match="give LUFS from -60 to -5"):
        loudness.check_loudness(target)
