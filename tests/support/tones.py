"""A sound that every test of audio knows."""

import numpy as np

RATE = 24_000


def tone(seconds: float, rate: int = RATE, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype("f4")
