"""When each word is spoken: from what a model looks at while it speaks, and from the sound.

`seen` takes what the heads see of a frame, `heard` the samples as they are decoded, and `take`
gives the words that are settled. Words come in order, each once, whatever the sizes of the blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptts_jax.engine.request import Job
from ptts_jax.model.config import MimiConfig
from ptts_jax.text import following
from ptts_jax.text.placing import Placed

WINDOWS = 8  # of each frame, in which it is silent or not: of 10 ms in a frame of 80
QUIET = 10 ** (-35 / 20)  # of the loudest window so far: silence


@dataclass(frozen=True)
class Word:
    """A word and when it is spoken, in seconds from the start of the audio."""

    text: str  # as it was written
    start: float
    end: float
    characters: tuple[int, int]  # its part [first, last) of the text that was given

    def moved(self, speed: float, offset: float) -> "Word":
        """In audio at another speed that begins `offset` seconds later."""
        start, end = (offset + at / speed for at in (self.start, self.end))
        return replace(self, start=start, end=end)


class Chunk:
    """The attention of one chunk, frame by frame."""

    def __init__(self, job: Job, begins: int) -> None:
        self.job = job
        self.begins = begins  # its first frame, counted from the start of the audio
        self.weights: list[np.ndarray] = []  # per frame [N]
        self.path: list[int] = []  # the token of each frame that is settled
        self.ended = False
        self.words = 0  # that were given out
        self._state = following.start(len(job.tokens))

    def add(self, seen: np.ndarray) -> None:
        self.weights.append(following.weights(seen[:, : len(self.job.tokens)]))
        tokens, self._state = following.follow(self.weights[-1], self._state)
        self.path += tokens

    def end(self) -> None:
        if not self.ended:
            self.path += following.end(self._state)
            self.ended = True

    def settled(self) -> Placed | None:
        """The next word, if all its frames are known."""
        if self.words == len(self.job.words):
            return None
        word = self.job.words[self.words]
        return word if self.ended or (self.path and self.path[-1] >= word.last) else None

    def reached(self, token: int) -> float:
        """The time in frames, from the chunk's start, at which a token is reached."""
        at = next((i for i, t in enumerate(self.path) if t >= token), len(self.path))
        first, last = max(0, at - 1), min(len(self.weights), at + 1)
        # Around that frame, the attention tells how much of a frame belongs to what comes before.
        return first + sum(1 - float(w[token:].sum()) for w in self.weights[first:last])


class Timing:
    """The words of the jobs of one part, as they are settled. One thread at a time."""

    def __init__(self, jobs: Sequence[Job], mimi: MimiConfig, late: int) -> None:
        self.chunks: list[Chunk] = []
        self._jobs = jobs
        self._late = late  # frames that the heads are behind what is heard
        self._frame = mimi.frame_size / mimi.sample_rate  # seconds
        self._size = mimi.frame_size
        self._frames = 0
        self._rest = np.zeros(0, np.float32)
        self._levels: list[float] = []  # of each window, as mean square
        self._current = 0  # the chunk whose words come next
        self._end = 0.0  # of the latest word

    def seen(self, job: int, seen: np.ndarray) -> None:
        """What the heads see of the text [H, N] in the next frame, which is of that job."""
        if len(self.chunks) <= job:
            self.end()
            self.chunks.append(Chunk(self._jobs[job], self._frames))
        self.chunks[-1].add(seen)
        self._frames += 1

    def heard(self, wave: np.ndarray) -> None:
        """The next samples of the part."""
        wave = np.concatenate([self._rest, wave])
        count = len(wave) // self._size
        whole, self._rest = np.split(wave, [count * self._size])
        parts = np.array_split(np.square(whole.reshape(count, self._size)), WINDOWS, axis=1)
        self._levels += np.stack([x.mean(axis=1) for x in parts], axis=1).ravel().tolist()

    def end(self) -> None:
        """No more frames come."""
        if self.chunks:
            self.chunks[-1].end()

    def take(self) -> list[Word]:
        """The words that are settled and heard, each once."""
        words = []
        while self._current < len(self.chunks):
            chunk = self.chunks[self._current]
            while (placed := chunk.settled()) is not None:
                end = self._time(chunk, placed.last)
                if self._window_of(end) > len(self._levels):
                    return words
                start = max(self._time(chunk, placed.first), self._end)
                start, end = self._audible(start, max(start, end), chunk)
                self._end = end
                words.append(Word(placed.text, start, end, (placed.start, placed.end)))
                chunk.words += 1
            if chunk.words < len(chunk.job.words) or not chunk.ended:
                break
            self._current += 1
        return words

    def _time(self, chunk: Chunk, token: int) -> float:
        """Seconds from the start of the part."""
        frames = chunk.reached(token) - self._late
        return (chunk.begins + min(max(frames, 0.0), len(chunk.weights))) * self._frame

    def _window_of(self, time: float) -> int:
        return round(time / self._frame * WINDOWS)

    def _audible(self, start: float, end: float, chunk: Chunk) -> tuple[float, float]:
        """A word without the silence at its edges; one that is all silence stays as it is."""
        first, last = self._window_of(start), self._window_of(end)
        so_far = self._levels[chunk.begins * WINDOWS : last]
        floor = max(so_far, default=0.0) * QUIET**2
        loud = [i for i, x in enumerate(self._levels[first:last], first) if x > floor]
        if not loud:
            return start, end
        each = self._frame / WINDOWS
        return max(start, loud[0] * each), min(end, (loud[-1] + 1) * each)
