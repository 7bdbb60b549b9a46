"""The model behind the scheduler: rows with caches of their own, stepped side by side.

Where there are several devices, each has a copy of the weights and computes its own rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from ptts_jax.engine import loops
from ptts_jax.engine.caches import Caches
from ptts_jax.engine.checks import Trying
from ptts_jax.engine.loops import Latent
from ptts_jax.engine.request import Job
from ptts_jax.engine.scheduler import SEVERAL, Made
from ptts_jax.engine.voices import Voice
from ptts_jax.model import generate, side_by_side
from ptts_jax.model.caches import watched
from ptts_jax.model.caches.protocol import Shape
from ptts_jax.model.caches.watched import Head
from ptts_jax.model.config import Config
from ptts_jax.model.generate import Frame, GenState
from ptts_jax.model.pytree import Params
from ptts_jax.text import longest_chunk, max_frames


@dataclass(frozen=True)
class Chunk:
    """A part of a text in its voice."""

    job: Job
    voice: Voice
    heads: tuple[Head, ...] = ()  # that are watched
    trying: Trying | None = None  # how often it may be said

    @property
    def jobs(self) -> list[Job]:
        """One for each row of the voice."""
        return [self.job] * len(self.voice.rows)


@dataclass(eq=False)
class Row:
    """The state of a chunk that is being spoken."""

    chunk: Chunk
    device: int  # its number
    shape: Shape  # of its cache
    state: GenState | None  # None once a failed step has taken it
    blocks: Iterator[tuple[int, int]]  # (start, size) of the text's blocks that are to be read
    made: int = 0  # frames


class Rows:
    """Implements scheduler.Model."""

    def __init__(
        self, weights: Sequence[Params], config: Config, caches: Caches, room: Sequence[Job]
    ) -> None:
        """`weights` has a copy of the parameters for each device. A row's cache has room for any of
        the jobs in `room`: rows with caches of one size go together."""
        self._weights = weights
        self._config = config
        self._caches = caches
        self._room = room
        self._rows_on = [0] * len(weights)

    def open(self, chunk: Chunk) -> Row:
        job, voice = chunk.job, chunk.voice
        device = self._rows_on.index(min(self._rows_on))
        params, kind = self._weights[device], self._caches.kind
        shape = loops.shape_for(params, self._config, kind, voice.rows, [job, *self._room])
        cache = self._caches.take(shape, voice)
        if len(self._weights) > 1:
            cache = jax.device_put(cache, _device(params))
        cache = loops.watch(self._config, cache, chunk.heads, [job])
        state = loops.begin(params, self._config, cache, chunk.jobs, voice.weights)
        self._rows_on[device] += 1
        # One entry more than the text has: the first latent is read with it.
        return Row(chunk, device, shape, state, loops.prefill_blocks(len(job.tokens) + 1))

    def read(self, row: Row) -> Made | None:
        at, size = next(row.blocks)
        jobs, state, how = row.chunk.jobs, row.state, (self._weights[row.device], self._config)
        row.state = None
        tokens = loops.block(jobs, at, size)
        if at + size <= len(row.chunk.job.tokens):
            row.state = generate.prefill_text(*how, state, *tokens)
            return None
        noise = loops.draws(self._config, jobs, [0])[0]
        row.state, frame = generate.first(*how, state, *tokens, noise)
        row.made = 1
        return _made(row, jax.tree.map(lambda x: np.asarray(x)[:1], frame), 1)

    def step(self, rows: Sequence[Row], count: int) -> list[Made]:
        """Rows of one size of cache, one number of sampling steps and the same heads to watch go
        together."""
        groups: dict[Any, list[Row]] = {}
        for row in rows:
            state, seen = row.state, np.shape(watched.seen(row.state.cache))
            cache = state.cache.slots, state.cache.dtype
            key = row.device, state.times.shape, cache, row.chunk.heads, seen
            if len(row.chunk.voice.rows) > 1:
                key = (id(row),)  # a mixture of voices is several rows already
            groups.setdefault(key, []).append(row)
        parts = [part for group in groups.values() for part in _widths(group)]
        begun = [self._step(part, count) for part in parts]  # the devices compute side by side
        made: dict[int, Made] = {}
        for part, frames in zip(parts, begun, strict=True):
            frames = jax.tree.map(np.asarray, frames)
            for i, row in enumerate(part):
                made[id(row)] = _made(row, jax.tree.map(lambda x, i=i: x[:, i], frames), count)
        return [made[id(row)] for row in rows]

    def _step(self, rows: Sequence[Row], count: int) -> Frame:
        """Begins the frames [N, B, ...] of rows of one device."""
        draws = partial(loops.draws, self._config)
        drawn = [draws(row.chunk.jobs, range(row.made, row.made + count)) for row in rows]
        noise = np.concatenate(drawn, axis=1)  # [N, B, D]
        noise = np.resize(noise, (SEVERAL, *noise.shape[1:]))  # the rest is not read
        states = tuple(row.state for row in rows)
        for row in rows:
            row.state = None
        how = self._weights[rows[0].device], self._config
        if len(rows) == 1:
            state, frames = generate.several(*how, *states, noise, np.int32(count))
            states = (state,)
        else:
            states, frames = side_by_side.several(*how, states, noise, np.int32(count))
        for row, state in zip(rows, states, strict=True):
            row.state = state
            row.made += count
        return frames

    def close(self, row: Row) -> None:
        self._rows_on[row.device] -= 1
        if row.state is not None:
            cache = row.state.cache.within if row.chunk.heads else row.state.cache
            self._caches.give(row.shape, row.chunk.voice, cache)
            row.state = None

    def warm(self, chunk: Chunk, slots: int) -> None:
        """Compiles all that a voice's usual texts need; with any chunk in the voice."""
        largest, *others = loops.PREFILL_BLOCKS
        for length in (largest + others[0] - 1, *(size - 1 for size in loops.PREFILL_BLOCKS)):
            job = replace(chunk.job, tokens=[0] * length, limit=1)
            self.close(self._begun(replace(chunk, job=job)))
        width = 1
        while width <= slots:
            rows = [self._begun(chunk) for _ in range(width)]
            self.step(rows, 1)
            for row in rows:
                self.close(row)
            width *= 2

    def _begun(self, chunk: Chunk) -> Row:
        row = self.open(chunk)
        while self.read(row) is None:
            pass
        return row

    def whole(self, chunk: Chunk) -> list[Latent]:
        """All frames of a chunk."""
        row = self.open(chunk)
        while (made := self.read(row)) is None:
            pass
        frames = list(made.frames)
        while not made.last:
            [made] = self.step([row], SEVERAL)
            frames += made.frames
        self.close(row)
        return frames


def longest(config: Config) -> Job:
    """A job as long as any chunk of a text usually is."""
    tokens = longest_chunk(config)
    return Job([0] * tokens, 0, max_frames(tokens, config.mimi.frame_rate))


def _device(params: Params) -> jax.Device:
    return next(iter(jax.tree.leaves(params)[0].devices()))


def _made(row: Row, frames: Frame, count: int) -> Made:
    """A row's frames [N, ...]: `count` were asked for, and those before its end are valid."""
    spoken = int(np.sum(frames.valid))
    seen = [None] * spoken if frames.seen is None else frames.seen[:spoken]
    made = [Latent(*pair) for pair in zip(frames.latent[:spoken], seen, strict=True)]
    return Made(made, spoken < count or row.made >= row.chunk.job.limit)


def _widths(rows: list[Row]) -> Iterator[list[Row]]:
    """In parts of 8, 4, 2 and 1: each width is a compilation."""
    while rows:
        size = 1 << (min(len(rows), 8).bit_length() - 1)
        part, rows = rows[:size], rows[size:]
        yield part
