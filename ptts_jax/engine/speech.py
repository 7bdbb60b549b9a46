"""The audio of one request, as its listener gets it."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ptts_jax.engine import parts
from ptts_jax.engine.checks import Checked, Trying
from ptts_jax.engine.decoding import Decoding
from ptts_jax.engine.heads import NO_HEADS, Heads
from ptts_jax.engine.loops import Latent
from ptts_jax.engine.parts import Part
from ptts_jax.engine.scheduler import Request
from ptts_jax.engine.timing import Timing, Word
from ptts_jax.model.config import MimiConfig


@dataclass(frozen=True)
class Utterance:
    """What is to be said."""

    parts: Sequence[Part]
    loudness: float | None = None  # LUFS
    follow: Heads = NO_HEADS  # that are watched
    words: bool = False  # whether they shall tell when words are spoken
    trying: Trying | None = None  # chunks are said until they are right


class Speech(AbstractContextManager):
    """The audio of one request, float32 blocks [T] in order: an iterator and an async iterator.

    One reader only. Leaving a `with` block, or `cancel`, ends the work; so does an error, which the
    reader gets. Who reads slowly is spoken to slowly.
    """

    def __init__(self, core: Any, request: Request, utterance: Utterance) -> None:
        mimi: MimiConfig = core.config.mimi
        self.sample_rate = mimi.sample_rate
        self.request = request
        # Frames of a chunk, whether they end it, and whether it begins again with them.
        self.latents: deque[tuple[Sequence[Latent], bool, bool]] = deque()
        self.decoding: Decoding | None = None  # of the present part
        self.words: list[Word] = []  # that are settled, where heads follow the text
        # How the chunks went that were checked.
        self.checks: list[Checked] = utterance.trying.told if utterance.trying else []
        self.ahead = False  # something was decoded that is not to be heard yet
        planned = utterance.parts
        if utterance.words:
            told = parts.timed(planned, mimi, utterance.follow.late, self._decoded)
            self.waves = self._told(told)
        else:
            self.waves = parts.stream(planned, self.sample_rate, self._decoded)
        if utterance.loudness is not None:
            from ptts_jax.audio import loudness

            self.waves = loudness.stream(self.waves, self.sample_rate, utterance.loudness)
        self.decoded = 0  # frames
        self.first_audio: float | None = None  # seconds from the request to its first frame
        self.tokens = sum(len(chunk.job.tokens) for chunk in request.chunks)
        self.paces = list(_paces(planned, mimi))
        if self.paces:
            request.frame_seconds = self.paces[0][0]
        self._core = core
        # None: the end. With a block go the numbers of frames and words that there were by then.
        self._blocks: deque[tuple[np.ndarray, int, int] | Exception | None] = deque()
        self._changed = threading.Condition()
        self._words = 0  # of the blocks that were read
        self._wake: Any = None  # tells an async reader that something has come
        self.over = False

    def cancel(self) -> None:
        """Ends the work; the reader gets no more. Twice does no harm."""
        self._core.cancel(self)
        with self._changed:
            self._blocks.clear()
            self.over = False
        self.put(None)

    def __exit__(self, *error: object) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        with self._changed:
            self._changed.wait_for(lambda: self._blocks)
        block = self._take()
        if block is None:
            raise StopIteration
        return block

    def __aiter__(self) -> AsyncIterator[np.ndarray]:
        return self

    async def __anext__(self) -> np.ndarray:
        while True:
            with self._changed:
                if self._blocks:
                    break
                loop, arrived = asyncio.get_running_loop(), asyncio.Event()
                self._wake = partial(loop.call_soon_threadsafe, arrived.set)
            await arrived.wait()
        block = self._take()
        if block is None:
            raise StopAsyncIteration
        return block

    def _take(self) -> np.ndarray | None:
        with self._changed:
            first = self._blocks[0]
            if isinstance(first, Exception):  # once; whoever asks again gets the end
                self._blocks[0] = None
                raise first
            if first is None:
                return None
            self._blocks.popleft()
        block, frames, self._words = first
        self._core.taken(self, frames)
        return block

    def with_words(self) -> Iterator[tuple[np.ndarray, list[Word]]]:
        """The blocks, each with the words that are settled by then; the last block may be empty."""
        told = 0
        for block in self:
            yield block, self.words[told : self._words]
            told = self._words
        if rest := self.words[told:]:
            yield np.zeros(0, np.float32), rest

    def _told(self, blocks: Iterator[tuple[Any, list[Word]]]) -> Iterator[np.ndarray | None]:
        """The waves of blocks that come with words, which are kept."""
        for wave, words in blocks:
            self.words += words
            if wave is None or wave.size:
                yield wave

    def _decoded(self, part: Part, timing: Timing | None = None) -> Iterator[np.ndarray | None]:
        """The waves of a part; None where more latents must come first."""
        self.decoding = self._core.decoding(self.request)
        for number in range(len(part.jobs)):
            yield from self._chunk(number, timing)

    def _chunk(self, number: int, timing: Timing | None) -> Iterator[np.ndarray | None]:
        """The waves of a chunk. Where it may begin again they are held back until it is whole."""
        frames: list[Latent] = []  # that `timing` has not seen
        waves: deque[np.ndarray] = deque()
        ended, sure = False, not self.request.checked
        while True:
            while self.latents and not ended:
                made, ended, anew = self.latents.popleft()
                if anew:
                    self.decoded -= self.decoding.forget()
                    frames.clear()
                    waves.clear()
                self.decoding.put([frame.latent for frame in made], ended)
                frames += made
                if sure := sure or ended:
                    if timing is not None:
                        for frame in frames:
                            timing.seen(number, frame.seen)
                    frames.clear()
                if timing is not None and ended:
                    timing.end()
            before, wave = self.decoding.decoded, self.decoding.next()
            self.decoded += self.decoding.decoded - before
            if wave is not None:
                waves.append(wave)
            elif ended and not waves:
                return
            self.ahead = wave is not None and not sure
            if not sure or not waves:
                yield None
            while sure and waves:
                if timing is not None:
                    timing.heard(waves[0])
                yield waves.popleft()

    @property
    def waiting(self) -> int:
        """How many frames wait to be decoded."""
        given = sum(len(frames) for frames, _, _ in list(self.latents))
        decoding = self.decoding
        return given + (decoding.waiting if decoding else 0)

    def drop(self) -> None:
        """Lets go of the decoder, whose state is large; for the decoder's thread, in the end.

        `waves` and this object hold each other, so all of it would stay until Python collects.
        """
        self.waves, self.decoding = iter(()), None
        self.latents.clear()

    def put(self, block: np.ndarray | Exception | None) -> None:
        with self._changed:
            if self.over:
                return
            self.over = not isinstance(block, np.ndarray)
            self._blocks.append(block if self.over else (block, self.decoded, len(self.words)))
            self._changed.notify_all()
            wake, self._wake = self._wake, None
        if self.over:
            self._core.ended()
        if wake is not None:
            with contextlib.suppress(RuntimeError):  # its event loop has gone
                wake()


def _paces(planned: Sequence[Part], mimi: MimiConfig) -> Iterator[tuple[float, float]]:
    """For each chunk how long one of its frames is heard, and the silence behind it, in seconds."""
    frame = 1 / mimi.frame_rate
    for part in planned:
        for job in part.jobs:
            silence = part.silence / mimi.sample_rate if job is part.jobs[-1] else 0.0
            yield frame / part.speed, silence
