"""Voices that were read or cloned before, for whoever asks for them again."""

import threading
from collections.abc import Callable, Hashable

from ptts_jax.engine.voices import Voice

MOST_BYTES = 256 << 20  # of their keys and values; a voice of the english size has about 6 MB


class VoiceStore:
    """A voice for each key, made once even where several threads ask at the same time.

    Those asked for longest ago go when all of them have more than `most` bytes.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._voices: dict[Hashable, Voice] = {}  # the latest last
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Voice]) -> Voice:
        """The voice of a key, from `make` if it is not here yet."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        try:
            with making:  # whoever comes second waits, and then finds it
                voice = self._find(key)
                if voice is None:
                    voice = make()
                    self._add(key, voice)
                return voice
        finally:
            with self._lock:
                self._making.pop(key, None)

    def _find(self, key: Hashable) -> Voice | None:
        with self._lock:
            voice = self._voices.pop(key, None)
            if voice is not None:
                self._voices[key] = voice
            return voice

    def _add(self, key: Hashable, voice: Voice) -> None:
        with self._lock:
            self._voices[key] = voice
            total = sum(map(_bytes, self._voices.values()))
            for oldest in list(self._voices)[:-1]:
                if total <= self._most:
                    break
                total -= _bytes(self._voices.pop(oldest))


def _bytes(voice: Voice) -> int:
    return sum(layer.nbytes for layer in (*voice.k, *voice.v))
