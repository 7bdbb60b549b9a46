"""One row of an evaluation: what the recogniser heard of a set of sentences, and its figures.

Knows waves, texts and figures; nothing of the models that made the waves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptts_jax.train import metrics
from ptts_jax.train.metrics import Interval
from ptts_jax.train.recogniser import Hear


@dataclass(frozen=True)
class Sentence:
    """A sentence as one voice said it."""

    text: str
    speaker: str
    heard: str
    errors: int
    words: int
    duration: float  # as a ratio to the engine's
    ended: bool
    distance: float  # mel-cepstral, dB, to the engine's audio


@dataclass(frozen=True)
class Row:
    name: str
    sentences: tuple[Sentence, ...]

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.speaker for s in self.sentences))

    def of(self, speaker: str) -> Row:
        return Row(self.name, tuple(s for s in self.sentences if s.speaker == speaker))


def judge(
    name: str,
    speaker: str,
    texts: Sequence[str],
    waves: Sequence[np.ndarray],
    ended: Sequence[bool],
    rate: int,
    engine: Sequence[np.ndarray],
    engine_rate: int,
    hear: Hear,
) -> Row:
    """Hear and measure the waves against the engine's of the same texts."""
    from ptts_jax import audio

    found = []
    for i, heard in enumerate(hear(waves, rate)):
        said, understood = metrics.words(texts[i]), metrics.words(heard)
        seconds, own = len(waves[i]) / rate, len(engine[i]) / engine_rate
        wave = audio.resample(waves[i], rate, metrics.RATE)
        other = audio.resample(engine[i], engine_rate, metrics.RATE)
        found.append(
            Sentence(
                texts[i],
                speaker,
                heard,
                metrics.edits(said, understood),
                len(said),
                seconds / own,
                bool(ended[i]),
                metrics.cepstral_distance(wave, other, metrics.RATE),
            )
        )
    return Row(name, tuple(found))


@dataclass(frozen=True)
class Figures:
    """What the table says of a row."""

    sentences: int
    wer: Interval
    gap: Interval  # to the engine's own, of the same sentences in the same voice
    duration: float  # median ratio to the engine's
    beyond: int  # sentences whose duration is beyond `metrics.DURATIONS`
    endless: int  # sentences without an EOS
    failed: int  # sentences that are one or the other
    distance: float  # mean mel-cepstral distance, dB


def figures(row: Row, engine: Row, seed: int = 0) -> Figures:
    """A row's figures; `engine` holds the same sentences in the same order."""
    s = row.sentences
    if [(a.text, a.speaker) for a in s] != [(b.text, b.speaker) for b in engine.sentences]:
        raise ValueError(f"{row.name}: not the sentences of {engine.name}")
    errors, counts = [a.errors for a in s], [a.words for a in s]
    bad = [metrics.beyond(a.duration) for a in s]
    return Figures(
        sentences=len(s),
        wer=metrics.error_rate(errors, counts, seed),
        gap=metrics.difference(errors, [b.errors for b in engine.sentences], counts, seed),
        duration=float(np.median([a.duration for a in s])),
        beyond=sum(bad),
        endless=sum(not a.ended for a in s),
        failed=sum(far or not a.ended for a, far in zip(s, bad, strict=True)),
        distance=float(np.nanmean([a.distance for a in s])),
    )


def same_words(row: Row, other: Row, seed: int = 0) -> Interval:
    """Error rate of a row minus another's, as int8 minus float."""
    errors, others = ([s.errors for s in r.sentences] for r in (row, other))
    return metrics.difference(errors, others, [s.words for s in row.sentences], seed)
