"""Distances between waveforms [B, T] as an ear would see them: magnitude spectra at many scales.

Each scale is an STFT with a Hann window and a hop of a quarter. Knows nothing of codecs.
"""

from collections.abc import Sequence
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.audio import mel

SCALES = (64, 128, 256, 512, 1024)
MELS = {512: 40, 1024: 80}  # bands at these scales
FLOOR = 1e-7  # power below which nothing is heard: about 45 dB under ordinary speech

Parts = dict[str, Array]


def spectrum(wave: Array, size: int) -> Array:
    """[B, T] -> complex [B, frames, size / 2 + 1]; noise of deviation s has magnitudes around s."""
    hop = size // 4
    wave = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % hop)))
    blocks = wave.reshape(wave.shape[0], -1, hop)
    count = blocks.shape[1] - 3
    assert count > 0, "a wave must be as long as the largest window"
    frames = jnp.concatenate([blocks[:, i : i + count] for i in range(4)], axis=-1)
    return jnp.fft.rfft(frames * _window(size))


def magnitudes(wave: Array, size: int) -> Array:
    found = spectrum(wave, size)
    return jnp.sqrt(found.real**2 + found.imag**2 + FLOOR)


@lru_cache
def _window(size: int) -> np.ndarray:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return (hann / np.sqrt(np.sum(hann**2))).astype(np.float32)


@lru_cache
def mel_bands(size: int, bands: int, rate: int) -> np.ndarray:
    """[size / 2 + 1, bands]: triangles evenly spaced in mel; each takes a weighted mean."""
    weights = mel.bands(size, bands, rate)
    # A band narrower than a bin takes the nearest one.
    empty = weights.sum(0) == 0
    middle = mel.middles(bands, rate) * size / rate  # in bins
    weights[np.round(middle[empty]).astype(int), np.flatnonzero(empty)] = 1
    return (weights / weights.sum(0)).astype(np.float32)


def distances(wave: Array, target: Array, rate: int, scales: Sequence[int] = SCALES) -> Parts:
    """`log`: mean |log S - log S'|; `linear`: sum |S - S'| / sum S'; `mel`: mean of log mels.

    Each is the mean over the scales (`mel`: over those of MELS, if there are any).
    """
    found = []
    for size in scales:
        a, b = magnitudes(wave, size), magnitudes(target, size)
        found.append(_compared(a, b, jnp.sum(b), size, rate))
    return _mean(found)


def energy(
    first: Array, second: Array, target: Array, rate: int, scales: Sequence[int] = SCALES
) -> Parts:
    """The energy distance of two random decodes to their target, part by part as `distances`.

    d(first, x) + d(second, x) - d(first, second): without the last term both would become the mean
    of what is possible; with it they must differ from each other as they do from x.
    """
    found = []
    for size in scales:
        a, b, x = (magnitudes(wave, size) for wave in (first, second, target))
        pairs = ((a, x), (b, x), (a, b))
        toward, other, apart = (_compared(*pair, jnp.sum(x), size, rate) for pair in pairs)
        found.append({name: toward[name] + other[name] - apart[name] for name in apart})
    return _mean(found)


def _compared(a: Array, b: Array, scale: Array, size: int, rate: int) -> Parts:
    found = {
        "log": jnp.mean(jnp.abs(jnp.log(a) - jnp.log(b))),
        "linear": jnp.sum(jnp.abs(a - b)) / scale,
    }
    if size in MELS:
        bands = mel_bands(size, MELS[size], rate)
        found["mel"] = jnp.mean(jnp.abs(jnp.log(a @ bands) - jnp.log(b @ bands)))
    return found


def _mean(found: list[Parts]) -> Parts:
    names = dict.fromkeys(name for parts in found for name in parts)
    values = {name: [parts[name] for parts in found if name in parts] for name in names}
    return {name: sum(v) / len(v) for name, v in values.items()}
