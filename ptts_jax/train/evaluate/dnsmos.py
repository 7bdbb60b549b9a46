"""How good speech sounds: DNSMOS, a model of listeners' ratings made by others.

pip install speechmos
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptts_jax import audio

RATE = 16_000
PEAK = 0.9


def check() -> None:
    """Refuse to begin work that ends here."""
    try:
        import speechmos  # noqa: F401
    except ImportError as error:
        raise ValueError(f"dnsmos is not installed ({error}): run pip install speechmos") from None


def rate(waves: Sequence[np.ndarray], sample_rate: int) -> list[list[float]]:
    """[P.808, overall, signal] of each [T]: what listeners would say, from 1 to 5."""
    check()
    from speechmos import dnsmos

    ratings = []
    for wave in waves:
        clip = audio.resample(np.asarray(wave, np.float32), sample_rate, RATE)
        loudest = float(np.abs(clip).max(initial=0.0))
        if len(clip) < RATE // 10 or loudest < audio.SILENCE:
            ratings.append([1.0, 1.0, 1.0])  # nothing to hear
            continue
        said = dnsmos.run(clip * (PEAK / loudest), RATE)
        ratings.append([float(said[name]) for name in ("p808_mos", "ovrl_mos", "sig_mos")])
    return ratings
