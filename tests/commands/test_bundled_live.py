"""What the trainers made is a model of the reference too: it loads it and says the same."""

from dataclasses import replace

import numpy as np
import pytest
from pocket_tts.models.tts_model import TTSModel

import ptts_jax
from convert.__main__ import main as convert
from ptts_jax import bundled
from ptts_jax.store import converted
from ptts_jax.train.codec.shapes import SMALL
from tests.support.codec_runs import random_params

TEXT = "Please open the window. It is very warm in here, and the garden is green."


@pytest.fixture(scope="module")
def ours():
    """The bundled language model with a codec that the reference knows: its own has a vocoder."""
    tts = ptts_jax.load("bundled")
    config = replace(tts.config, mimi=SMALL)
    codec = random_params(SMALL)
    params = {"lm": tts.params["lm"], "codec": {n: codec[n] for n in ("encoder", "decoder")}}
    return converted.of(tts, config=config, params=params)


@pytest.mark.parametrize("voice", bundled.voices() or ["none is bundled"])
def test_the_reference_says_the_same(voice, ours, tmp_path):
    here, there = tmp_path / "here.safetensors", tmp_path / "there.safetensors"
    converted.save(here, ours)
    assert convert(["convert", str(here), str(there), "--to_reference"]) == 0
    reference = TTSModel.load_model(config=str(there.with_suffix(".yaml")), temp=0.0)
    state = reference.get_state_for_audio_prompt(bundled.voice(voice))
    want = reference.generate_audio(state, TEXT).numpy()
    # Chunks as long as the reference's: it does not know that these tokens are letters.
    state = bundled.voice(voice)
    got = ptts_jax.load(here).generate(TEXT, state, temperature=0.0, max_tokens=50)
    assert got.shape == want.shape
    error = np.square(want - got).sum() / np.square(want).sum()
    assert 10 * np.log10(error) < -60


def test_its_codec_has_no_form_in_the_references_layout(tmp_path, capsys):
    there = tmp_path / "there.safetensors"
    assert convert(["convert", "bundled", str(there), "--to_reference"]) == 1
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert "error: bundled: its codec speaks by a vocoder, which the reference has not" in refusal
    assert not there.exists()
