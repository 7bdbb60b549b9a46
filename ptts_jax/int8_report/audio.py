"""How far one waveform is from another in the spectrum, and where a waveform is silent.

Knows samples alone.
"""

import numpy as np

from int8.report import level_db

MELS = 80
WINDOW = 1024  # samples of a spectrum
HOP = 256
RANGE_DB = 80.0  # what is so far below the loudest is silence
PAUSE_DB = -50.0  # of the loudest window
PAUSE_SECONDS = 0.02  # the length of a window


def log_mel_distance(reference: np.ndarray, other: np.ndarray, rate: int) -> float:
    """The RMS difference of two mel spectra in dB, over the length that both have."""
    size = min(reference.size, other.size)
    a, b = (_mel_power(x[:size], rate) for x in (reference, other))
    floor = max(a.max() * 10 ** (-RANGE_DB / 10), 1e-20)
    a, b = (10 * np.log10(np.maximum(x, floor)) for x in (a, b))
    return float(np.sqrt(np.mean(np.square(a - b))))


def _mel_power(wave: np.ndarray, rate: int) -> np.ndarray:
    """[frames, MELS]"""
    wave = np.pad(wave, (0, max(0, WINDOW - wave.size)))
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    spectra = np.fft.rfft(frames * np.hanning(WINDOW), axis=1)
    return np.square(np.abs(spectra)) @ _mel_filters(rate)


def _mel_filters(rate: int) -> np.ndarray:
    """Triangles that are equally wide in mel, [frequencies, MELS]."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / rate)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), MELS + 2) / 2595) - 1)
    below, centre, above = edges[:-2], edges[1:-1], edges[2:]
    up = (frequencies[:, None] - below) / (centre - below)
    down = (above - frequencies[:, None]) / (above - centre)
    return np.maximum(0, np.minimum(up, down))


def pauses(wave: np.ndarray, rate: int) -> np.ndarray:
    """Which samples lie in windows that are quiet beside the loudest one."""
    length = max(1, int(PAUSE_SECONDS * rate))
    whole = wave[: wave.size // length * length].reshape(-1, length)
    levels = np.array([level_db(window) for window in whole])
    quiet = np.zeros(wave.size, bool)
    if levels.size:
        quiet[: whole.size] = np.repeat(levels < levels.max() + PAUSE_DB, length)
    return quiet
