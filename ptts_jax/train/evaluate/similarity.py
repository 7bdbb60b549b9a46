"""Whose voice it is: resemblyzer's embeddings, whose products are the likeness of two speakers.

pip install resemblyzer
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptts_jax import audio

RATE = 16_000

_encoder: Any = None


def check() -> None:
    """Refuse to begin work that ends here."""
    try:
        import resemblyzer  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"similarity is not installed ({error}): run pip install resemblyzer"
        ) from None


def embed(waves: Sequence[np.ndarray], rate: int) -> list[list[float]]:
    """A unit vector for each [T]."""
    global _encoder
    check()
    from resemblyzer import VoiceEncoder

    if _encoder is None:
        _encoder = VoiceEncoder("cpu", verbose=False)
    clips = [audio.resample(np.asarray(wave, np.float32), rate, RATE) for wave in waves]
    vectors = [
        _encoder.embed_utterance(np.pad(clip, (0, max(0, RATE - len(clip))))) for clip in clips
    ]
    return [[float(x) for x in one] for one in vectors]


def alike(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two embeddings: 1 is the same voice, strangers have some 0.6."""
    return float(np.dot(one, other))
