"""Phonon's own runtime beside ours: of the same checkpoint both make the same samples."""

import dataclasses

import numpy as np
import pytest

import ptts_jax
from convert.__main__ import main
from tests.support import phonon_files

ptts = pytest.importorskip("ptts", reason="of the extra oracle")

SENTENCE = "Hello there, it is good to hear you."
NEVER = 1e9  # a threshold that no EOS logit passes
FADE = 24000 // 200  # samples that ours fades in


def both(
    folder, quant: str, text: str, conditions: dict[str, str | float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What they and what we make of a checkpoint, without noise, until the limit."""
    plain = {"lang": None, "voice": "anna", "temperature": 0.0, "eos_threshold": NEVER}
    their = ptts.TTS(str(folder), quant=quant, conditions=conditions, **plain).synth(text)
    given = [f"--condition={name}={value}" for name, value in (conditions or {}).items()]
    assert main(["convert", *given, str(folder), str(folder.with_suffix(".safetensors"))]) == 0
    tts = ptts_jax.load(folder.with_suffix(".safetensors"))
    voice = tts.voice(folder.with_name(f"{folder.name}-voices") / "anna.safetensors")
    own = tts.generate(text, voice, temperature=0.0, eos_threshold=NEVER)
    assert own.shape == their.shape
    return their[FADE:], own[FADE:]


def with_context(steps: int):
    c = phonon_files.CONFIG
    transformer = dataclasses.replace(c.mimi.transformer, context=steps)
    return dataclasses.replace(c, mimi=dataclasses.replace(c.mimi, transformer=transformer))


@pytest.mark.parametrize("text", [SENTENCE, "Hello."])
def test_the_same_checkpoint_gives_the_same_samples(tmp_path, text):
    """Within a window that no utterance here leaves; that of their decoder is a frame longer."""
    folder = phonon_files.write(tmp_path / "wide", with_context(3000))
    their, own = both(folder, "f32", text)
    assert np.abs(own - their).max() < 1e-5 < np.abs(their).max()


def test_with_the_window_of_the_config_only_its_edge_differs(tmp_path):
    folder = phonon_files.write(tmp_path / "narrow")
    their, own = both(folder, "f32", SENTENCE)
    alike = phonon_files.CONFIG.mimi.transformer.context * 120 - FADE  # samples of so many steps
    assert np.abs(own - their)[:alike].max() < 1e-5 < np.abs(own - their).max()


def test_conditions_do_what_theirs_do(tmp_path):
    folder = phonon_files.write(tmp_path / "moody", with_context(3000), conditioned=True)
    chosen = {"pace": -0.3, "mood": "glad"}
    their, own = both(folder, "f32", SENTENCE, chosen)
    assert np.abs(own - their).max() < 1e-5 < np.abs(their).max()


def test_a_condition_without_a_value_is_refused_by_both(tmp_path):
    folder = phonon_files.write(tmp_path / "moody", conditioned=True)
    with pytest.raises(RuntimeError, match='"mood" has no default'):
        ptts.TTS(str(folder), quant="f32", lang=None, conditions={"pace": 0.0}).synth("Hello.")
    out = folder.with_suffix(".safetensors")
    assert main(["convert", "--condition=pace=0.0", str(folder), str(out)]) == 1


def test_an_8_bit_file_is_the_same_model(tmp_path):
    """Their products round activations to 8 bits too, ours of these weights do not."""
    folder = phonon_files.write(tmp_path / "small", with_context(3000), quantized=True)
    their, own = both(folder, "q8_0", SENTENCE)
    assert np.corrcoef(own, their)[0, 1] > 0.99
