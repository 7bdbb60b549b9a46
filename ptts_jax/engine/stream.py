"""One text as a stream, or many texts side by side, each on a core of its own."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ptts_jax.engine.caches import Caches
from ptts_jax.engine.core import Core
from ptts_jax.engine.parts import Part, Said
from ptts_jax.engine.request import Job
from ptts_jax.engine.speech import Utterance
from ptts_jax.engine.voices import Voice
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params

BATCH_SLOTS = 8  # utterances side by side on a device


def stream(
    weights: Sequence[Params],
    config: Config,
    utterance: Utterance,
    stop: threading.Event,
    caches: Caches | None = None,
) -> Iterator[Any]:
    """Waveform blocks, with the words of each if they are wanted; ends at once when closed or when
    `stop` is set."""
    jobs = [job for part in utterance.parts for job in part.jobs]
    with Core(weights, config, caches or Caches(), jobs, 1, stop=stop) as core:
        speech = core.submit(utterance)
        for block in speech.with_words() if utterance.words else speech:
            if stop.is_set():
                return
            yield block


def batch(
    weights: Sequence[Params],
    config: Config,
    voices: Sequence[Voice],
    jobs: Sequence[Job],
    stop: threading.Event,
    caches: Caches | None = None,
) -> list[np.ndarray]:
    """The audio of all jobs, made side by side, each in its own voice. What is decoded when `stop`
    is set is given; nothing more is begun."""
    rows = [Utterance([Part([job], voice)]) for voice, job in zip(voices, jobs, strict=True)]
    return [wave for wave, _ in together(weights, config, rows, stop, caches)]


def together(
    weights: Sequence[Params],
    config: Config,
    rows: Sequence[Utterance],
    stop: threading.Event,
    caches: Caches | None = None,
) -> list[Said]:
    """The audio of all utterances, made side by side, and their words. What is decoded when `stop`
    is set is given; nothing more is begun."""
    said: list[Said] = [(np.zeros(0, np.float32), [])] * len(rows)
    jobs = [job for row in rows for part in row.parts for job in part.jobs]
    if not jobs:
        return said
    slots = BATCH_SLOTS * len(weights)
    with Core(weights, config, caches or Caches(), jobs, slots, stop=stop) as core:
        # The longest first: whoever comes last keeps the others waiting.
        order = sorted(range(len(rows)), key=lambda i: -rows[i].parts[0].jobs[0].limit)
        spoken = [core.submit(rows[i], live=False, bounded=False) for i in order]
        for i, speech in zip(order, spoken, strict=True):
            wave = np.concatenate([np.zeros(0, np.float32), *speech])
            said[i] = wave, speech.words
    return said
