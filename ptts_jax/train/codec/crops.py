"""Batches for the codec: crops of a corpus, each a function of the step and the seed alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ptts_jax.train.data.corpus import Clip, Corpus

Batch = dict[str, np.ndarray]
LOOKED_AT = 100  # clips, to find out whether anything is to be heard


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
    beside: Mapping[str, Callable[[Clip], np.ndarray]],
    crop: Crop,
    frame: int,
    seed: int,
) -> Callable[[int], Batch]:
    """As `batches`, at whole frames of so many samples, with what is known of each frame.

    `beside` maps names in the batch to a function from a clip to its [frames, D].
    """
    chances, count = _chances(corpus, clips), crop.samples // frame

    def batch(step: int) -> Batch:
        draw = np.random.default_rng((seed, step))
        found: dict[str, list[np.ndarray]] = {name: [] for name in ("wave", *beside)}
        for index in draw.choice(len(clips), crop.rows, p=chances):
            clip = clips[index]
            frames = -(-clip.length // frame)
            start = int(draw.integers(0, max(1, frames - count + 1)))
            wave = corpus.audio(clip)[start * frame :]
            found["wave"].append(fitted(wave, crop.samples))
            for name, of in beside.items():
                rows = of(clip)[start : start + count]
                # What is too short ends in a repeated last frame; its wave ends in silence.
                last = np.repeat(rows[-1:], count - len(rows), axis=0)
                found[name].append(np.concatenate([rows, last]))
        return {name: np.stack(rows) for name, rows in found.items()}

    return batch


def fitted(wave: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def check_rate(corpus: Corpus, rate: int) -> None:
    if corpus.sample_rate != rate:
        rates = f"{corpus.sample_rate} Hz, the codec {rate} Hz"
        raise ValueError(f"{corpus.path}: the corpus has {rates}; make one at its rate")


def _chances(corpus: Corpus, clips: tuple[Clip, ...]) -> np.ndarray:
    """How often each clip is taken; refuses what nothing can be learnt from."""
    if not clips:
        raise ValueError(f"{corpus.path}: there are no clips of this split; make a larger corpus")
    if not any(np.any(corpus.audio(clip)) for clip in clips[:LOOKED_AT]):
        raise ValueError(f"{corpus.path}: the audio is silent; make the corpus again")
    lengths = np.array([clip.length for clip in clips], float)
    return lengths / lengths.sum()
