"""What tests of the facade look at."""

import threading

import numpy as np

import ptts_jax
from ptts_jax.engine.request import Job, Options, jobs


def jobs_of(tts: ptts_jax.TTS, line: str, **options: int) -> list[Job]:
    return jobs(line, tts.tokenizer, tts.config, Options.of(options))


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape and a.std() > 0.01
    np.testing.assert_allclose(a, b, atol=1e-4)


def workers() -> list[threading.Thread]:
    """The threads of language models that are at work."""
    return [t for t in threading.enumerate() if t.name == "ptts-lm"]
