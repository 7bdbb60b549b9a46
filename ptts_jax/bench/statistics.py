"""Figures about arrays before and after quantising: errors, estimates with intervals, tables.

Knows arrays and numbers; what they mean, and where they come from, is the caller's business.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
MAX_DB = 150.0  # the signal-to-noise ratio of what is equal: beyond float rounding

Statistic = Callable[..., np.ndarray]  # as np.median: takes an axis


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """One figure over many samples."""

    median: Estimate
    mean: Estimate
    worst: float  # the largest magnitude
    count: int


def relative_rms(reference: np.ndarray, other: np.ndarray) -> float:
    """The error's RMS over the reference's."""
    level = _rms(reference)
    return _rms(other - reference) / level if level else float(_rms(other) > 0)


def snr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """The reference's level over the error's, in dB, between +/- MAX_DB."""
    signal, error = _rms(reference), _rms(other - reference)
    floor = 10 ** (-MAX_DB / 20)
    return 20 * float(
        np.log10(max(signal, error * floor, 1e-30) / max(error, signal * floor, 1e-30))
    )


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if x.size else 0.0


def bootstrap(
    values: Sequence[float] | np.ndarray, statistic: Statistic = np.median, seed: int = 0
) -> Estimate:
    """A statistic of the samples [N, ...] and its interval, by drawing samples from themselves."""
    x = np.asarray(values, np.float64)
    if not x.size or not np.isfinite(x).all():
        raise ValueError("an estimate needs samples, all of them finite")
    drawn = np.random.default_rng(seed).integers(0, len(x), (RESAMPLES, len(x)))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(statistic(x[drawn], axis=1), [tail, 100 - tail])
    return Estimate(float(statistic(x, axis=0)), float(low), float(high))


def summarize(values: Sequence[float], seed: int = 0) -> Summary:
    worst = float(np.max(np.abs(values)))
    median, mean = bootstrap(values, np.median, seed), bootstrap(values, np.mean, seed)
    return Summary(median, mean, worst, len(values))


# Tables.


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(x: float) -> str:
    """Three digits, without an exponent."""
    if abs(x) >= 100:
        return f"{x:.0f}"
    return "0" if abs(x) < 1e-9 else f"{float(f'{x:.3g}'):.10f}".rstrip("0").rstrip(".")


def interval(x: Estimate, scale: float = 1.0) -> str:
    value, low, high = (number(scale * part) for part in (x.value, x.low, x.high))
    return f"{value} ({low} to {high})"
