"""A corpus through a codec's encoder, once for all training: made, written, read and checked.

latents.npy [frames, D] float32, all clips one after the other, and latents.json, written last:
which corpus and which encoder they are of, and each dimension's mean and deviation.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from convert import flatten
from ptts_jax.messages import say
from ptts_jax.model.config import MimiConfig
from ptts_jax.store.paths import atomic_write
from ptts_jax.train.codec import crops, forward
from ptts_jax.train.data.corpus import Clip, Corpus

NAME = "latents.json"
BUCKET = 16  # frames: lengths are padded to multiples of it, each is a compilation
ROWS = 16  # clips at once


@dataclass(frozen=True, eq=False)
class Latents:
    path: Path
    frames: np.ndarray  # [F, D] float32, mapped from the disk
    where: dict[int, tuple[int, int]]  # a clip's first sample -> its first frame, its frames
    mean: np.ndarray  # [D]
    std: np.ndarray  # [D]
    about: dict[str, Any]

    @property
    def counts(self) -> np.ndarray:
        """Frames of each clip, in the corpus's order."""
        return np.array([count for _, count in self.where.values()])

    @property
    def predicted(self) -> bool:
        """Whether a language model gave them (train/predicted.py), not the encoder."""
        return bool(self.about.get("predicted"))

    def of(self, clip: Clip) -> np.ndarray:
        """A clip's latents [T, D], as the encoder gives them."""
        start, count = self.where[clip.start]
        return self.frames[start : start + count]

    def of_all(self, clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
        """Those of some clips in a row [F, D], and where each begins and the last ends."""
        each = [self.of(clip) for clip in clips]
        return np.concatenate(each), np.cumsum([0, *(len(x) for x in each)])

    def check_corpus(self, corpus: Corpus) -> None:
        if self.about["corpus"] != _corpus_key(corpus):
            raise ValueError(f"{self.path}: not the latents of {corpus.path}; encode that corpus")

    def check_codec(self, encoder: Any, name: str) -> None:
        if self.about["codec"] != encoder_key(encoder):
            raise ValueError(f"{self.path}: not made by the encoder of {name}; encode with that")


def encoder_key(encoder: Any) -> str:
    """What tells an encoder's parameters from others."""
    digest = hashlib.sha256()
    for name, leaf in sorted(flatten(encoder).items()):
        digest.update(name.encode() + np.ascontiguousarray(leaf, np.float32).tobytes())
    return digest.hexdigest()[:32]


def encode(encoder: Any, c: MimiConfig, corpus: Corpus, path: Path, quiet: bool) -> Latents:
    """Encode all clips of a corpus into a folder."""
    crops.check_rate(corpus, c.sample_rate)
    clips = corpus.clips
    counts = np.array([-(-clip.length // c.frame_size) for clip in clips])
    starts = np.concatenate([[0], np.cumsum(counts)])
    run = jax.jit(partial(forward.encode, c=c))
    frames = np.zeros((starts[-1], c.voice_dim), np.float32)
    order = np.argsort(counts, kind="stable")
    for at in range(0, len(order), ROWS):
        group = order[at : at + ROWS]
        samples = -(-counts[group].max() // BUCKET) * BUCKET * c.frame_size
        waves = np.zeros((ROWS, samples), np.float32)  # always as many rows: one shape
        for row, i in enumerate(group):
            waves[row] = crops.fitted(corpus.audio(clips[i]), samples)
        encoded = np.asarray(run(encoder, wave=waves))
        for row, i in enumerate(group):  # causal: what pads a clip changes nothing of it
            frames[starts[i] : starts[i + 1]] = encoded[row, : counts[i]]
        if not quiet and at // ROWS % 50 == 0:
            say(f"latents {at}/{len(order)} clips")
    write(path, frames, counts, corpus, encoder_key(encoder))
    return open_latents(path)


def write(
    path: Path,
    frames: np.ndarray,
    counts: np.ndarray,
    corpus: Corpus,
    codec: str,
    predicted: bool = False,
) -> None:
    """Latents [F, D] into a folder: `counts` [clips] frames of each clip, in the corpus's order."""
    ends = np.cumsum(counts)
    parts = zip(ends - counts, ends, corpus.clips, strict=True)
    trained = np.concatenate(
        [frames[a:b] for a, b, clip in parts if clip.split == "train"] or [frames[:0]]
    )
    if not len(trained):
        raise ValueError(f"{path}: no clip is for training; make a larger corpus")
    mean, std = trained.mean(0, dtype=np.float64), trained.std(0, dtype=np.float64)
    if not np.all(std > 1e-6):
        dead = np.flatnonzero(~(std > 1e-6))
        raise ValueError(
            f"{path}: dimension {dead[0]} of the latents is always the same ({len(dead)} are): is "
            "the audio silent, or the codec untrained?"
        )
    path.mkdir(parents=True, exist_ok=True)
    (path / NAME).unlink(missing_ok=True)
    about = {
        "codec": codec,
        "corpus": _corpus_key(corpus),
        "predicted": predicted,
        "starts": [clip.start for clip in corpus.clips],
        "counts": [int(n) for n in counts],
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
    with atomic_write(path / "latents.npy") as file:
        np.save(file, frames)
    with atomic_write(path / NAME) as file:
        file.write_text(json.dumps(about))


def open_latents(path: str | Path) -> Latents:
    """Read what `python -m ptts_jax.train.latents` has written."""
    path, again = Path(path), "encode again with python -m ptts_jax.train.latents"
    if not (path / NAME).is_file():
        raise ValueError(f"{path} holds no whole latents ({NAME} is missing): {again}")
    try:
        about = json.loads((path / NAME).read_text())
        frames = np.load(path / "latents.npy", mmap_mode="r", allow_pickle=False)
        mean, std = (np.array(about.pop(name), np.float32) for name in ("mean", "std"))
        samples, counts = about.pop("starts"), about.pop("counts")
        first = np.concatenate([[0], np.cumsum(counts)])
        whole = len(frames) == first[-1]
        where = {s: (int(a), n) for s, a, n in zip(samples, first[:-1], counts, strict=True)}
        latents = Latents(path, frames, where, mean, std, about)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: the latents are damaged ({error}): {again}") from None
    if not whole or not np.all(std > 0):
        raise ValueError(f"{path}: the latents are damaged: {again}")
    return latents


def _corpus_key(corpus: Corpus) -> str:
    lengths = np.array([clip.length for clip in corpus.clips])
    known = json.dumps(corpus.recipe, sort_keys=True).encode() + lengths.tobytes()
    return hashlib.sha256(known).hexdigest()[:32]
