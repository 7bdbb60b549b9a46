"""Speech in parts: each in a voice at a speed, with silences of exact length between them."""

import functools
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ptts_jax import text as texts
from ptts_jax.audio import stretch
from ptts_jax.engine import request
from ptts_jax.engine.request import Job, Options
from ptts_jax.engine.timing import Timing, Word
from ptts_jax.engine.voices import Voice
from ptts_jax.model.config import Config, MimiConfig
from ptts_jax.text import reading
from ptts_jax.text.mapped import Mapped
from ptts_jax.text.reading import Manner

FADE = 0.005  # seconds at the end of speech before a silence: it may stop anywhere in a wave


Said = tuple[np.ndarray, list[Word]]  # a wave and its words


@dataclass(frozen=True)
class Part:
    """Jobs in one voice at one speed, and the samples of silence that follow them."""

    jobs: Sequence[Job]
    voice: Voice | None
    speed: float = 1.0
    silence: int = 0


def plan(
    text: str,
    manner: Manner,
    options: Options,
    voice: Callable[[str | None], Voice],
    model: str,
    tokenizer: texts.Tokenizer,
    config: Config,
    words: bool = False,
) -> list[Part]:
    """What the engine has to do for a text. Chunks are counted through all its segments, so that no
    two draw the same noise. A voice that is unknown is a ValueError that says where it stands.
    With `words`, the jobs know where their words are."""
    if manner.plain:
        source = (Mapped.of(text), text) if words else None
        jobs = request.jobs(text, tokenizer, config, options, source)
        return [Part(jobs, voice(None))]
    if options.seed is None:
        options = replace(options, seed=secrets.randbits(32))
    voice = functools.cache(voice)  # the voice that was asked for may be a recording
    planned: list[Part] = []
    count = 0
    for segment in reading.read(text, manner, model, tokenizer):
        if segment.text is None:
            silence = round(segment.pause * config.mimi.sample_rate)
            before = planned.pop() if planned else Part([], None)
            planned.append(replace(before, silence=before.silence + silence))
            continue
        speed = manner.speed * segment.rate
        try:
            stretch.check_speed(speed, f"speed {manner.speed:g} at rate {segment.rate:g}:")
            state = voice(segment.voice)
        except ValueError as error:
            from ptts_jax.text.segments import line_and_column

            where = segment.place or (
                segment.rate != 1 and line_and_column(text, segment.text.starts[0])
            )
            raise ValueError(f"{where}: {error}" if where else str(error)) from None
        source = (segment.text, text) if words else None
        jobs = request.jobs(segment.text.text, tokenizer, config, options, source)
        planned.append(Part([replace(j, index=count + j.index) for j in jobs], state, speed))
        count += len(jobs)
    return planned


def apart(planned: Iterable[Part]) -> list[Part]:
    """Each chunk as a part of its own, at its own speed and without a silence behind it."""
    return [Part([job], part.voice) for part in planned for job in part.jobs]


def joined(planned: Iterable[Part], sample_rate: int, chunks: Iterator[Said]) -> Said:
    """A text from its chunks as `apart` gives them, with its words; the same as streamed."""
    waves, words, samples = [np.zeros(0, np.float32)], [], 0
    for part in planned:
        begins, spoken = samples / sample_rate, 0
        said = [next(chunks) for _ in part.jobs]
        for wave, some in said:
            at = spoken / sample_rate
            words += [word.moved(1, at).moved(part.speed, begins) for word in some]
            spoken += wave.size
        waves.append(whole([part], sample_rate, lambda _, said=said: [wave for wave, _ in said]))
        samples += waves[-1].size
    return np.concatenate(waves), words


def stream(
    planned: Iterable[Part], sample_rate: int, speak: Callable[[Part], Iterable[Any]]
) -> Iterator[Any]:
    """The blocks of all parts in turn; `speak` gives those of one. A None that it gives goes
    through: it says that the next block is not there yet."""
    for part in planned:
        if part.jobs:
            blocks = speak(part)
            if part.speed != 1:
                blocks = _stretched(blocks, sample_rate, part.speed)
            yield from _faded(blocks, sample_rate) if part.silence else blocks
        if part.silence:
            yield np.zeros(part.silence, np.float32)


def timed(
    planned: Iterable[Part],
    mimi: MimiConfig,
    late: int,
    speak: Callable[[Part, Timing], Iterable[Any]],
) -> Iterator[tuple[Any, list[Word]]]:
    """As `stream`, each block with the words that were settled by then; the last may be empty.
    The heads that follow the text are `late` frames behind what is heard."""
    samples = 0
    for part in planned:
        timing, begins = Timing(part.jobs, mimi, late), samples / mimi.sample_rate
        say = partial(speak, timing=timing)
        blocks = stream([part], mimi.sample_rate, say)
        for block in itertools.chain(blocks, [np.zeros(0, np.float32)]):
            if block is None:
                yield None, []
                continue
            samples += block.size
            words = [word.moved(part.speed, begins) for word in timing.take()]
            if block.size or words:
                yield block, words


def whole(
    planned: Iterable[Part], sample_rate: int, speak: Callable[[Part], Iterable[np.ndarray]]
) -> np.ndarray:
    """All parts as one wave [T]; the same as streamed."""
    return np.concatenate([np.zeros(0, np.float32), *stream(planned, sample_rate, speak)])


def _stretched(blocks: Iterable[Any], sample_rate: int, speed: float) -> Iterator[Any]:
    state = stretch.start(sample_rate, speed)
    for block in blocks:
        if block is None:
            yield None
            continue
        wave, state = stretch.stretch(block, state)
        if wave.size:
            yield wave
    wave, _ = stretch.stretch(np.zeros(0, np.float32), state, last=True)
    yield wave


def _faded(blocks: Iterable[Any], sample_rate: int) -> Iterator[Any]:
    """The blocks with the end of the last one faded out."""
    size = round(FADE * sample_rate)
    held = np.zeros(0, np.float32)
    for block in blocks:
        if block is None:
            yield None
            continue
        wave, held = np.split(np.concatenate([held, block]), [-size])
        if wave.size:
            yield wave
    yield held * np.linspace(1, 0, held.size, dtype=np.float32)
