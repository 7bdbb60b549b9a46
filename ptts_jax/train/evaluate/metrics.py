"""Figures of spoken sentences: word error rate with its interval, durations, mel-cepstral distance.

Pure functions of words and samples; knows no models, recognisers or files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptts_jax import audio
from ptts_jax.audio import mel
from ptts_jax.bench.statistics import LEVEL, bootstrap
from ptts_jax.bench.statistics import Estimate as Interval

RATE = 16_000  # of the mel-cepstral distance
COVERED = round(100 * LEVEL)  # per cent of a bootstrap's draws lie within an interval
DURATIONS = (0.6, 1.6)  # of the engine's: beyond it, words are missing or the speech ran away
WINDOW, HOP, BANDS, CEPSTRA = 512, 200, 40, 13


def edits(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Words to substitute, delete and insert (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, want in enumerate(reference, 1):
        before, row[0] = row[0], i
        for j, word in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (want != word))
    return row[-1]


def error_rate(errors: Sequence[int], counts: Sequence[int], seed: int = 0) -> Interval:
    """Errors per word over sentences, with the bootstrap's interval over sentences."""
    return difference(errors, [0] * len(errors), counts, seed)


def difference(
    errors: Sequence[float], others: Sequence[float], counts: Sequence[int], seed: int = 0
) -> Interval:
    """The first error rate minus the second's on the same sentences, drawn in pairs."""
    gained = np.asarray(errors, float) - np.asarray(others, float)
    length = np.asarray(counts, float)
    if not length.sum():
        raise ValueError("no words to compare")

    def rate(sentences: np.ndarray, axis: int) -> np.ndarray:  # [..., 2]: errors and words
        errors, words = np.moveaxis(sentences.sum(axis=axis), -1, 0)
        return errors / np.maximum(words, 1)

    return bootstrap(np.stack([gained, length], axis=1), rate, seed)


def mean(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean over sentences, with the bootstrap's interval."""
    return difference(values, [0.0] * len(values), [1] * len(values), seed)


def beyond(ratio: float) -> bool:
    """Whether a duration, as a ratio to the engine's, means missing or endless speech."""
    return not DURATIONS[0] <= ratio <= DURATIONS[1]


def cepstral_distance(wave: np.ndarray, other: np.ndarray, rate: int) -> float:
    """Mel-cepstral distance in dB over the best alignment in time; NaN if one is empty."""
    a, b = (mel_cepstra(audio.resample(x, rate, RATE)) for x in (wave, other))
    if not len(a) or not len(b):
        return float("nan")
    cost = np.sqrt(np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T, 0))
    return 10 / np.log(10) * np.sqrt(2) * _aligned(cost)


def mel_cepstra(wave: np.ndarray) -> np.ndarray:
    """[T] at RATE -> [frames, CEPSTRA]; the first coefficient, the loudness, is left out."""
    power = mel.power(wave, WINDOW, HOP) @ mel.bands(WINDOW, BANDS, RATE)  # [frames, BANDS]
    loudness = np.log(power + 1e-6)  # the floor hides what is below -60 dB
    index = np.arange(1, CEPSTRA + 1)[:, None] * (np.arange(BANDS) + 0.5) * np.pi / BANDS
    return loudness @ np.cos(index).T / (2 * BANDS)  # half, since it is the logarithm of a power


def _aligned(cost: np.ndarray) -> float:
    """The mean cost along the cheapest monotonic path from corner to corner."""
    # Diagonal by diagonal, since each depends on the two before alone. The total and the steps of
    # a cell (i, d - i) are kept at i + 1; slot 0 stands for what is outside.
    rows, columns = cost.shape
    total = [np.full(rows + 1, np.inf) for _ in range(2)]
    steps = [np.zeros(rows + 1) for _ in range(2)]
    for d in range(rows + columns - 1):
        i = np.arange(max(0, d - columns + 1), min(rows, d + 1))
        choices = np.stack([total[-2][i], total[-1][i], total[-1][i + 1]])  # both, down, right
        best = choices.argmin(axis=0)
        taken = np.stack([steps[-2][i], steps[-1][i], steps[-1][i + 1]])
        here, length = np.full(rows + 1, np.inf), np.zeros(rows + 1)
        at = np.arange(len(i))
        here[i + 1] = cost[i, d - i] + (choices[best, at] if d else 0)
        length[i + 1] = 1 + (taken[best, at] if d else 0)
        total, steps = [total[-1], here], [steps[-1], length]
    return float(total[-1][rows] / steps[-1][rows])
