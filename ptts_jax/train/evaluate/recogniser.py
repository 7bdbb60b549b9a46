"""A recogniser made by others hears speech: pocketsphinx with its own English model.

Knows audio and words; nothing of models that speak. Optional: pip install pocketsphinx.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from ptts_jax import audio

RATE = 16_000
FEW = 8  # clips that are not worth another process, which loads the model for half a second
PAUSE = 0.1  # seconds of silence put around: a word at the very edge is often missed

Hear = Callable[[Sequence[np.ndarray], int], list[str]]

_decoder: Any = None  # this process's own: it holds a model of 30 MB


def check() -> None:
    """Refuse to begin work that ends here."""
    try:
        import pocketsphinx  # noqa: F401
    except ImportError:
        raise ValueError(
            "the recogniser pocketsphinx is not installed: run pip install pocketsphinx"
        ) from None


def hear(waves: Sequence[np.ndarray], rate: int) -> list[str]:
    """What is said in each [T], in lower case; an empty text where nothing is heard."""
    check()
    clips = [_clip(wave, rate) for wave in waves]
    workers = min(os.cpu_count() or 1, len(clips) // FEW)
    if workers < 2:
        return [_hear(clip) for clip in clips]
    # Processes, since the decoder holds the interpreter's lock; spawned, since JAX has threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_hear, clips, chunksize=4))


def _clip(wave: np.ndarray, rate: int) -> bytes:
    wave = audio.resample(np.asarray(wave, np.float32), rate, RATE)
    silence = np.zeros(int(PAUSE * RATE), np.float32)
    wave = np.concatenate([silence, np.clip(wave, -1, 1), silence])
    return np.round(wave * 32767).astype("<i2").tobytes()


def _hear(clip: bytes) -> str:
    global _decoder
    if _decoder is None:
        from pocketsphinx import Decoder

        _decoder = Decoder(samprate=RATE, loglevel="FATAL")
    _decoder.start_utt()
    _decoder.process_raw(clip, full_utt=True)
    _decoder.end_utt()
    found = _decoder.hyp()
    return found.hypstr if found else ""
