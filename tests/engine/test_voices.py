"""Voices from anything: names, files, samples, and what is none."""

import dataclasses

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax.engine.voices import Voice
from tests.support import tiny_files
from tests.support.compilations import compilations
from tests.support.facade import same

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def equal(a: Voice, b: Voice, tol: float = 0.0) -> bool:
    layers = zip((*a.k, *a.v), (*b.k, *b.v), strict=True)
    return a.length == b.length and all(np.allclose(x, y, atol=tol) for x, y in layers)


def test_a_voice_from_anything(tts, folder):
    wave = tiny_files.speech(1.3)
    path = folder / "me.wav"
    soundfile.write(path, wave, 24000, subtype="FLOAT")
    want = tts.voice(wave)
    assert want.length == 1 + 18  # the voice BOS; 1.3 s and a pause in frames of 80 ms
    assert equal(tts.voice(path), want)
    assert equal(tts.voice(str(path)), want)
    assert tts.voice(want) is want
    assert tts.voice(path) is tts.voice(str(path))  # not made again
    assert equal(tts.voice(np.stack([wave, wave])), want, 1e-5)  # channels
    assert equal(tts.voice(np.round(wave * 32767).astype(np.int16)), want, 0.05)
    assert equal(tts.voice(wave.tolist()), want)
    assert tts.voice(path, truncate=0.5).length == 1 + 8
    assert tts.voice(path).length == want.length


def test_cloning_another_voice_compiles_nothing(tts):
    tts.voice(tiny_files.speech(1, seed=8))
    with compilations() as found:
        assert tts.voice(tiny_files.speech(2.2, seed=9)).length == 30
    assert not found


def test_a_recording_that_was_made_anew(tts, folder):
    path = folder / "again.wav"
    for seconds in (1.0, 2.0):
        soundfile.write(path, tiny_files.speech(seconds), 24000)
        assert equal(tts.voice(path), tts.voice(soundfile.read(path, dtype="float32")[0]))


def test_saving_a_voice(tts, voices, folder):
    path = folder / "kept.safetensors"
    voices[0].save(path)
    for source in (path, str(path), tts.voice(path)):
        assert equal(tts.voice(source), voices[0])
    same(tts.generate("Hi.", path, seed=1), tts.generate("Hi.", voices[0], seed=1))
    with pytest.raises(ValueError, match="cannot be written"):
        voices[0].save(folder / "nowhere" / "kept.safetensors")
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_voice_of_another_model(tts, files, folder):
    wide = dataclasses.replace(tiny_files.CONFIG.flow_lm.transformer, num_layers=3)
    flow_lm = dataclasses.replace(tiny_files.CONFIG.flow_lm, transformer=wide)
    c = dataclasses.replace(tiny_files.CONFIG, flow_lm=flow_lm)
    other = ptts_jax.TTS("other", c, tiny_files.params(c), tts.tokenizer, True)
    rng = np.random.default_rng(0)
    layers = tuple(rng.standard_normal((3, 4, 5, 8), np.float32))
    foreign = Voice(layers, layers)
    assert other.voice(foreign) is foreign
    with pytest.raises(ValueError, match="made with another model .*3 layers of 4 heads"):
        tts.generate("Hello.", foreign)
    foreign.save(folder / "foreign.safetensors")
    with pytest.raises(ValueError, match="not a voice for this model.*more than 2 layers"):
        tts.voice(folder / "foreign.safetensors")


def test_audio_that_is_no_voice(tts, folder):
    wave = tiny_files.speech(1)
    soundfile.write(folder / "short.wav", wave[:240], 24000)
    soundfile.write(folder / "empty.wav", wave[:0], 24000)
    soundfile.write(folder / "nan.wav", wave * np.nan, 24000, subtype="FLOAT")
    (folder / "cut.wav").write_bytes((folder / "short.wav").read_bytes()[:20])
    (folder / "text.wav").write_text("not audio")
    for source, problem in {
        folder / "short.wav": "only 0.01 s of sound",
        folder / "empty.wav": "no audio",
        folder / "nan.wav": "NaN",
        folder / "cut.wav": "not readable as audio",
        folder / "text.wav": "not readable as audio",
        folder / "none.wav": "no such file",
        folder: "folder",
        "": "no name",
        "nobody": "no such file",
    }.items():
        with pytest.raises(ValueError, match=problem) as caught:
            tts.voice(source)
        assert str(source) in str(caught.value) and "\n" not in str(caught.value)
    for samples, problem in (
        (wave[:240], "only 0.01 s"),
        (wave * np.nan, "NaN"),
        (wave * 0, "silent"),
        (wave[:0], "no audio"),
        (np.zeros((2, 3, 4)), r"must be an array of samples"),
        (5, "must be an array of samples"),
        ((wave, 24000), "not tuple"),
    ):
        with pytest.raises(ValueError, match=problem):
            tts.voice(samples)
    with pytest.raises(ValueError, match="truncate 0"):
        tts.voice(wave, truncate=0)


@pytest.fixture(scope="module")
def public(tts) -> ptts_jax.TTS:
    """As loaded by a released name from the weights for everyone."""
    return ptts_jax.TTS("english", tts.config, tts.params, tts.tokenizer, False)


def test_public_weights_clone_no_voice(files, folder, monkeypatch):
    """Told by the zeros of the encoder, whatever name the file was found under."""
    monkeypatch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
    weights = folder / "public.safetensors"
    tiny_files.write_weights(weights, tiny_files.params(), public=True)
    described = folder / "public.yaml"
    described.write_text(tiny_files.described(tiny_files.CONFIG, weights, files.tokenizer))
    for _ in range(2):  # converted, and from the cache
        tts = ptts_jax.load(described)
        assert not tts.voice_cloning
        with pytest.raises(ValueError, match="cannot clone a voice.*ready voice.*hf auth login"):
            tts.voice(tiny_files.speech(1))
    wave = folder / "cloned.wav"
    soundfile.write(wave, tiny_files.speech(1), 24000)
    with pytest.raises(ValueError, match="cannot clone"):
        tts.generate("Hello.", wave)


def test_ready_voices_by_name(public, tts):
    assert "alba" in public.voices and len(public.voices) == 27
    assert tts.voices == ()
    with pytest.raises(ValueError, match="unknown voice 'albaa'; did you mean alba"):
        public.voice("albaa")
    with pytest.raises(ValueError, match="'alba' belongs to the released models"):
        tts.voice("alba")
