"""One model against itself quantised, on utterances: latents, stops and audio.

Two runs. In the forced one both models are told the float model's latents, so an error is that of
one frame; in the free one each goes on from its own, from the same noise, as when it speaks. The
voice is the float model's in all of them. Knows no policies, statistics or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from int8.report import relative_rms, snr_db
from ptts_jax import drivers, generate, head, lm
from ptts_jax.config import Config
from ptts_jax.drivers import SCAN_FRAMES, Job, Sampling
from ptts_jax.int8_report.audio import log_mel_distance
from ptts_jax.voices import Voice, open_cache

Params = dict[str, Any]

ROWS = 8  # utterances side by side


@dataclass(frozen=True)
class Setup:
    """What is spoken, and how."""

    config: Config
    voice: Voice
    jobs: tuple[Job, ...]
    sampling: Sampling


@dataclass(frozen=True)
class Run:
    """One utterance by one model."""

    latents: np.ndarray  # [N, D]
    logits: np.ndarray  # [N]: of EOS
    wave: np.ndarray  # [N * frame]


@dataclass(frozen=True)
class Difference:
    """What quantising did to one utterance. Errors are relative RMS, audio is in dB."""

    frames: int  # of the float model's
    forced_latent: float
    forced_logit: float  # RMS
    forced_logit_most: float
    forced_stop: int  # by how many frames EOS comes later; at least, if it does not come
    forced_snr: float
    forced_mel: float
    free_latent: float  # over the frames that both have
    free_stop: int  # by how many frames the utterance is longer
    free_snr: float
    free_mel: float
    free_by_frame: tuple[float, ...]  # the latent's error frame by frame


def compare(setup: Setup, forced: tuple[Run, Run], free: tuple[Run, Run]) -> Difference:
    """Each pair is the float model's run and the other's."""
    rate, (a, b) = setup.config.mimi.sample_rate, forced
    drift = b.logits - a.logits
    base, other = free
    frames = min(len(base.latents), len(other.latents))
    samples = frames * setup.config.mimi.frame_size
    x, y = base.latents[:frames], other.latents[:frames]
    return Difference(
        frames=len(base.latents),
        forced_latent=relative_rms(a.latents, b.latents),
        forced_logit=float(np.sqrt(np.mean(np.square(drift)))),
        forced_logit_most=float(np.abs(drift).max()),
        forced_stop=_eos(setup, b.logits) - _eos(setup, a.logits),
        forced_snr=snr_db(a.wave, b.wave),
        forced_mel=log_mel_distance(a.wave, b.wave, rate),
        free_latent=relative_rms(x, y),
        free_stop=len(other.latents) - len(base.latents),
        free_snr=snr_db(base.wave[:samples], other.wave[:samples]),
        free_mel=log_mel_distance(base.wave, other.wave, rate),
        free_by_frame=tuple(relative_rms(p, q) for p, q in zip(x, y, strict=True)),
    )


def _eos(setup: Setup, logits: np.ndarray) -> int:
    """The frame at which EOS comes; the number of frames if it does not."""
    fires = logits > setup.sampling.eos_threshold
    fires[: generate.MIN_FRAMES_BEFORE_EOS] = False
    return int(np.argmax(fires)) if fires.any() else len(logits)


def free(params: Params, setup: Setup) -> list[Run]:
    """Every utterance until it stops by itself."""
    runs = []
    for jobs in _groups(setup.jobs):
        latents, logits, counts = _free(params, setup, jobs)
        made = [(latents[i, :n], logits[i, :n]) for i, n in enumerate(counts)]
        waves = decode(params, setup.config, [x for x, _ in made])
        runs += [Run(x, y, wave) for (x, y), wave in zip(made, waves, strict=True)]
    return runs[: len(setup.jobs)]


def _free(
    params: Params, setup: Setup, jobs: Sequence[Job]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents [B, T, D], logits [B, T] and how many of the frames belong to each row."""
    state, outs = _begin(params, setup, jobs), []
    for at in range(0, max(job.limit for job in jobs), SCAN_FRAMES):
        noise = _noise(setup, jobs, range(at, at + SCAN_FRAMES))
        state, out = generate.scan_steps(params, setup.config, state, noise)
        outs.append(jax.tree.map(np.asarray, out))
        if not outs[-1].valid[-1].any():
            break
    latents, logits, valid = (
        np.concatenate([getattr(out, part) for out in outs]).swapaxes(0, 1)
        for part in ("latent", "eos_logit", "valid")
    )
    return latents, logits, valid.sum(axis=1)


