"""Where the drivers get their caches: fresh ones, and those of utterances that have ended."""

import threading
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from ptts_jax.engine.voices import Voice
from ptts_jax.model import generate
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Cache, Shape

MOST_BYTES = 128 << 20  # of ended utterances; the latest is kept whatever its size


class Caches:
    """Caches of one kind.

    One that an utterance has ended with still has the voice in its first slots: the next utterance
    in the same voice starts at once, with nothing copied. Safe between threads.
    """

    def __init__(self, kind: Any = FullCache) -> None:
        self.kind = kind  # a class of the protocol, or what else makes its caches
        self._ended: list[tuple[Voice, Shape, Cache]] = []  # the latest last
        self._lock = threading.Lock()

    def take(self, shape: Shape, voice: Voice) -> Cache:
        """A cache of one row that begins with the voice, of the shape's slots or more; the
        caller's alone.

        One of twice the size still serves: a new one costs as much as several steps.
        """
        with self._lock:
            fitting = [
                (cache.slots, i)
                for i, (owner, made_for, cache) in enumerate(self._ended)
                if owner is voice
                and replace(made_for, slots=shape.slots) == shape
                and shape.slots <= cache.slots <= 2 * shape.slots
            ]
            if fitting:
                return self._ended.pop(min(fitting)[1])[2]
        return self.kind.from_voices(shape, voice.rows)

    def give(self, shape: Shape, voice: Voice, cache: Cache) -> None:
        """Back from an utterance, wherever that ended."""
        if any(leaf.is_deleted() for leaf in jax.tree.leaves(cache)):
            return  # an error came while the step had it
        if len(voice.rows) > 1:
            return  # rare, and made anew for each text
        cache = generate.rewound(cache, np.int32(voice.length))
        with self._lock:
            self._ended.append((voice, shape, cache))
            while len(self._ended) > 1 and sum(_size(c) for *_, c in self._ended) > MOST_BYTES:
                self._ended.pop(0)


def _size(cache: Cache) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(cache))
