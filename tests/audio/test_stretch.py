"""Speed without pitch: WSOLA over tones, silence and pieces of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptts_jax.audio.stretch import start, stretch, stretched
from tests.support.prompts import prompt_audio

RATE = 24000
SPEEDS = (0.25, 0.5, 0.8, 1.25, 2.0, 4.0)


def tone(hertz, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def pitch(wave):
    """The strongest frequency, to a quarter of a hertz."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(wave.size), 4 * RATE))
    return np.argmax(spectrum) / 4


def in_pieces(wave, speed, sizes):
    state, parts, at = start(RATE, speed), [], 0
    for size in sizes:
        part, state = stretch(wave[at : at + size], state)
        parts.append(part)
        at += size
    part, state = stretch(wave[at:], state, last=True)
    return np.concatenate([*parts, part])


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("hertz", [90.0, 220.0, 997.0])
def test_the_pitch_stays_and_the_length_changes(speed, hertz):
    wave = stretched(tone(hertz), RATE, speed)
    assert wave.size == round(RATE / speed)
    assert wave.dtype == np.float32
    assert pitch(wave) == pytest.approx(hertz, abs=2.0)


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_tone_stays_a_tone(speed):
    """Little of the energy leaves the tone: no clicks where pieces meet."""
    wave = stretched(tone(220.0, 2.0), RATE, speed)
    spectrum = np.square(np.abs(np.fft.rfft(wave * np.hanning(wave.size))))
    bins = np.fft.rfftfreq(wave.size, 1 / RATE)
    assert spectrum[np.abs(bins - 220) < 30].sum() > 0.99 * spectrum.sum()
    assert np.abs(wave).max() < 1.02


@given(
    st.sampled_from(SPEEDS),
    st.lists(st.integers(0, 4000), max_size=12),
    st.integers(0, 9000),
)
def test_pieces_give_the_same_as_the_whole(speed, sizes, length):
    wave = prompt_audio(1.0)[:length]
    whole = stretched(wave, RATE, speed)
    assert whole.size == round(length / speed)
    assert np.array_equal(in_pieces(wave, speed, sizes), whole)


def test_blocks_of_speech_come_soon():
    """Half a window is held back, never more than 50 ms."""
    wave, state = prompt_audio(1.0), start(RATE, 1.5)
    y, state = stretch(wave[:1920], state)
    assert y.size >= (1920 - 0.05 * RATE) / 1.5


def test_nothing_hears_what_comes_later():
    wave = prompt_audio(1.0)
    other = np.concatenate([wave[:12000], -wave[12000:]])
    first, _ = stretch(wave[:12000], start(RATE, 0.8))
    again, _ = stretch(other[:12000], start(RATE, 0.8))
    assert np.array_equal(first, again)
    assert np.array_equal(first, stretched(wave, RATE, 0.8)[: first.size])


def test_silence_and_a_state_that_is_used_twice():
    assert not stretched(np.zeros(RATE, np.float32), RATE, 0.7).any()
    wave, state = prompt_audio(0.5), start(RATE, 2.0)
    once, _ = stretch(wave, state, last=True)
    twice, _ = stretch(wave, state, last=True)
    assert np.array_equal(once, twice)


def test_a_golden():
    """The sound of one setting is fixed, so that a change of the method is seen."""
    wave = stretched(prompt_audio(1.0), RATE, 1.3)
    found = [float(np.sqrt(np.mean(np.square(part)))) for part in np.array_split(wave, 4)]
    assert found == pytest.approx(GOLDEN, rel=1e-4)


GOLDEN = [0.1395329684019089, 0.0772617086768150, 0.0419318899512291, 0.1474098414182663]


def test_speed_one_is_the_recording_itself():
    wave = prompt_audio(0.3)
    assert stretched(wave, RATE, 1) is wave


@pytest.mark.parametrize("speed", [0.2, 4.1, 0, -1, float("nan"), float("inf")])
def test_a_speed_that_nobody_can_hear(speed):
    with pytest.raises(ValueError, match="give a number from 0.25 to 4"):
        start(RATE, speed)
