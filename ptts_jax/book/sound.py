"""A chapter's samples, at a loudness, and where each sentence lies in them.

A chapter is gone through several times: to hear how loud it is, and to give it. Memory holds a
sentence of it.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soundfile

from ptts_jax.audio import loudness
from ptts_jax.book import plan
from ptts_jax.book.ledger import Ledger
from ptts_jax.book.plan import Planned, Unit
from ptts_jax.engine.timing import Word

PASSES = 4  # at most, to find the gain
NEAR = 0.05  # LU
SURE = 0.7  # of a peak between samples that the highest sample tells


@dataclass(frozen=True)
class Laid:
    """A sentence in its chapter, by its samples [start, end)."""

    unit: Unit
    record: dict[str, Any]
    start: int
    end: int


@dataclass(frozen=True)
class Chapter:
    """A chapter that can be heard."""

    title: str
    laid: Sequence[Laid]
    samples: int
    rate: int
    gain: float = 1.0

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    def words(self) -> list[Word]:
        """When each word is spoken."""
        return [
            Word(word["word"], word["start"], word["end"], tuple(word["characters"])).moved(
                1.0, one.start / self.rate
            )
            for one in self.laid
            for word in one.record["words"]
        ]


def lay(
    chapter: Planned,
    records: Sequence[dict | None],
    ledger: Ledger,
    rate: int,
    wanted: float | None,
) -> Chapter:
    """A chapter's sentences one behind the other, those without a record left out; `wanted` is the
    loudness."""
    at, laid = round(plan.BEFORE * rate), []
    for unit, record in zip(chapter.units, records, strict=True):
        if record is None:
            continue
        size = _wave(ledger, record).size
        laid.append(Laid(unit, record, at, at + size))
        at += size + round(unit.pause * rate)
    whole = Chapter(chapter.title, laid, at + round(plan.AFTER * rate), rate)
    return whole if wanted is None else _levelled(whole, ledger, wanted)


def _levelled(chapter: Chapter, ledger: Ledger, wanted: float) -> Chapter:
    """The chapter at a loudness: where peaks bend down, the rest must be a little louder."""
    for _ in range(PASSES):
        meter, highest = loudness.Meter(chapter.rate), 0.0
        for block in blocks(chapter, ledger):
            meter.add(block)
            highest = max(highest, float(np.abs(block).max(initial=0.0)))
        measured = meter.loudness()
        if measured == -np.inf or abs(wanted - measured) < NEAR:
            break
        louder = min(10 ** ((wanted - measured) / 20), loudness.STRONGEST / chapter.gain)
        chapter = replace(chapter, gain=chapter.gain * louder)
        if highest * louder < SURE * loudness.CEILING:  # nothing bends, so that it is exact
            break
    return chapter


def blocks(chapter: Chapter, ledger: Ledger) -> Iterator[np.ndarray]:
    """The chapter's samples."""
    at = 0
    for one in chapter.laid:
        yield np.zeros(one.start - at, np.float32)
        wave = chapter.gain * _wave(ledger, one.record)
        if np.abs(wave).max(initial=0.0) > SURE * loudness.CEILING and chapter.gain != 1.0:
            wave = loudness.bend(wave, chapter.rate)
        yield wave.astype(np.float32)
        at = one.end
    yield np.zeros(chapter.samples - at, np.float32)


def _wave(ledger: Ledger, record: dict[str, Any]) -> np.ndarray:
    return soundfile.read(io.BytesIO(ledger.audio(record["id"])), dtype="float32")[0]
