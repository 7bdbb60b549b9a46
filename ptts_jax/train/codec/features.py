"""What the vocoder is told of speech, step by step, as Opus computes it: 18 cepstra, the pitch and
how periodic the speech is. The pitch is pitch.py's own.

F steps of 160 samples. Step i is about the window that ends where it ends, whose middle is where it
begins.
"""

import numpy as np
from scipy.signal import lfilter

from ptts_jax.model.codec_config import VOCODER_RATE, VOCODER_STEP
from ptts_jax.model.vocoder import EMPHASIS, heights, periods
from ptts_jax.model.vocoder_state import CEPSTRA, LONGEST, LOWEST, SHORTEST
from ptts_jax.train.codec.pitch import pitch

SCALE = 32768
WINDOW = 2 * VOCODER_STEP
ORDER = 16  # of the linear prediction
# Where the bands' tips are, in bins of 200 Hz, and what makes up for their widths.
TIPS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 34, 40]) * 4
WIDTHS = np.array([0.8, *[1] * 7, 2 / 3, 0.5, 0.5, 0.5, 1 / 3, 0.25, 0.25, 0.2, 1 / 6, 4 / 23])
SLOPE, DEEPEST = 2.5, 8.0  # decades: from band to band, and below the loudest
LATE = 80  # samples that the prediction's frames lag behind
# A low-pass filter at 1.2 kHz.
LOW_B, LOW_A = (1.0, -0.84946, 1.0), (1.0, -1.54220, 0.70781)


def features(wave: np.ndarray) -> np.ndarray:
    """16 kHz [T] in [-1, 1] -> [F, 20], F steps that hold all of it."""
    count = -(-len(wave) // VOCODER_STEP)
    wave = np.pad(np.asarray(wave, np.float64), (0, count * VOCODER_STEP - len(wave)))
    sharp = lfilter([1, -EMPHASIS], [1], wave * SCALE)
    bands = band_logs(sharp)
    cepstra = bands @ cosines() - np.eye(CEPSTRA)[0] * 4
    hz, _ = pitch(wave, VOCODER_RATE, VOCODER_STEP)
    height = heights(np.clip(hz, LOWEST, 490))
    even = periodic(sharp, bands, np.asarray(periods(height)))
    return np.concatenate([cepstra, height[:, None], even[:, None]], axis=1).astype(np.float32)


def cosines() -> np.ndarray:
    """[bands, cepstra], orthonormal."""
    i = np.arange(CEPSTRA)
    table = np.cos((i[:, None] + 0.5) * i * np.pi / CEPSTRA) * np.sqrt(2 / CEPSTRA)
    table[:, 0] *= np.sqrt(0.5)
    return table


def triangles() -> np.ndarray:
    """[bins, bands]: how much a bin belongs to each band."""
    bins = np.arange(WINDOW // 2 + 1)
    return np.stack([np.interp(bins, TIPS, row) for row in np.eye(CEPSTRA)], axis=1)


def band_logs(sharp: np.ndarray) -> np.ndarray:
    """Decades of power [F, bands]; bands far below their neighbours are lifted."""
    rise = np.sin(0.5 * np.pi * np.sin((np.arange(VOCODER_STEP) + 0.5) * np.pi / WINDOW) ** 2)
    window = np.concatenate([rise, rise[::-1]])
    spectrum = np.fft.rfft(framed(np.pad(sharp, (VOCODER_STEP, 0)), WINDOW) * window) / WINDOW
    share = triangles()
    share[-1] = 0  # the last bin is left out
    share[:, [0, -1]] *= 2
    logs = np.log10(1e-2 + np.square(np.abs(spectrum)) @ share)
    loudest = follow = np.full(len(logs), -2.0)
    for i in range(CEPSTRA):
        logs[:, i] = np.maximum(loudest - DEEPEST, np.maximum(follow - SLOPE, logs[:, i]))
        loudest = np.maximum(loudest, logs[:, i])
        follow = np.maximum(follow - SLOPE, logs[:, i])
    return logs


def framed(x: np.ndarray, size: int) -> np.ndarray:
    """All windows of x [T] that begin with a step: [F, size]."""
    return np.lib.stride_tricks.sliding_window_view(x, size)[::VOCODER_STEP]


def prediction(bands: np.ndarray) -> np.ndarray:
    """The filter [F, ORDER + 1] that whitens such bands: Levinson's recursion."""
    share = triangles()
    share[-1] = 0
    power = (10**bands * WIDTHS) @ share.T
    alike = np.fft.irfft(power)[:, : ORDER + 1] * WINDOW
    alike[:, 0] += alike[:, 0] * 1e-4 + 320 / 12 / 38
    alike *= 1 - 6e-5 * np.arange(ORDER + 1) ** 2
    a = np.zeros((len(bands), ORDER + 1))
    a[:, 0], error = 1, alike[:, 0].copy()
    going = np.ones(len(bands), bool)
    for i in range(1, ORDER + 1):
        r = -np.sum(a[:, :i] * alike[:, i:0:-1], axis=1) / error
        r = np.where(going, r, 0)
        a[:, 1 : i + 1] = a[:, 1 : i + 1] + r[:, None] * a[:, i - 1 :: -1][:, :i]
        error = error * (1 - r * r)
        going &= error >= 1e-3 * alike[:, 0]
    return a


def periodic(sharp: np.ndarray, bands: np.ndarray, period: np.ndarray) -> np.ndarray:
    """How alike the whitened low frequencies are to themselves a period ago: [F], -0.5 to 0.5."""
    count = len(period)
    frames = framed(np.pad(sharp, (LATE + ORDER, 0)), VOCODER_STEP + ORDER)[:count]
    whitened = np.zeros((count, VOCODER_STEP))
    for i, row in enumerate(prediction(bands).T):
        whitened += row[:, None] * frames[:, ORDER - i : ORDER - i + VOCODER_STEP]
    low = np.pad(lfilter(LOW_B, LOW_A, whitened.reshape(-1)), (LONGEST, 0))
    at = np.arange(count)[:, None] * VOCODER_STEP + LONGEST + np.arange(VOCODER_STEP)
    now, then = low[at], low[at - np.maximum(period, SHORTEST)[:, None]]
    power = np.square(now).sum(1) * np.square(then).sum(1)
    alike = np.sum(now * then, axis=1) / np.sqrt(1 + power)
    return np.log1p(np.exp(5 * alike)) / np.log1p(np.exp(5)) - 0.5
