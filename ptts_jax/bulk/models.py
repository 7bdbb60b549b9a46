"""The models that lines name, and what tells one model or voice from another."""

import functools
import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ptts_jax
from ptts_jax.engine import voices
from ptts_jax.engine.service import Engine
from ptts_jax.model import config
from ptts_jax.store.sources import is_name, version

ENDLESS = 1 << 30  # requests that may wait: whoever asks bounds them


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to speak."""

    engine: Engine
    revision: str

    @property
    def name(self) -> str:
        return self.engine.tts.name


class Models(AbstractContextManager):
    """Models by what they were asked for; `with` ends their threads. In memory are the default one
    and the latest of the others."""

    def __init__(self, default: str, words: bool = False, **how: Any) -> None:
        """`how` is for `ptts_jax.load`: int8 and so on."""
        self.default = default
        self._words = words
        self._how = how
        self._held: dict[str, Loaded] = {}

    def __exit__(self, *error: object) -> None:
        while self._held:
            self._held.popitem()[1].engine.close()

    def get(self, name: str | None = None) -> Loaded:
        """A model; none of those that go for it may be speaking. One that cannot be had is a
        ValueError."""
        name = name or self.default
        if name not in self._held:
            for other in self._held.keys() - {self.default}:
                self._held.pop(other).engine.close()
            tts = ptts_jax.load(name, **self._how)
            engine = Engine(tts, most_waiting=ENDLESS, words=self._words)
            self._held[name] = Loaded(engine, revision(tts))
        return self._held[name]


def revision(tts: Any) -> str:
    """Tells a model's weights, as they are quantised, from any others."""
    digest = hashlib.blake2b(config.to_yaml(tts.config).encode(), digest_size=12)
    leaves, structure = jax.tree.flatten(tts.params)
    digest.update(str(structure).encode())
    for leaf in leaves:
        digest.update(np.ascontiguousarray(leaf).view(np.uint8).data)
    return digest.hexdigest()


def voice_key(source: str | None) -> str | None:
    """Tells a voice from others, wherever its file lies: a name, or what the file holds."""
    if source is None:
        return None
    mixed: list[str] = []
    read: Callable[[str], Any] = lambda part: mixed.append(voice_key(part)) or part  # noqa: E731
    mixture = voices.mixture(source, read)
    if mixture is not None:
        weights = getattr(mixture, "weights", (1.0,))
        return ",".join(f"{key}:{weight:.4g}" for key, weight in zip(mixed, weights, strict=True))
    if is_name(source) or not Path(source).is_file():
        return source  # a name, or an address
    return _content(os.fspath(source), version(source))


@functools.lru_cache(maxsize=4096)
def _content(path: str, _: tuple[int, ...]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]
