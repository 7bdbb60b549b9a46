"""What the vocoder is to be told of a corpus, and how far what it is told is from that.

The features of each clip, frame by frame: [frames, steps of a frame * FEATURES].
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.messages import say
from ptts_jax.model.codec_config import VOCODER_STEP
from ptts_jax.model.vocoder_state import CEPSTRA, FEATURES
from ptts_jax.store.paths import atomic_write
from ptts_jax.train.codec import crops
from ptts_jax.train.codec.features import cosines, features
from ptts_jax.train.data.corpus import Clip, Corpus

WEIGHTS = {"bands": 3.0, "move": 1.0, "pitch": 4.0, "even": 1.5}
NAME = "told.npy"
VOICELESS = 0.02  # the weight of a pitch that nobody hears


def of_corpus(
    corpus: Corpus, frame: int, folder: Path, quiet: bool
) -> Callable[[Clip], np.ndarray]:
    """Clip -> [frames, D], computed once and kept in a folder; `frame` is in samples."""
    counts = [-(-clip.length // frame) for clip in corpus.clips]
    first = dict(zip((c.start for c in corpus.clips), np.cumsum([0, *counts]), strict=False))
    path, shape = folder / NAME, (sum(counts), frame // VOCODER_STEP * FEATURES)
    if not (path.is_file() and np.load(path, mmap_mode="r").shape == shape):
        rows = np.zeros(shape, np.float32)
        for i, (clip, count) in enumerate(zip(corpus.clips, counts, strict=True)):
            found = features(crops.fitted(corpus.audio(clip), count * frame))
            rows[first[clip.start] : first[clip.start] + count] = found.reshape(count, -1)
            if not quiet and i % 500 == 0:
                say(f"features {i}/{len(counts)} clips")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as new, new.open("wb") as file:
            np.save(file, rows)
    rows = np.load(path, mmap_mode="r")

    def of(clip: Clip) -> np.ndarray:
        start = first[clip.start]
        return rows[start : start + -(-clip.length // frame)]

    return of


def distances(found: Array, wanted: Array) -> dict[str, Array]:
    """Between two [B, F, FEATURES]: of the bands in decades and of how they move, of the pitch in
    octaves where there is a voice, and of how periodic it is."""
    to_bands = cosines().T.astype(np.float32)
    apart = (found - wanted)[..., :CEPSTRA] @ to_bands
    pitch, even = (jnp.abs(found - wanted)[..., i] for i in (CEPSTRA, CEPSTRA + 1))
    voice = jnp.clip(wanted[..., CEPSTRA + 1] + 0.4, VOICELESS, 1)
    return {
        "bands": jnp.mean(jnp.abs(apart)),
        "move": jnp.mean(jnp.abs(apart[:, 1:] - apart[:, :-1])),
        "pitch": jnp.sum(pitch * voice) / jnp.sum(voice),
        "even": jnp.mean(even),
    }
