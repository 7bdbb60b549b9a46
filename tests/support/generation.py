"""Utterances of a tiny model, and the frames that they must give."""

import dataclasses

import numpy as np

from ptts_jax.engine import loops
from ptts_jax.engine.caches import Caches
from ptts_jax.engine.parts import Part
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.engine.rows import Chunk, Rows
from ptts_jax.engine.speech import Utterance
from ptts_jax.engine.voices import Voice
from ptts_jax.model import generate, lm
from ptts_jax.model.caches.full import FullCache
from tests.support import tiny_files

# Its own config, so that what is compiled for it is compiled in the files that use it.
C = dataclasses.replace(tiny_files.CONFIG, default_temperature=0.4)
PARAMS = tiny_files.params(C)
NOISY = Sampling(temperature=0.4)


def voice(length: int, seed: int = 0) -> Voice:
    t = C.flow_lm.transformer
    rng = np.random.default_rng(seed)

    def layers() -> tuple[np.ndarray, ...]:
        shape = (t.num_layers, t.kv_heads, length, t.head_dim)
        return tuple(rng.standard_normal(shape, np.float32))

    return Voice(layers(), layers())


def job(length: int, seed: int, limit: int = 60, tail: int = 2, index: int = 0) -> Job:
    rng = np.random.default_rng([length, seed])
    return Job(rng.integers(300, 600, length).tolist(), tail, limit, index, seed, NOISY)


VOICES = (voice(9), voice(30, seed=1), voice(1, seed=2), voice(17, seed=3))
JOBS = (job(5, 1), job(40, 2), job(23, 2, index=3), job(70, 5, limit=9))


def said(jobs: list[Job], v: Voice) -> Utterance:
    return Utterance([Part(jobs, v)])


def voiced(rows: list[int], slots: int = 256) -> FullCache:
    """A cache whose rows begin with their voices."""
    shape = lm.cache_shape(PARAMS["lm"], C.flow_lm, len(rows), slots)
    return FullCache.from_voices(shape, [VOICES[i] for i in rows])


def opened(rows: list[int], slots: int = 256) -> generate.GenState:
    return loops.start(PARAMS, C, voiced(rows, slots), [JOBS[i] for i in rows])


def noise(rows: list[int], frames: int) -> np.ndarray:
    """[N, B, D]"""
    size = C.mimi.latent_dim
    return np.array([[loops.noise(JOBS[i], f, size) for i in rows] for f in range(frames)])


def scanned(state: generate.GenState, draws: np.ndarray) -> generate.Frame:
    return generate.scan_steps(PARAMS, C, state, draws)[1]


def history(state: generate.GenState, row: int = 0) -> list[np.ndarray]:
    """Keys and values of a row by position: 2 per layer, [H, T, D]."""
    k, v = state.cache.entries(row)
    return [*k, *v]


def alike(a: list[np.ndarray], b: list[np.ndarray], tol: float = 1e-5) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, atol=tol, rtol=0)


def spoken(v: Voice, j: Job) -> list[np.ndarray]:
    """Latents [D] of a row of its own."""
    frames = Rows([PARAMS], C, Caches(), [j]).whole(Chunk(j, v))
    return [frame.latent for frame in frames]
