"""Host-side loops over the jitted step: prefill in blocks, a scanned batch of ragged rows.

All of them give the same frames for the same (seed, text chunk, frame): noise is keyed by those
three and nothing else. Knows arrays and token ids; no text, files or voices' names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from ptts_jax.engine.caches import Caches
from ptts_jax.engine.request import Job, noise
from ptts_jax.engine.voices import Voice
from ptts_jax.model import generate
from ptts_jax.model.caches import shapes
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Cache, Shape
from ptts_jax.model.caches.watched import Head, Watched
from ptts_jax.model.codec_state import CodecState
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params
from ptts_jax.text import longest_chunk

# Few shapes to compile, and few slots wasted: most sentences have 16 to 24 tokens. One pass of 64
# costs as much as two of 16 where reading the weights is what takes its time.
PREFILL_BLOCKS = (64, 48, 32, 24, 16)
SCAN_FRAMES = 16  # frames per call of the scan


class Latent(NamedTuple):
    """A frame."""

    latent: np.ndarray  # [D]
    seen: np.ndarray | None  # [H, N] what the watched heads see of the text, as logits


def draws(config: Config, jobs: Sequence[Job], frames: Sequence[int]) -> np.ndarray:
    """The noise of some frames of every row [N, B, D]."""
    size = config.mimi.latent_dim
    return np.stack([[noise(job, frame, size) for job in jobs] for frame in frames])


def shape_for(
    params: Params, config: Config, kind: Any, voices: Sequence[Voice], jobs: Sequence[Job]
) -> Shape:
    """The shape of a cache with a row for each voice, any of which holds any of the jobs."""
    fixed = max(voice.length for voice in voices) + max(len(job.tokens) for job in jobs)
    slots = kind.slots_for(fixed, max(job.limit for job in jobs))
    return shapes.cache_shape(params["lm"], config.flow_lm, len(voices), slots)


def opened(
    params: Params,
    config: Config,
    voices: Sequence[Voice],
    jobs: Sequence[Job],
    kind: Any = FullCache,
) -> Cache:
    """A cache whose rows begin with the voices and hold any of the jobs."""
    return kind.from_voices(shape_for(params, config, kind, voices, jobs), voices)


def watch(config: Config, cache: Cache, heads: tuple[Head, ...], jobs: Sequence[Job]) -> Cache:
    """The cache; if there are heads to watch, with their attention to texts like the jobs'."""
    if not heads:
        return cache
    longest = max(longest_chunk(config), *(len(job.tokens) for job in jobs))
    return Watched.around(cache, heads, longest, config.flow_lm.transformer.head_dim)


def start(params: Params, config: Config, cache: Cache, jobs: Sequence[Job]) -> generate.GenState:
    """A state that has read the rows' texts; `cache` holds their voices."""
    state = begin(params, config, cache, jobs)
    lengths = np.array([len(j.tokens) for j in jobs])
    for at, size in prefill_blocks(int(lengths.max())):
        state = generate.prefill_text(params, config, state, *block(jobs, at, size))
    return state


def begin(
    params: Params,
    config: Config,
    cache: Cache,
    jobs: Sequence[Job],
    weights: Sequence[float] | None = None,
) -> generate.GenState:
    """A state that has read nothing. With `weights` its rows are one voice."""
    if len({job.sampling.steps for job in jobs}) > 1:
        raise ValueError("rows side by side take the same number of sampling steps")
    state = generate.begin(
        params,
        config,
        jobs[0].sampling.steps,
        cache,
        np.array([job.tail for job in jobs], np.int32),
        np.array([job.limit for job in jobs], np.int32),
        np.array([job.sampling.eos_threshold for job in jobs], np.float32),
    )
    return state if weights is None else state.replace(mix=np.array(weights, np.float32))


def prefill(
    params: Params, config: Config, cache: Cache, job: Job
) -> tuple[generate.GenState, generate.Frame]:
    """A row that has read its text, and its first frame; `cache` holds its voice."""
    state = begin(params, config, cache, [job])
    *blocks, last = prefill_blocks(len(job.tokens) + 1)
    for part in blocks:
        state = generate.prefill_text(params, config, state, *block([job], *part))
    return generate.first(params, config, state, *block([job], *last), draws(config, [job], [0])[0])


def block(jobs: Sequence[Job], at: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows' tokens [B, size] from `at` on, and how many of them are meant [B]."""
    tokens, count = np.zeros((len(jobs), size), np.int32), np.zeros(len(jobs), np.int32)
    for row, job in enumerate(jobs):
        part = job.tokens[at : at + size]
        tokens[row, : len(part)], count[row] = part, len(part)
    return tokens, count


def prefill_blocks(length: int) -> Iterator[tuple[int, int]]:
    """(start, size) of the blocks that cover a length: large ones, then the least that will do."""
    for at in range(0, length, PREFILL_BLOCKS[0]):
        rest = min(length - at, PREFILL_BLOCKS[0])
        yield at, min(size for size in PREFILL_BLOCKS if size >= rest)


def side_by_side(
    params: Params,
    config: Config,
    voices: Sequence[Voice],
    jobs: Sequence[Job],
    caches: Caches | None = None,
) -> Iterator[tuple[generate.GenState, generate.Frame]]:
    """All jobs at once, each in its own voice: blocks of frames [N, B, ...] until all rows have
    ended, and the states behind them, which are good until the next block is asked for."""
    caches = caches or Caches()
    shape = shape_for(params, config, caches.kind, voices, jobs)
    alike = all(voice is voices[0] for voice in voices)
    shape = replace(shape, shared=voices[0].length if alike else 0)
    state = empty(params, config, caches, shape, jobs[0].sampling.steps)
    shape, firsts = replace(shape, batch=1, shared=0), []
    for slot, (voice, job) in enumerate(zip(voices, jobs, strict=True)):
        row, frame = prefill(params, config, caches.take(shape, voice), job)
        state = generate.insert(state, row, np.int32(slot))
        caches.give(shape, voice, row.cache)
        firsts.append(frame)
    out = jax.tree.map(lambda *rows: np.stack(rows, axis=1), *firsts)
    yield state, out
    for at in range(1, max(job.limit for job in jobs), SCAN_FRAMES):
        if not out.valid[-1].any():
            return
        drawn = draws(config, jobs, range(at, at + SCAN_FRAMES))
        state, out = generate.scan_steps(params, config, state, drawn)
        out = jax.tree.map(np.asarray, out)
        yield state, out


def empty(
    params: Params, config: Config, caches: Caches, shape: Shape, steps: int
) -> generate.GenState:
    """Rows in which nobody speaks yet, for `generate.insert`."""
    cache, zero = caches.kind.init(shape), np.zeros(shape.batch, np.int32)
    return generate.begin(params, config, steps, cache, zero, zero, zero.astype(np.float32))


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
