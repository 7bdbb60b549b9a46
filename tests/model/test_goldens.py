"""The ladder against kept outputs of the reference (see make_goldens.py), without the reference."""

from pathlib import Path

import jax
import numpy as np
import pytest

from ptts_jax.engine import loops, voices
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.model import config, generate
from ptts_jax.model.codec import decoder_state
from tests.support import golden_weights
from tests.support.prompts import prompt_audio

FILES = sorted((Path(__file__).parents[1] / "goldens").glob("*.npz"))
TOKENS = [5, 17, 99, 23, 451, 8, 77, 300, 12, 61, 5]


def close(got, want):
    assert np.std(want) > 1e-3
    np.testing.assert_allclose(got, want, atol=1e-4 * float(np.abs(want).max()), rtol=0)


def test_there_are_goldens():
    assert len(FILES) >= 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_golden(file):
    want = np.load(file)
    c = config.parse(str(want["config"]), file.stem)
    params = jax.device_put(golden_weights.params(c))
    encoded = voices.encode(params, c, prompt_audio(0.5)) @ params["lm"]["speaker"]["w"].T
    close(encoded, want["encoded"])
    # The goldens' voice is the bare prompt, whether or not the model puts a BOS before it.
    voice = voices.from_embeddings(params, c, encoded)
    close(voice.k[-1], want["voice"][0, 0].swapaxes(0, 1))
    close(voice.v[-1], want["voice"][1, 0].swapaxes(0, 1))

    noise = np.random.default_rng(0).standard_normal(want["latents"].shape, np.float32)
    job = Job(TOKENS, 0, len(noise), sampling=Sampling(0.0, 1, None, np.inf))
    state = loops.start(params, c, loops.opened(params, c, [voice], [job]), [job])
    state, frames = generate.scan_steps(params, c, state, noise[:, None])
    close(frames.latent[:, 0], want["latents"])
    close(frames.eos_logit[:, 0], want["logits"])
    _, wave = generate.decode(params, c, decoder_state(c.mimi, 1), frames.latent[None, :3, 0])
    close(wave[0], want["wave"])
