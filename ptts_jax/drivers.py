"""Host-side loops over the jitted step: prefill in blocks, frame by frame, a batch of ragged rows.

All of them give the same frames for the same (seed, text chunk, frame): noise is keyed by those
three and nothing else. Knows arrays and token ids; no text, files or voices' names.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptts_jax import generate, lm
from ptts_jax.attention import KVCache, bucket
from ptts_jax.codec import CodecState
from ptts_jax.config import Config
from ptts_jax.voices import Voice, WarmCaches, open_cache

Params = dict[str, Any]

# Few shapes to compile, and few slots wasted: most sentences have 16 to 24 tokens. One pass of 64
# costs as much as two of 16 where reading the weights is what takes its time.
PREFILL_BLOCKS = (64, 48, 32, 24, 16)
SCAN_FRAMES = 16  # frames per call of the scanning drivers
# Streaming: so many frames one by one, since they are waited for; then several per call, since a
# call costs time of its own. Frames behind the last of a text are made in vain.
SINGLES = 8
SEVERAL = 4
BLOCK = 8  # frames that are decoded at once, where there are as many: they cost half as much


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


def draws(
    config: Config, sampling: Sampling, jobs: Sequence[Job], frames: Sequence[int]
) -> np.ndarray:
    """The noise of some frames of every row [N, B, D]."""
    size = config.mimi.latent_dim
    return np.stack([[noise(sampling, job, frame, size) for job in jobs] for frame in frames])


def slots_for(voices: Sequence[Voice], jobs: Sequence[Job]) -> int:
    """Cache slots that hold any of the jobs."""
    need = max(v.length for v in voices) + PREFILL_BLOCKS[-1] + SCAN_FRAMES
    need += max(len(j.tokens) for j in jobs) + max(j.limit for j in jobs)
    return bucket(need)


def start(
    params: Params, config: Config, cache: KVCache, jobs: Sequence[Job], sampling: Sampling
) -> generate.GenState:
    """A state that has read the rows' texts; `cache` holds their voices."""
    state = _begin(params, config, cache, jobs, sampling)
    lengths = np.array([len(j.tokens) for j in jobs])
    for at, size in prefill_blocks(int(lengths.max())):
        state = generate.prefill_text(params, config, state, *_block(jobs, at, size))
    return state


def _begin(
    params: Params, config: Config, cache: KVCache, jobs: Sequence[Job], sampling: Sampling
) -> generate.GenState:
    return generate.begin(
        params,
        config,
        sampling.steps,
        cache,
        np.array([j.tail for j in jobs], np.int32),
        np.array([j.limit for j in jobs], np.int32),
        np.float32(sampling.eos_threshold),
    )


def _block(jobs: Sequence[Job], at: int, size: int) -> tuple[np.ndarray, np.ndarray]:
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
    kept = lm.cache_type(params["lm"])
    for number, job in enumerate(jobs):
        singles = max(1, SINGLES if number == 0 else 0)
        state = _begin(params, config, warm.take(voice, slots, kept), [job], sampling)
        try:
            *blocks, last = prefill_blocks(len(job.tokens) + 1)
            for block in blocks:
                state = generate.prefill_text(params, config, state, *_block([job], *block))
            at = 0
            while at < job.limit and not stop.is_set():
                count = 1 if at < singles else SEVERAL
                drawn = draws(config, sampling, [job], range(at, at + count))
                if at == 0:
                    state, out = generate.first(
                        params, config, state, *_block([job], *last), drawn[0]
                    )
                else:
                    room = np.resize(drawn, (SEVERAL, *drawn.shape[1:]))  # the rest is not read
                    state, out = generate.several(params, config, state, room, np.int32(count))
                at += count
                meant = int(np.sum(out.valid))
                for latent in np.asarray(out.latent).reshape(-1, drawn.shape[-1])[:meant]:
                    yield number, latent
                if meant < count:
                    break
        finally:
            warm.give(voice, state.cache)
        if stop.is_set():
            return


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
    cache = open_cache(voices, slots_for(voices, jobs), lm.cache_type(params["lm"]))
    state = start(params, config, cache, jobs, sampling)
    decoders: list[CodecState | None] = [None] * len(jobs)
    waves: list[list[np.ndarray]] = [[] for _ in jobs]
    counts = np.zeros(len(jobs), int)

    def decode(row: int, latents: np.ndarray) -> None:
        if not stop.is_set():
            state = decoders[row] or _decoder(config, latents)
            decoders[row], wave = generate.decode(params, config, state, latents)
            waves[row].append(np.asarray(wave))

    # Decoded in a thread of its own: what one thread asks XLA for runs in turn.
    with _beside("ptts-decoder") as submit:
        for at in range(0, max(j.limit for j in jobs), SCAN_FRAMES):
            if stop.is_set():
                break
            drawn = draws(config, sampling, jobs, range(at, at + SCAN_FRAMES))
            state, out = generate.scan_steps(params, config, state, drawn)
            valid = np.asarray(out.valid).sum(axis=0)  # [B]
            block = np.asarray(out.latent).swapaxes(0, 1)  # [B, N, D]
            # Row by row: a block of one row fits the second-level cache, and a row that has ended
            # costs nothing.
            for row, meant in enumerate(valid):
                for first in range(0, meant, BLOCK):
                    submit(decode, row, block[row : row + 1, first : first + BLOCK])
            counts += valid
            if valid.max() < SCAN_FRAMES:
                break
    return [
        _whole(config, parts, n * config.mimi.frame_size)
        for parts, n in zip(waves, counts, strict=True)
    ]


@contextlib.contextmanager
def _beside(name: str) -> Iterator[Callable[..., None]]:
    """What is submitted runs in another thread, in that order, to its end before the block's; after
    an error, in the block or there, nothing more of it begins."""
    parts: list[Future] = []
    with ThreadPoolExecutor(1, name) as pool:
        try:
            yield lambda *call: parts.append(pool.submit(*call))
            for part in parts:
                part.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _whole(config: Config, parts: Sequence[np.ndarray], samples: int) -> np.ndarray:
    """An utterance from its decoded blocks [1, T]."""
    if not parts:
        return np.zeros(0, np.float32)
    wave = np.concatenate(parts, axis=1)
    _fade_in(config, wave)
    return wave[0, :samples]
