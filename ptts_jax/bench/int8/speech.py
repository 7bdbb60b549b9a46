"""One model against itself quantised, on utterances: latents, stops and audio.

Two runs. In the forced one both models are told the float model's latents, so an error is that of
one frame; in the free one each goes on from its own, from the same noise, as when it speaks. The
voice is the float model's in all of them. Knows no policies, statistics or files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.bench.int8.audio import log_mel_distance
from ptts_jax.bench.statistics import relative_rms, snr_db
from ptts_jax.engine import loops
from ptts_jax.engine.caches import Caches
from ptts_jax.engine.loops import SCAN_FRAMES
from ptts_jax.engine.request import Job
from ptts_jax.engine.voices import Voice
from ptts_jax.model import generate, head, lm
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params

ROWS = 8  # utterances side by side


@dataclass(frozen=True)
class Setup:
    """What is spoken, and how."""

    config: Config
    voice: Voice
    jobs: tuple[Job, ...]
    cache: Any = FullCache  # what makes the caches of whoever speaks


@dataclass(frozen=True)
class Run:
    """One utterance by one model."""

    latents: np.ndarray  # [N, D]
    logits: np.ndarray  # [N]: of EOS
    wave: np.ndarray  # [N * frame]


def compare(setup: Setup, forced: tuple[Run, Run], free: tuple[Run, Run]) -> dict[str, Any]:
    """What quantising did to one utterance; each pair is the float model's run and the other's.

    Latents' errors are relative RMS, audio is in dB, stops are in frames.
    """
    rate, (a, b), (base, other) = setup.config.mimi.sample_rate, forced, free
    drift = b.logits - a.logits
    frames = min(len(base.latents), len(other.latents))  # that both have
    samples = frames * setup.config.mimi.frame_size
    x, y = base.latents[:frames], other.latents[:frames]
    return {
        "frames": len(base.latents),
        "forced_latent": relative_rms(a.latents, b.latents),
        "forced_logit": float(np.sqrt(np.mean(np.square(drift)))),
        "forced_logit_most": float(np.abs(drift).max()),
        # By how many frames EOS comes later; at least, if it does not come.
        "forced_stop": _eos(setup, b.logits) - _eos(setup, a.logits),
        "forced_snr": snr_db(a.wave, b.wave),
        "forced_mel": log_mel_distance(a.wave, b.wave, rate),
        "free_latent": relative_rms(x, y),
        "free_stop": len(other.latents) - len(base.latents),
        "free_snr": snr_db(base.wave[:samples], other.wave[:samples]),
        "free_mel": log_mel_distance(base.wave, other.wave, rate),
        "free_by_frame": [relative_rms(p, q) for p, q in zip(x, y, strict=True)],
    }


def _eos(setup: Setup, logits: np.ndarray) -> int:
    """The frame at which EOS comes; the number of frames if it does not."""
    fires = logits > setup.jobs[0].sampling.eos_threshold
    fires[: generate.MIN_FRAMES_BEFORE_EOS] = False
    return int(np.argmax(fires)) if fires.any() else len(logits)


def free(params: Params, setup: Setup) -> list[Run]:
    """Every utterance until it stops by itself."""
    runs = []
    for jobs in _groups(setup.jobs):
        voices = [setup.voice] * len(jobs)
        caches = Caches(setup.cache)
        outs = [out for _, out in loops.side_by_side(params, setup.config, voices, jobs, caches)]
        out = jax.tree.map(lambda *parts: np.concatenate(parts).swapaxes(0, 1), *outs)
        runs += _runs(params, setup, out.latent, out.eos_logit, out.valid.sum(axis=1))
    return runs[: len(setup.jobs)]


def forced(params: Params, setup: Setup, told: Sequence[np.ndarray]) -> list[Run]:
    """Every utterance with the latents [N, D] of another run as its history."""
    runs = []
    for own, latents, logits in following(params, setup, told):
        runs += _runs(params, setup, latents, logits, [len(x) for x in own])
    return runs[: len(setup.jobs)]


def following(
    params: Params, setup: Setup, told: Sequence[np.ndarray]
) -> Iterator[tuple[Sequence[np.ndarray], np.ndarray, np.ndarray]]:
    """Rows of `told`, and what the language model says to them: latents and logits of EOS."""
    for jobs, own in zip(_groups(setup.jobs), _groups(told), strict=True):
        history = padded(own)
        first = np.broadcast_to(params["lm"]["bos"], (len(jobs), 1, history.shape[2]))
        before = np.concatenate([first, history[:, :-1]], axis=1)
        noise = loops.draws(setup.config, jobs, range(history.shape[1])).swapaxes(0, 1)
        state, parts = _begin(params, setup, jobs), []
        for at in range(0, history.shape[1], SCAN_FRAMES):  # some caches take no more at once
            block = slice(at, at + SCAN_FRAMES)
            state, *out = _forced(params, setup.config, state, before[:, block], noise[:, block])
            parts.append(out)
        latents, logits = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        yield own, latents, logits


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def _forced(
    params: Params, config: Config, state: generate.GenState, before: Array, noise: Array
) -> tuple[generate.GenState, Array, Array]:
    """Frames in one go: the latents before them [B, T, D] -> latents [B, T, D], logits [B, T]."""
    p, c = params["lm"], config.flow_lm
    slot = jnp.arange(before.shape[1], dtype=jnp.int32)
    x = lm.embed_latent(p, before)
    z, cache = lm.backbone(p, c, x, state.cache, state.cache.positions[:, None] + slot)
    rows, flat = z.reshape(-1, z.shape[-1]), noise.reshape(-1, noise.shape[-1])
    latents = head.sample(p["head"], c.flow, rows, flat, state.times)
    return state.replace(cache=cache), latents.reshape(noise.shape), lm.eos_logit(p, z)


def _runs(
    params: Params, setup: Setup, latents: np.ndarray, logits: np.ndarray, counts: Sequence[int]
) -> list[Run]:
    """The first `counts` frames of each row, and what they sound like."""
    cut = [latents[row, :count] for row, count in enumerate(counts)]
    waves = _decoded(params, setup.config, cut)
    return [Run(x, y[: len(x)], wave) for x, y, wave in zip(cut, logits, waves, strict=True)]


def _decoded(params: Params, config: Config, latents: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Waveforms of utterances [N, D], side by side."""
    block, state, waves = padded(latents), None, []
    for at in range(0, block.shape[1], SCAN_FRAMES):
        state, wave = loops.decode_block(params, config, state, block[:, at : at + SCAN_FRAMES])
        waves.append(np.asarray(wave))
    wave = np.concatenate(waves, axis=1)
    return [wave[i, : len(x) * config.mimi.frame_size] for i, x in enumerate(latents)]


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[B, T, D], each row repeated after its end; T is a whole number of blocks."""
    longest = max(len(x) for x in rows)
    total = -(-longest // SCAN_FRAMES) * SCAN_FRAMES
    return np.stack([np.resize(x, (total, x.shape[1])) for x in rows])


def _begin(params: Params, setup: Setup, jobs: Sequence[Job]) -> generate.GenState:
    """A state that has read the texts; of one size for all groups, so that one compilation does."""
    voices = [setup.voice] * len(jobs)
    cache = loops.opened(params, setup.config, voices, setup.jobs, setup.cache)
    return loops.start(params, setup.config, cache, jobs)


def _groups(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Rows to run side by side: groups of one size, the last filled up with its last item."""
    size = min(ROWS, len(items))
    parts = [items[at : at + size] for at in range(0, len(items), size)]
    return [[*part, *[part[-1]] * (size - len(part))] for part in parts]
