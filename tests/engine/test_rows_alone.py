"""A row's audio does not depend on who is beside it: a batch gives the samples of one by one."""

import dataclasses
import threading

import numpy as np
import pytest

from ptts_jax.engine import stream
from ptts_jax.engine.parts import Part
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.engine.speech import Utterance
from ptts_jax.engine.voices import Voice
from ptts_jax.store import quantization
from tests.support import tiny_files

C = dataclasses.replace(tiny_files.CONFIG, default_temperature=0.5)


def _voice(length: int) -> Voice:
    t = C.flow_lm.transformer
    rng = np.random.default_rng(length)
    shape = t.num_layers, t.kv_heads, length, t.head_dim
    return Voice(*(tuple(rng.standard_normal(shape, np.float32)) for _ in range(2)))


def _job(length: int) -> Job:
    tokens = np.random.default_rng(length).integers(300, 600, length).tolist()
    return Job(tokens, 2, 40, 0, length, Sampling(temperature=0.5))


@pytest.mark.parametrize("rows", [2, 5, 8])
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_a_batch_is_the_same_audio_as_one_by_one(kind, rows):
    """With voices and texts of different lengths: in int8 to the last bit, in float to 100 dB.

    The products of a row have one order of sums. What XLA itself computes between them, it rounds
    by the shape (seen with jax 0.12, not with 0.10), and int8 rounds that away.
    """
    params = tiny_files.params(C)
    if kind == "int8":
        params = quantization.quantize(params, quantization.parse("all"))
    voices, jobs = [_voice(9 + 7 * i) for i in range(rows)], [_job(4 + 5 * i) for i in range(rows)]
    together = stream.batch([params], C, voices, jobs, threading.Event())
    for voice, job, wave in zip(voices, jobs, together, strict=True):
        said = Utterance([Part([job], voice)])
        alone = np.concatenate(list(stream.stream([params], C, said, threading.Event())))
        if kind == "int8":
            np.testing.assert_array_equal(wave, alone)
        else:
            assert wave.shape == alone.shape
            error = np.square(wave - alone).sum(dtype=np.float64)
            assert error <= 1e-10 * np.square(alone).sum(dtype=np.float64)
