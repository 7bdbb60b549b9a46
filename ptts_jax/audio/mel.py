"""Spectra as an ear hears them: frames of a waveform, their power, and bands on the mel scale.

Numpy, for measuring; what is trained computes its spectra in JAX, with the same bands.
"""

import numpy as np


def bands(size: int, count: int, rate: int) -> np.ndarray:
    """[size / 2 + 1, count]: triangles evenly spaced in mel, from 0 to half the rate."""
    edges = _edges(count, rate)
    hertz = np.arange(size // 2 + 1) * rate / size
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise = (hertz[:, None] - low) / (middle - low)
    fall = (high - hertz[:, None]) / (high - middle)
    return np.maximum(0, np.minimum(rise, fall))


def middles(count: int, rate: int) -> np.ndarray:
    """[count]: where each band is highest, in Hz."""
    return _edges(count, rate)[1:-1]


def _edges(count: int, rate: int) -> np.ndarray:
    top = 2595 * np.log10(1 + rate / 2 / 700)
    return 700 * (10 ** (np.linspace(0, top, count + 2) / 2595) - 1)


def power(wave: np.ndarray, size: int, hop: int) -> np.ndarray:
    """[T] -> [frames, size / 2 + 1], with a Hann window; no frame if the wave is too short."""
    if len(wave) < size:
        return np.zeros((0, size // 2 + 1))
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
    return np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)))
