"""What the trainers made is a model of the reference too: it loads it and says the same."""

import numpy as np
import pytest
from pocket_tts.models.tts_model import TTSModel

import ptts_jax
from convert.__main__ import main as convert
from ptts_jax import bundled

TEXT = "Please open the window. It is very warm in here, and the garden is green."


@pytest.mark.parametrize("voice", bundled.voices() or ["none is bundled"])
def test_the_reference_says_the_same(voice, tmp_path):
    there = tmp_path / "there.safetensors"
    assert convert(["convert", "bundled", str(there), "--to_reference"]) == 0
    reference = TTSModel.load_model(config=str(there.with_suffix(".yaml")), temp=0.0)
    state = reference.get_state_for_audio_prompt(bundled.voice(voice))
    want = reference.generate_audio(state, TEXT).numpy()
    # Chunks as long as the reference's: it does not know that these tokens are letters.
    got = ptts_jax.load("bundled").generate(TEXT, voice, temperature=0.0, max_tokens=50)
    assert got.shape == want.shape
    error = np.square(want - got).sum() / np.square(want).sum()
    assert 10 * np.log10(error) < -60
