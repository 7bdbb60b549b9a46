"""Host-side loops over the jitted step: prefill in blocks, frame by frame, a batch of ragged rows.

All of them give the same frames for the same (seed, text chunk, frame): noise is keyed by those
three and nothing else. Knows arrays and token ids; no text, files or voices' names.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptts_jax import generate
from ptts_jax.attention import KVCache, bucket
from ptts_jax.codec import CodecState
from ptts_jax.config import Config
from ptts_jax.voices import Voice, WarmCaches, open_cache

Params = dict[str, Any]

PREFILL_BLOCKS = (64, 16)  # few shapes to compile; a short text wastes at most 15 slots
SCAN_FRAMES = 16  # frames per call of the scanning drivers


@dataclass(frozen=True)
class Sampling:
    """How to sample. Temperature is the variance of the noise."""

    temperature: float = 0.3
    steps: int = 1
    noise_clamp: float | None = None
    eos_threshold: float = -4.0


@dataclass(frozen=True)
class Job:
    """One utterance for the language model: a text chunk in a voice."""

    tokens: Sequence[int]
    tail: int  # frames to go on after EOS
    limit: int  # frames at most
    index: int = 0  # of the chunk in its text: keys the noise
    seed: int = 0


def noise(sampling: Sampling, job: Job, frame: int, size: int) -> np.ndarray:
    """The noise of one frame [size]: a function of (seed, chunk, frame) alone."""
    std = np.float32(sampling.temperature**0.5)
    if std == 0:
        return np.zeros(size, np.float32)
    bits = np.random.Philox(key=job.seed & (2**64 - 1), counter=[0, 0, job.index, frame])
    rng = np.random.Generator(bits)
    if sampling.noise_clamp is None:
        return rng.standard_normal(size, np.float32) * std
    clamp, kept = np.float32(sampling.noise_clamp), np.empty(0, np.float32)
    while kept.size < size:  # a normal distribution cut at the clamp, by rejection
        if clamp > std:
            draw = rng.standard_normal(4 * size, np.float32) * std
            fine = np.abs(draw) <= clamp
        else:  # a normal one would hardly ever hit
            draw = (2 * rng.random(4 * size, np.float32) - 1) * clamp
            fine = rng.random(4 * size, np.float32) < np.exp(-np.square(draw / std) / 2)
        kept = np.concatenate([kept, draw[fine]])
    return kept[:size]


def slots_for(voices: Sequence[Voice], jobs: Sequence[Job]) -> int:
    """Cache slots that hold any of the jobs."""
    need = max(v.length for v in voices) + PREFILL_BLOCKS[-1] + SCAN_FRAMES
    need += max(len(j.tokens) for j in jobs) + max(j.limit for j in jobs)
    return bucket(need)


def start(
    params: Params, config: Config, cache: KVCache, jobs: Sequence[Job], sampling: Sampling
) -> generate.GenState:
    """A state that has read the rows' texts; `cache` holds their voices."""
    state = generate.begin(
        params,
        config,
        sampling.steps,
        cache,
        np.array([j.tail for j in jobs], np.int32),
        np.array([j.limit for j in jobs], np.int32),
        np.float32(sampling.eos_threshold),
    )
    lengths = np.array([len(j.tokens) for j in jobs])
    for at, size in prefill_blocks(int(lengths.max())):
        tokens = np.zeros((len(jobs), size), np.int32)
        for row, job in enumerate(jobs):
            part = job.tokens[at : at + size]
            tokens[row, : len(part)] = part
        count = np.clip(lengths - at, 0, size).astype(np.int32)
        state = generate.prefill_text(params, config, state, tokens, count)
    return state


def prefill_blocks(length: int) -> Iterator[tuple[int, int]]:
    """(start, size) of the blocks that cover a length."""
    large, small = PREFILL_BLOCKS
    at = 0
    while at < length:
        size = large if length - at > large - small else small
        yield at, size
        at += size


def latents(
    params: Params,
    config: Config,
    voice: Voice,
    jobs: Sequence[Job],
    sampling: Sampling,
    stop: threading.Event,
    warm: WarmCaches | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Frame by frame, job after job: (job number, latent [D])."""
    warm, slots = warm or WarmCaches(), slots_for([voice], jobs)
    for number, job in enumerate(jobs):
        state = start(params, config, warm.take(voice, slots), [job], sampling)
        try:
            for frame in range(job.limit):
                if stop.is_set():
                    return
                draw = noise(sampling, job, frame, config.mimi.latent_dim)
                state, out = generate.step(params, config, state, draw[None])
                if not np.asarray(out.valid)[0]:
                    break
                yield number, np.asarray(out.latent)[0]
        finally:
            warm.give(voice, state.cache)


def decode_block(
    params: Params, config: Config, decoder: CodecState | None, block: np.ndarray
) -> tuple[CodecState, np.ndarray]:
    """Latents [B, T, D] -> waveform; a new decoder (None) fades its first 5 ms in."""
    fresh = decoder is None
    decoder, wave = generate.decode(params, config, decoder or _decoder(config, block), block)
    wave = np.array(wave)
    if fresh:
        _fade_in(config, wave)
    return decoder, wave


def _decoder(config: Config, block: np.ndarray) -> CodecState:
    return generate.new_decoder(config.mimi, block.shape[0])


def _fade_in(config: Config, wave: np.ndarray) -> None:
    """A fresh decoder starts with a small step, heard as a click."""
    fade = config.mimi.sample_rate // 200
    wave[:, :fade] *= np.linspace(0, 1, fade, dtype=np.float32)


def batch(
    params: Params,
    config: Config,
    voices: Sequence[Voice],
    jobs: Sequence[Job],
    sampling: Sampling,
    stop: threading.Event,
) -> list[np.ndarray]:
    """All jobs side by side, each in its own voice: scanned in blocks until every row has ended."""
    state = start(params, config, open_cache(voices, slots_for(voices, jobs)), jobs, sampling)
    decoder, waves, valid = None, [], []
    for at in range(0, max(j.limit for j in jobs), SCAN_FRAMES):
        if stop.is_set():
            break
        frames = range(at, at + SCAN_FRAMES)
        draws = [[noise(sampling, j, f, config.mimi.latent_dim) for j in jobs] for f in frames]
        state, out = generate.scan_steps(params, config, state, np.array(draws))
        valid.append(np.asarray(out.valid).T)  # [B, N]: waits for the steps alone
        block = np.asarray(out.latent).swapaxes(0, 1)  # [B, N, D]
        decoder, wave = generate.decode(params, config, decoder or _decoder(config, block), block)
        waves.append(wave)  # not waited for: decoded beside the next steps
        if not valid[-1][:, -1].any():
            break
    if not waves:
        return [np.zeros(0, np.float32) for _ in jobs]
    counts = np.concatenate(valid, axis=1).sum(axis=1)
    wave = np.concatenate([np.asarray(w) for w in waves], axis=1)
    _fade_in(config, wave)
    return [wave[row, : n * config.mimi.frame_size] for row, n in enumerate(counts)]
