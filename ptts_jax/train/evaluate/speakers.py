"""What evaluation listens to: a model speaking held-out sentences, a codec repeating recordings.

Knows models and arrays; nothing of recognisers, figures or reports.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from ptts_jax.engine import parts, stream
from ptts_jax.engine.checks import Checked
from ptts_jax.engine.request import Options
from ptts_jax.engine.voices import Voice
from ptts_jax.model import codec
from ptts_jax.model.config import MimiConfig
from ptts_jax.text.reading import Manner
from ptts_jax.train.data.corpus import Corpus
from ptts_jax.tts import TTS

BATCH = 8
PROMPT_SECONDS = 1.2  # of the training clip that a voice is cloned from: as long as in training
AS_COMMANDS = Manner(normalize=True)  # a text is read as they read it
PAD_FRAMES = 16  # lengths are rounded up to so many: fewer compilations


@dataclass(frozen=True, eq=False)
class Spoken:
    wave: np.ndarray  # [T] float32
    ended: bool  # false: the end never came, and the limit of frames stopped it


def speak(tts: TTS, lines: Sequence[str], voice: Voice, seed: int) -> list[Spoken]:
    """Every line, normalised, as `generate_batch` says it with the seeds `seed`, `seed + 1`, ..."""
    model = tts.name, tts.tokenizer, tts.config
    rows = [
        (number, job)
        for number, line in enumerate(lines)
        for part in parts.plan(
            line, AS_COMMANDS, Options(seed=seed + number), lambda _: voice, *model
        )
        for job in part.jobs
    ]
    chunks = [job for _, job in rows]
    never = threading.Event()
    waves = stream.batch(tts.weights, tts.config, [voice] * len(rows), chunks, never, tts.caches)
    spoken: list[list[np.ndarray]] = [[] for _ in lines]
    ended = [True] * len(lines)
    for (number, job), wave in zip(rows, waves, strict=True):
        spoken[number].append(wave)
        ended[number] &= len(wave) < job.limit * tts.config.mimi.frame_size
    return [Spoken(np.concatenate(waves), end) for waves, end in zip(spoken, ended, strict=True)]


def speak_checked(tts: TTS, lines: Sequence[str], voice: Voice, seed: int) -> list[Spoken]:
    """The same with the check: what was said wrong is said again."""
    checks: list[list[Checked]] = []
    seeds = [seed + number for number in range(len(lines))]
    how = {"normalize": True, "checks": checks}
    waves = tts.generate_batch(lines, voice, seed=seeds, **how)
    ended = (not any(f.kind == "babbling" for one in told for f in one.faults) for told in checks)
    return [Spoken(wave, end) for wave, end in zip(waves, ended, strict=True)]


def repeat(
    params: dict[str, Any], config: MimiConfig, waves: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Each [T] at the codec's rate, encoded and decoded again; `params` has encoder and decoder."""
    if config.voice_dim != config.latent_dim:
        raise ValueError(
            f"the encoder gives {config.voice_dim} numbers a frame and the decoder takes "
            f"{config.latent_dim}: this codec cannot repeat audio (inner_dim)"
        )
    block = config.frame_size * PAD_FRAMES
    order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
    made: dict[int, np.ndarray] = {}
    for at in range(0, len(order), BATCH):
        group = order[at : at + BATCH]
        longest = len(waves[group[-1]])
        batch = np.zeros((BATCH, -(-longest // block) * block), np.float32)
        for row, i in enumerate(group):
            batch[row, : len(waves[i])] = waves[i]
        out = np.asarray(_repeat(params, config, batch))
        made.update({i: out[row, : len(waves[i])] for row, i in enumerate(group)})
    return [made[i] for i in range(len(waves))]


@partial(jax.jit, static_argnames="config")
def _repeat(params: dict[str, Any], config: MimiConfig, wave: jax.Array) -> jax.Array:
    """[B, T] -> [B, T]; the encoder's transformer sees a window, so any length streams as one."""
    state = codec.encoder_state(config, wave.shape[0])
    latents, _ = codec.encode(params, config, wave, state)  # [B, frames, D]
    out, _ = codec.decode(params, config, latents, codec.decoder_state(config, wave.shape[0]))
    return out


def prompt(corpus: Corpus, speaker: str) -> np.ndarray:
    """[T]: a training clip of a speaker, of the length of a sentence, to clone the voice from."""
    clips = corpus.select("train", speaker)
    wanted = PROMPT_SECONDS * corpus.sample_rate
    return corpus.audio(min(clips, key=lambda clip: abs(clip.length - wanted)))
