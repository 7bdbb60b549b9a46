"""Batches for the codec: crops of a corpus, each a function of the step and the seed alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ptts_jax.train.corpus import Clip, Corpus

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Crop:
    rows: int
    samples: int


def batches(
    corpus: Corpus, clips: tuple[Clip, ...], crop: Crop, seed: int
) -> Callable[[int], Batch]:
    """step -> {"wave": [rows, samples]}: anywhere in any clip, longer ones more often."""
    chances = _chances(corpus, clips)

    def batch(step: int) -> Batch:
        draw = np.random.default_rng((seed, step))
        waves = []
        for index in draw.choice(len(clips), crop.rows, p=chances):
            start = draw.integers(0, max(1, clips[index].length - crop.samples + 1))
            waves.append(fitted(corpus.audio(clips[index])[start:], crop.samples))
        return {"wave": np.stack(waves)}

    return batch


def frame_batches(
    corpus: Corpus,
    clips: tuple[Clip, ...],
    latents: Callable[[Clip], np.ndarray],
    crop: Crop,
    frame: int,
    seed: int,
) -> Callable[[int], Batch]:
    """As `batches`, at whole latent frames and with "latents" [rows, frames, D] too."""
    chances, count = _chances(corpus, clips), crop.samples // frame

    def batch(step: int) -> Batch:
        draw = np.random.default_rng((seed, step))
        waves, found = [], []
        for index in draw.choice(len(clips), crop.rows, p=chances):
            z = latents(clips[index])
            start = draw.integers(0, max(1, len(z) - count + 1))
            z = z[start : start + count]
            # What is too short ends in a repeated last frame; its wave ends in silence.
            found.append(np.concatenate([z, np.repeat(z[-1:], count - len(z), axis=0)]))
            waves.append(fitted(corpus.audio(clips[index])[start * frame :], crop.samples))
        return {"wave": np.stack(waves), "latents": np.stack(found)}

    return batch


def fitted(wave: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def _chances(corpus: Corpus, clips: tuple[Clip, ...]) -> np.ndarray:
    if not clips:
        raise ValueError(f"{corpus.path}: there are no clips to train on; make a larger corpus")
    if not any(np.any(corpus.audio(clip)) for clip in clips[:100]):
        raise ValueError(f"{corpus.path}: the audio is silent; make the corpus again")
    lengths = np.array([clip.length for clip in clips], float)
    return lengths / lengths.sum()
