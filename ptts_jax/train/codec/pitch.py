"""The pitch of speech: peaks of the autocorrelation, and the cheapest path through them.

P. Boersma, "Accurate short-term analysis of the fundamental frequency", 1993.
"""

import numpy as np
from scipy.signal import resample_poly

LOWEST, HIGHEST = 63.0, 480.0  # Hz
RATE = 8000
WINDOW = 400  # samples at RATE
CANDIDATES = 6
QUIET = 1e-4  # of the loudest window's power: no voice is that soft
SILENCE, DOUBT = 0.0, 0.55  # what it costs to call a window voiceless, if it is quiet or not
CHANGE, JUMP = 0.14, 0.7  # of beginning or ending a voice, and of an octave
HIGHER = 0.01  # for an octave down: of two periods that fit alike the shorter is meant


def pitch(wave: np.ndarray, rate: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Hz [F] where each step of `wave` [T] begins, and whether there is a voice [F].

    Between voices the pitch goes straight from one to the next.
    """
    x = resample_poly(wave, RATE, rate).astype(np.float64)
    count = -(-len(wave) // step)
    middle = np.arange(count) * step * RATE / rate
    first = np.round(middle).astype(int) + WINDOW // 2
    around = np.pad(x, (WINDOW, 2 * WINDOW))
    windows = around[first[:, None] + np.arange(WINDOW)]
    hann = np.hanning(WINDOW + 2)[1:-1]
    windows = (windows - windows.mean(1, keepdims=True)) * hann
    alike, power = _correlation(windows), np.square(windows).sum(1)
    alike = alike / (_correlation(hann[None]) * np.maximum(power, 1e-9)[:, None])
    alike *= np.square(hann).sum()
    hz, likely = _candidates(alike)
    quiet = power / max(power.max(initial=0.0), 1e-9) < QUIET
    path = _cheapest(hz, 1 - likely, np.where(quiet, SILENCE, DOUBT))
    voiced = path < CANDIDATES
    if not voiced.any():
        return np.full(count, 120.0, np.float32), voiced
    chosen = np.take_along_axis(hz, np.minimum(path, CANDIDATES - 1)[:, None], 1)[:, 0]
    steps = np.arange(count)
    whole = np.exp(np.interp(steps, steps[voiced], np.log(chosen[voiced])))
    return whole.astype(np.float32), voiced


def _correlation(windows: np.ndarray) -> np.ndarray:
    """[F, WINDOW] of [F, WINDOW], not normalised."""
    spectrum = np.fft.rfft(windows, 2 * WINDOW)
    return np.fft.irfft(np.square(np.abs(spectrum)))[:, :WINDOW]


def _candidates(alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hz and likeliness [F, CANDIDATES] of the highest peaks."""
    shortest, longest = int(RATE / HIGHEST), int(RATE / LOWEST)
    near = alike[:, shortest - 1 : longest + 2]
    peak = (near[:, 1:-1] > near[:, :-2]) & (near[:, 1:-1] >= near[:, 2:])
    lags = np.arange(shortest, longest + 1)
    score = np.where(peak, near[:, 1:-1] - HIGHER * np.log2(lags / shortest), -8.0)
    best = np.argsort(-score, axis=1)[:, :CANDIDATES]
    left, top, right = (np.take_along_axis(near, best + i, 1) for i in range(3))
    bend = np.where(left - 2 * top + right < -1e-9, left - 2 * top + right, -1.0)
    shift = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)  # of a parabola's top
    return RATE / (lags[best] + shift), np.take_along_axis(score, best, 1)


def _cheapest(hz: np.ndarray, cost: np.ndarray, voiceless: np.ndarray) -> np.ndarray:
    """The candidate of each window [F], CANDIDATES for none."""
    cost = np.concatenate([cost, voiceless[:, None]], axis=1)
    total, back = cost[0], np.zeros(cost.shape, int)
    move = np.full((CANDIDATES + 1, CANDIDATES + 1), CHANGE)
    move[-1, -1] = 0
    for t in range(1, len(cost)):
        move[:-1, :-1] = JUMP * np.abs(np.log2(hz[t][None] / hz[t - 1][:, None]))
        ways = total[:, None] + move
        back[t] = ways.argmin(0)
        total = ways.min(0) + cost[t]
    path = np.zeros(len(cost), int)
    path[-1] = total.argmin()
    for t in range(len(cost) - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path
