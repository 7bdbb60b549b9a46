"""One row of an evaluation: what the judges say of a set of sentences, and its figures.

Knows waves, texts and figures; nothing of the models that made the waves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ptts_jax import audio
from ptts_jax.train.evaluate import metrics, similarity, spelling
from ptts_jax.train.evaluate.judges import Judges
from ptts_jax.train.evaluate.metrics import Interval


@dataclass(frozen=True)
class Heard:
    """What one recogniser makes of a sentence."""

    text: str
    errors: int


@dataclass(frozen=True)
class Asked:
    """A sentence that was to be said."""

    text: str
    speaker: str
    kind: str  # everyday or prose


@dataclass(frozen=True)
class Sentence:
    """A sentence as one voice said it."""

    asked: Asked
    words: int
    heard: dict[str, Heard]  # by recogniser; the first one counts
    duration: float  # as a ratio to the teacher's
    ended: bool
    distance: float  # mel-cepstral, dB, to the teacher's audio
    quality: tuple[float, ...] = ()  # P.808, overall, signal
    likeness: float | None = None  # of the voice, to the teacher's

    @property
    def errors(self) -> int:
        return next(iter(self.heard.values())).errors


@dataclass(frozen=True)
class Row:
    name: str
    sentences: tuple[Sentence, ...]

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.asked.speaker for s in self.sentences))

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.asked.kind for s in self.sentences))

    def of(self, speaker: str | None = None, kind: str | None = None) -> Row:
        """The sentences of a speaker and a kind; None takes all."""
        return Row(
            self.name,
            tuple(
                s
                for s in self.sentences
                if speaker in (None, s.asked.speaker) and kind in (None, s.asked.kind)
            ),
        )


@dataclass(frozen=True, eq=False)
class Speech:
    """Waves and their rate; `ended` is false where the end never came."""

    waves: Sequence[np.ndarray]
    rate: int
    ended: Sequence[bool] = field(default=())

    def finished(self, index: int) -> bool:
        return bool(self.ended[index]) if len(self.ended) else True


def judge(
    name: str, asked: Sequence[Asked], speech: Speech, teacher: Speech, judges: Judges
) -> Row:
    """Hear and measure what was spoken against the teacher's audio of the same sentences."""
    heard = {who: hear(speech.waves, speech.rate) for who, hear in judges.hear.items()}
    quality = judges.quality(speech.waves, speech.rate) if judges.quality else None
    voices = [judges.embed(s.waves, s.rate) for s in (speech, teacher)] if judges.embed else None
    sentences = []
    for i, one in enumerate(asked):
        said = spelling.words(one.text)
        wave, other = (audio.resample(s.waves[i], s.rate, metrics.RATE) for s in (speech, teacher))
        sentences.append(
            Sentence(
                asked=one,
                words=len(said),
                heard={
                    who: Heard(texts[i], metrics.edits(said, spelling.words(texts[i])))
                    for who, texts in heard.items()
                },
                duration=(len(speech.waves[i]) / speech.rate)
                / (len(teacher.waves[i]) / teacher.rate),
                ended=speech.finished(i),
                distance=metrics.cepstral_distance(wave, other, metrics.RATE),
                quality=tuple(quality[i]) if quality else (),
                likeness=similarity.alike(voices[0][i], voices[1][i]) if voices else None,
            )
        )
    return Row(name, tuple(sentences))


@dataclass(frozen=True)
class Figures:
    """What the table says of a row."""

    sentences: int
    wer: dict[str, Interval]  # by recogniser
    gap: dict[str, Interval]  # to the teacher's own, of the same sentences in the same voice
    duration: float  # median ratio to the teacher's
    beyond: int  # sentences whose duration is beyond `metrics.DURATIONS`
    endless: int  # sentences without an end
    failed: int  # sentences that are one or the other
    distance: float  # mean mel-cepstral distance, dB
    quality: Interval | None  # P.808
    below: Interval | None  # the teacher's P.808 minus this one
    overall: float | None
    likeness: float | None


def figures(row: Row, teacher: Row, seed: int = 0) -> Figures:
    """A row's figures; `teacher` holds the same sentences in the same order."""
    s, t = row.sentences, teacher.sentences
    if [a.asked for a in s] != [b.asked for b in t]:
        raise ValueError(f"{row.name}: not the sentences of {teacher.name}")
    counts = [a.words for a in s]
    bad = [metrics.beyond(a.duration) for a in s]
    rated = all(a.quality for a in (*s, *t))
    listened = [a.quality[0] for a in s] if rated else []
    return Figures(
        sentences=len(s),
        wer={who: metrics.error_rate(_errors(row, who), counts, seed) for who in s[0].heard},
        gap={
            who: metrics.difference(_errors(row, who), _errors(teacher, who), counts, seed)
            for who in s[0].heard
        },
        duration=float(np.median([a.duration for a in s])),
        beyond=sum(bad),
        endless=sum(not a.ended for a in s),
        failed=sum(far or not a.ended for a, far in zip(s, bad, strict=True)),
        distance=float(np.nanmean([a.distance for a in s])),
        quality=metrics.mean(listened, seed) if rated else None,
        below=metrics.difference([b.quality[0] for b in t], listened, [1] * len(s), seed)
        if rated
        else None,
        overall=float(np.mean([a.quality[1] for a in s])) if rated else None,
        likeness=_mean([a.likeness for a in s]),
    )


def _errors(row: Row, who: str) -> list[int]:
    return [s.heard[who].errors for s in row.sentences]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def same_words(row: Row, other: Row, seed: int = 0) -> Interval:
    """Error rate of a row minus another's, as int8 minus float."""
    errors, others = ([s.errors for s in r.sentences] for r in (row, other))
    return metrics.difference(errors, others, [s.words for s in row.sentences], seed)
