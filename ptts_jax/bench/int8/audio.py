"""How far one waveform is from another in the spectrum."""

import numpy as np

from ptts_jax.audio import mel

MELS = 80
WINDOW = 1024  # samples of a spectrum
HOP = 256
RANGE_DB = 80.0  # what is so far below the loudest is silence


def log_mel_distance(reference: np.ndarray, other: np.ndarray, rate: int) -> float:
    """The RMS difference of two mel spectra in dB, over the length that both have."""
    size = min(reference.size, other.size)
    room = (0, max(0, WINDOW - size))
    waves = (np.pad(wave[:size], room) for wave in (reference, other))
    bands = mel.bands(WINDOW, MELS, rate)
    a, b = (mel.power(wave, WINDOW, HOP) @ bands for wave in waves)  # [frames, MELS]
    floor = max(a.max() * 10 ** (-RANGE_DB / 10), 1e-20)
    a, b = (10 * np.log10(np.maximum(x, floor)) for x in (a, b))
    return float(np.sqrt(np.mean(np.square(a - b))))
