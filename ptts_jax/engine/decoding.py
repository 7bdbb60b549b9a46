"""Latents of one text in, waveform out: which frames are decoded at once.

The first frames singly, since somebody waits for them; then blocks, which cost half as much for
each frame. The blocks depend on the text and on whether somebody waits, never on who else speaks,
so that the same seed gives the same audio.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from ptts_jax.engine import loops
from ptts_jax.model.codec_state import CodecState
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params

BLOCK = 8  # frames that are decoded at once, where there are as many: they cost half as much


class Decoding:
    """The decoder of one text, and the frames that wait for it. One thread may put, one decode."""

    def __init__(self, params: Params, config: Config, singles: int) -> None:
        self._params = params
        self._config = config
        self._singles = singles  # frames that somebody waits for
        self._waiting: deque[np.ndarray | None] = deque()  # latents [D]; None ends a chunk
        self._ready: list[np.ndarray] = []  # latents of the current chunk
        self._state: CodecState | None = None  # each chunk begins with a fresh decoder
        self.decoded = 0  # frames
        self._before = 0  # of them, those of the chunks before

    def put(self, latents: Sequence[np.ndarray], chunk_ended: bool) -> None:
        """More latents [D] of the current chunk, the last of it if it has ended."""
        self._waiting.extend(latents)
        if chunk_ended:
            self._waiting.append(None)

    @property
    def waiting(self) -> int:
        """How many frames are not decoded yet."""
        return len(self._waiting) + len(self._ready)

    def forget(self) -> int:
        """The current chunk begins again, and no other is here. How many frames it had."""
        gone, self.decoded = self.decoded - self._before, self._before
        self._waiting.clear()
        self._ready, self._state = [], None
        return gone

    def next(self) -> np.ndarray | None:
        """The next samples [T]; None when more frames must come first."""
        while self._waiting:
            latent = self._waiting[0]
            if latent is not None:
                self._ready.append(latent)
            elif self._ready:  # the rest of a chunk: the end stays until all is decoded
                few = self._single or len(self._ready) < BLOCK // 2
                return self._decode(1 if few else len(self._ready))
            else:
                self._state, self._before = None, self.decoded
            self._waiting.popleft()
            if self._ready and (self._single or len(self._ready) == BLOCK):
                return self._decode(len(self._ready))
        return None

    @property
    def _single(self) -> bool:
        return self.decoded < self._singles

    def _decode(self, count: int) -> np.ndarray:
        part, self._ready = self._ready[:count], self._ready[count:]
        block = np.zeros((1, 1 if count == 1 else BLOCK, part[0].size), np.float32)
        block[0, :count] = part  # what pads a last block is not heard
        self._state, wave = loops.decode_block(self._params, self._config, self._state, block)
        self.decoded += count
        return wave[0, : count * self._config.mimi.frame_size]
