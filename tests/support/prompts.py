"""Something to clone a voice from."""

import numpy as np


def prompt_audio(seconds: float, seed: int = 0, rate: int = 24000) -> np.ndarray:
    """Something voiced with pauses: harmonics of a wandering pitch, and a little noise."""
    dice = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 1.3 * time + seed)) / rate
    wave = sum(np.sin(k * phase) / k for k in range(1, 6)) * (0.6 + 0.4 * np.sin(9 * time)) ** 2
    return (0.2 * wave + 0.01 * dice.standard_normal(time.size)).astype(np.float32)
