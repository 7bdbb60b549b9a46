"""The model inside the package: found by name, without a network, and in the default's stead.

The rules are tested with a tiny model in its place.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ptts_jax
from convert import flatten
from int8 import QTensor
from ptts_jax import bundled, speak
from ptts_jax.model import config, released
from ptts_jax.store import converted, safetensors
from tests.support import released_files, tiny_files
from tests.support.fakehub import closed_url

ROUNDED = re.compile(r"lm/backbone/layers/layer_\d+/(in_proj|out_proj|up|down)/w")


@pytest.fixture(scope="module")
def tiny(files) -> ptts_jax.TTS:
    return ptts_jax.load(files.yaml)


@pytest.fixture
def stand_in(tiny, tmp_path, monkeypatch) -> Path:
    """A tiny bundle in the package's place; nothing else can be had."""
    folder = tmp_path / "bundle"
    (folder / "voices").mkdir(parents=True)
    converted.save(folder / "model.safetensors", converted.of(tiny, name="bundled"), compact=True)
    for seed, name in enumerate(("kal", bundled.DEFAULT_VOICE)):
        tiny.voice(tiny_files.speech(seed + 1)).save(folder / "voices" / f"{name}.safetensors")
    monkeypatch.setattr(bundled, "FOLDER", folder)
    monkeypatch.setattr(config, "get", released_files.shrunk)
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)
    monkeypatch.setenv("HF_ENDPOINT", closed_url())
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return folder


def wave(name: str) -> np.ndarray:
    samples, _ = soundfile.read(name)
    assert samples.std() > 0.005
    return samples


def test_loads_by_name_with_its_voices(stand_in, tiny):
    tts = ptts_jax.load("bundled")
    assert tts.voices == (bundled.DEFAULT_VOICE, "kal")
    spoken = tts.generate("Hello.", seed=1)
    np.testing.assert_array_equal(spoken, tts.generate("Hello.", bundled.DEFAULT_VOICE, seed=1))
    assert not np.array_equal(spoken, tts.generate("Hello.", "kal", seed=1))
    with pytest.raises(ValueError, match="unknown voice 'kl'; did you mean kal"):
        tts.voice("kl")
    with pytest.raises(ValueError, match="'rms' is no longer here: take 'joe' instead"):
        tts.voice("rms")
    for name, leaf in flatten(tts.params).items():  # stored in fewer bits, used in all
        assert leaf.dtype == np.float32, name
        was = flatten(tiny.params)[name]
        eighths = ROUNDED.fullmatch(name)
        atol = np.abs(was).max(axis=-1, keepdims=True) / 127 / 2 if eighths else 1e-7
        assert np.all(np.abs(leaf - was) <= atol + 1e-3 * np.abs(was)), name


def test_int8_finds_the_bits_that_are_kept(stand_in):
    """What the file holds in 8 bits is what the quantised model multiplies with, and no other."""
    stored, _ = safetensors.read(stand_in / "model.safetensors")
    quantised = flatten(ptts_jax.load("bundled", int8=True).params)
    leaves = quantised.items()
    names = [name for name, leaf in leaves if isinstance(leaf, QTensor) and leaf.bits == 8]
    assert sorted(names) == sorted(filter(ROUNDED.fullmatch, quantised))
    for name in names:
        leaf = quantised[name]
        np.testing.assert_array_equal(leaf.qvalue, stored[f"params/{name}/qvalue"])
        np.testing.assert_allclose(leaf.scale, stored[f"params/{name}/scale"], rtol=1e-6)


def test_weights_too_large_for_16_bits_stay_whole(tiny, tmp_path):
    params = {**tiny.params, "lm": {**tiny.params["lm"], "bos": tiny.params["lm"]["bos"] + 1e5}}
    path = tmp_path / "m.safetensors"
    converted.save(path, converted.of(tiny, params=params), compact=True)
    stored = {name: x.dtype for name, x in safetensors.read(path)[0].items()}
    assert stored.pop("params/lm/bos") == np.float32 and stored.pop("tokenizer") == np.uint8
    for name, dtype in stored.items():
        leaf = name.removeprefix("params/")
        kept = ROUNDED.fullmatch(leaf.rpartition("/")[0])
        wanted = np.float16 if not kept else np.int8 if leaf.endswith("qvalue") else np.float32
        assert dtype == wanted, name
    read = converted.load(path).params
    np.testing.assert_array_equal(read["lm"]["bos"], params["lm"]["bos"])


def test_speaks_where_the_default_model_cannot_be_had(stand_in, capfd):
    assert speak.main(["speak", "--seed=1", "--output=a.wav", "Hello."]) == 0
    err = capfd.readouterr().err
    lines = [line for line in err.splitlines() if not line.startswith("compiling")]
    assert len(lines) == 2 and "; the bundled voice speaks instead" in err
    # A voice of the model that is missed is missed too; one of the user's own is not.
    soundfile.write("me.wav", tiny_files.speech(3), 24000)
    for number, voice in enumerate(("alba", "kal", "me.wav")):
        words = ["--seed=1", f"--voice={voice}", f"--output={number}.wav", "--quiet", "Hello."]
        assert speak.main(["speak", *words]) == 0
    quiet = capfd.readouterr().err.splitlines()  # another voice than was asked for is told to all
    assert len(quiet) == 3 and all(line.startswith("warning: cannot fetch") for line in quiet)
    waves = [wave(name) for name in ("a.wav", "0.wav", "1.wav", "2.wav")]
    np.testing.assert_array_equal(waves[0], waves[1])
    assert not np.array_equal(waves[0], waves[2]) and not np.array_equal(waves[2], waves[3])


@pytest.mark.parametrize(
    "words", [["--model=french_24l"], ["--export_voice=v.safetensors"]], ids=["another", "export"]
)
def test_stands_in_for_nothing_but_the_default_voice(stand_in, capfd, words):
    assert speak.main(["speak", *words, "Hello."]) == 1
    assert capfd.readouterr().err.startswith("error: cannot fetch hf://kyutai/")


def test_nothing_stands_in_where_that_is_refused(stand_in, capfd):
    assert speak.main(["speak", "--nofallback", "Hello."]) == 1
    err = capfd.readouterr().err
    assert err.startswith("error: cannot fetch hf://kyutai/") and err.count("\n") == 1


def test_a_package_without_it(stand_in, capfd):
    (stand_in / "model.safetensors").unlink()
    assert speak.main(["speak", "Hello."]) == 1
    assert "cannot fetch" in capfd.readouterr().err
    assert speak.main(["speak", "--model=bundled", "Hello."]) == 1
    assert "model.safetensors" in capfd.readouterr().err


def test_lists(stand_in, capfd):
    assert speak.main(["speak", "--list_models"]) == 0
    assert capfd.readouterr().out.split() == [*released.names(), "bundled"]
    assert speak.main(["speak", "--list_voices", "--model=bundled"]) == 0
    assert capfd.readouterr().out.split() == [bundled.DEFAULT_VOICE, "kal"]
