"""Teachers: engines that speak the sentences of a corpus, each by its name.

A teacher is a tool to make data with. None is needed to train or to speak; each says what to
install where it is missing. Knows nothing of corpora.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ptts_jax import audio
from ptts_jax.train.data import flite, kokoro, light, piper
from ptts_jax.train.data.said import Said

ENGINES = ("flite", "piper", "kokoro")


class Teacher(Protocol):
    """One voice of one engine. May be called by several threads at once."""

    version: str

    def speak(self, text: str) -> Said: ...


@dataclass(frozen=True)
class Voice:
    """A voice by its engine and its own name."""

    engine: str
    name: str

    def __str__(self) -> str:
        return f"{self.engine}:{self.name}"


def parse(voices: list[str], engine: str) -> list[Voice]:
    """`kokoro:af_heart`, or a bare name, which is of `engine`."""
    parsed = []
    for text in voices:
        of, _, name = text.rpartition(":")
        of = of or engine
        if of not in ENGINES:
            raise ValueError(f"--voices: no engine {of!r}: choose of {', '.join(ENGINES)}")
        parsed.append(Voice(of, name))
    names = [voice.name for voice in parsed]
    if not names or "" in names or len(set(names)) != len(names):
        raise ValueError(
            "--voices: name one or more different voices, as kokoro:af_heart,piper:joe"
        )
    return parsed


def start(voice: Voice, kokoro_voices: str, run: str = "") -> Teacher:
    """The teacher, ready to speak; says what to install if it can't. `run` is one of train.light,
    which kokoro's voices then speak by."""
    if voice.engine == "piper":
        return piper.Piper(voice.name)
    if voice.engine == "kokoro" and run:
        return light.Light(voice.name, kokoro_voices, run)
    if voice.engine == "kokoro":
        return kokoro.Kokoro(voice.name, kokoro_voices)
    flite.check_voice(voice.name)
    return Flite(voice.name)


@dataclass(frozen=True)
class Flite:
    """A voice of flite, which tells no times."""

    voice: str
    version: str = "2"

    def speak(self, text: str) -> Said:
        return Said(flite.speak(text, self.voice), flite.RATE)


def ready(said: Said, rate: int) -> Said:
    """At a corpus' rate, with short silences at both ends, at the common loudness."""
    wave = audio.resample(said.wave, said.rate, rate)
    start, end = flite.span(wave, rate)
    return Said(
        flite.level(flite.cut(wave, start, end)),
        rate,
        said.phonemes,
        _moved(said.seconds, start / rate),
    )


def _moved(seconds: tuple[float, ...], start: float) -> tuple[float, ...]:
    """The same phonemes when `start` seconds are cut off before them."""
    moved = []
    for length in seconds:
        gone = min(max(start, 0.0), length) if start > 0 else start
        moved.append(round(length - gone, 3))
        start -= gone
    return tuple(moved)