def forced(params: Params, setup: Setup, told: Sequence[np.ndarray]) -> list[Run]:
    """Every utterance with the latents [N, D] of another run as its history."""
    runs = []
    for number, jobs in enumerate(_groups(setup.jobs)):
        own = _filled(told[number * ROWS : (number + 1) * ROWS], len(jobs))
        history = padded(own)
        first = np.broadcast_to(params["lm"]["bos"], (len(jobs), 1, history.shape[2]))
        before = np.concatenate([first, history[:, :-1]], axis=1)
        noise = _noise(setup, jobs, range(history.shape[1])).swapaxes(0, 1)
        found = _forced(params, setup.config, _begin(params, setup, jobs), before, noise)
        latents, logits = (
            [x[: len(y)] for x, y in zip(np.asarray(part), own, strict=True)] for part in found
        )
        waves = decode(params, setup.config, latents)
        runs += map(Run, latents, logits, waves)
    return runs[: len(setup.jobs)]


@partial(jax.jit, static_argnames="config")
def _forced(
    params: Params, config: Config, state: generate.GenState, before: Array, noise: Array
) -> tuple[Array, Array]:
    """All frames in one go: the latents before them [B, T, D] -> latents [B, T, D], logits."""
    p, c = params["lm"], config.flow_lm
    slot = jnp.arange(before.shape[1], dtype=jnp.int32)
    x = lm.embed_latent(p, before)
    z, _ = lm.backbone(p, c, x, state.cache, state.position[:, None] + slot)
    rows, flat = z.reshape(-1, z.shape[-1]), noise.reshape(-1, noise.shape[-1])
    latents = head.sample(p["head"], c.flow, rows, flat, state.times)
    return latents.reshape(noise.shape), lm.eos_logit(p, z)


def decode(params: Params, config: Config, latents: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Waveforms of utterances [N, D], side by side."""
    block, decoder, waves = padded(latents), None, []
    for at in range(0, block.shape[1], SCAN_FRAMES):
        part = block[:, at : at + SCAN_FRAMES]
        decoder, wave = drivers.decode_block(params, config, decoder, part)
        waves.append(wave)
    wave = np.concatenate(waves, axis=1)
    return [wave[i, : len(x) * config.mimi.frame_size] for i, x in enumerate(latents)]


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[B, T, D], each row repeated after its end; T is a whole number of blocks."""
    longest = max(len(x) for x in rows)
    total = -(-longest // SCAN_FRAMES) * SCAN_FRAMES
    return np.stack([np.resize(x, (total, x.shape[1])) for x in rows])


def _begin(params: Params, setup: Setup, jobs: Sequence[Job]) -> generate.GenState:
    """A state that has read the texts; of one size for all groups, so that one compilation does."""
    slots = drivers.slots_for([setup.voice], setup.jobs)
    cache = open_cache([setup.voice] * len(jobs), slots, lm.cache_type(params["lm"]))
    return drivers.start(params, setup.config, cache, jobs, setup.sampling)


def _noise(setup: Setup, jobs: Sequence[Job], frames: range) -> np.ndarray:
    """[T, B, D]"""
    return drivers.draws(setup.config, setup.sampling, jobs, frames)


def _groups(jobs: Sequence[Job]) -> list[Sequence[Job]]:
    """Rows to run side by side: groups of one size, the last filled up with its last job."""
    size = min(ROWS, len(jobs))
    return [_filled(jobs[at : at + size], size) for at in range(0, len(jobs), size)]


def _filled(items: Sequence[Any], size: int) -> list[Any]:
    return [*items, *[items[-1]] * (size - len(items))]
