"""Distances between waveforms [B, T] as an ear would see them: magnitude spectra at many scales.

Each scale is an STFT with a Hann window and a hop of a quarter. Knows nothing of codecs.
"""

from collections.abc import Sequence
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import Array

SCALES = (64, 128, 256, 512, 1024)
MELS = {512: 40, 1024: 80}  # bands at these scales
FLOOR = 1e-7  # power below which nothing is heard: about 45 dB under ordinary speech


def magnitudes(wave: Array, size: int) -> Array:
    """[B, T] -> [B, frames, size / 2 + 1]; noise of deviation s has magnitudes of about s."""
    hop = size // 4
    wave = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % hop)))
    blocks = wave.reshape(wave.shape[0], -1, hop)
    count = blocks.shape[1] - 3
    frames = jnp.concatenate([blocks[:, i : i + count] for i in range(4)], axis=-1)
    spectrum = jnp.fft.rfft(frames * _window(size))
    return jnp.sqrt(spectrum.real**2 + spectrum.imag**2 + FLOOR)


@lru_cache
def _window(size: int) -> np.ndarray:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return (hann / np.sqrt(np.sum(hann**2))).astype(np.float32)


@lru_cache
def mel_bands(size: int, bands: int, rate: int) -> np.ndarray:
    """[size / 2 + 1, bands]: triangles evenly spaced in mel; each takes a weighted mean."""
    edges = 700 * (10 ** (np.linspace(0, _mel(rate / 2), bands + 2) / 2595) - 1)
    hertz = np.arange(size // 2 + 1) * rate / size
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    rise = (hertz[:, None] - low) / (mid - low)
    fall = (high - hertz[:, None]) / (high - mid)
    weights = np.maximum(0, np.minimum(rise, fall))
    # A band narrower than a bin takes the nearest one.
    empty = weights.sum(0) == 0
    weights[np.abs(hertz[:, None] - mid).argmin(0)[empty], np.flatnonzero(empty)] = 1
    return (weights / weights.sum(0)).astype(np.float32)


def _mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)


def distances(
    wave: Array, target: Array, rate: int, scales: Sequence[int] = SCALES
) -> dict[str, Array]:
    """`log`: mean |log S - log S'|; `linear`: sum |S - S'| / sum S'; `mel`: mean of log mels.

    Each is the mean over the scales (`mel`: over those of MELS).
    """
    log, linear, mel = [], [], []
    for size in scales:
        a, b = magnitudes(wave, size), magnitudes(target, size)
        log.append(jnp.mean(jnp.abs(jnp.log(a) - jnp.log(b))))
        linear.append(jnp.sum(jnp.abs(a - b)) / jnp.sum(b))
        if size in MELS:
            bands = mel_bands(size, MELS[size], rate)
            mel.append(jnp.mean(jnp.abs(jnp.log(a @ bands) - jnp.log(b @ bands))))
    found = {"log": log, "linear": linear, "mel": mel}
    return {name: sum(parts) / len(parts) for name, parts in found.items() if parts}
