"""What a teacher said: samples, and when each phoneme is heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Said:
    wave: np.ndarray  # [T] float32
    rate: int
    phonemes: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()  # how long each phoneme lasts, from the first sample on
