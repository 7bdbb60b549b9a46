"""Phonon's checkpoints: names, configs, 8-bit files, voices, and what is refused."""

import json
import re
import struct

import numpy as np
import pytest

import ptts_jax
from convert import flatten, gguf, phonon, to_reference
from convert.__main__ import main
from ptts_jax.engine import voices
from tests.support import phonon_files, tiny_files


def run(*arguments) -> int:
    return main(["convert", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkpoint, and the file that was made of it."""
    folder = phonon_files.write(tmp_path_factory.mktemp("phonon") / "tiny")
    assert run(folder, folder.parent / "out.safetensors") == 0
    return folder, folder.parent / "out.safetensors"


def test_a_checkpoint_becomes_a_model_with_the_same_weights(made):
    tts = ptts_jax.load(made[1])
    own, wanted = flatten(tts.params), flatten(tiny_files.params(phonon_files.CONFIG))
    assert own.keys() == wanted.keys()
    assert all(np.array_equal(own[name], np.float32(wanted[name])) for name in wanted)
    assert tts.voice_cloning and tts.name == "tiny"
    c, source = tts.config, phonon_files.CONFIG
    assert c.flow_lm.transformer.ffn_dim == source.flow_lm.transformer.ffn_dim
    assert c.mimi == source.mimi
    assert c.default_eos_threshold == source.default_eos_threshold


def test_its_voices_become_states(made):
    tts = ptts_jax.load(made[1])
    voice = tts.voice(made[1].with_name("out-voices") / "anna.safetensors")
    wanted = voices.from_embeddings(tts.params, tts.config, phonon_files.prompt()[None])
    assert voice.length == 40
    assert all(np.array_equal(a, b) for a, b in zip(voice.k, wanted.k, strict=True))
    assert tts.generate("Hello.", voice, seed=0).size > 0


def test_an_8_bit_file_without_an_encoder_speaks_and_clones_nobody(tmp_path, capsys):
    folder = phonon_files.write(tmp_path / "small", quantized=True)
    assert run(folder, tmp_path / "small.safetensors") == 0
    assert "clones none" in capsys.readouterr().err
    tts = ptts_jax.load(tmp_path / "small.safetensors")
    assert not tts.voice_cloning
    names = "lm/backbone/layers/layer_0/up/w", "lm/input/w"
    source = flatten(tiny_files.params(phonon_files.CONFIG))
    rounded, exact = (np.asarray(flatten(tts.params)[name]) for name in names)
    scale, values = phonon_files.quantize(np.asarray(source[names[0]]))
    wanted = (values * scale.astype(np.float32)[:, None]).reshape(rounded.shape)
    assert np.array_equal(rounded, wanted) and np.array_equal(exact, source[names[1]])


def test_tensors_of_training_are_left_out():
    x = np.zeros(1, np.float32)
    there = {"flow_lm.flow.w_s_t.a": x, "mimi.model.quantizer.vq.b": x, "flow_lm.backbone.c": x}
    there |= {"flow_lm.condition_provider.conditioners.speaker_wavs.learnt_padding": x}
    assert phonon.tensors(there).keys() == {"flow_lm.transformer.c"}


def test_a_projected_text_table_is_one_of_low_rank():
    table = {"flow_lm.condition_provider.conditioners.transcript_in_segment.output_proj.weight": 0}
    config = json.loads(json.dumps(_config() | {"flow_lm": _config()["flow_lm"] | {"lut_dim": 8}}))
    described = phonon.describe(config, phonon.tensors(table), "t.json")
    assert described["flow_lm"]["lookup_table"]["rank"] == 8
    assert "rank" not in phonon.describe(_config(), {}, "t.json")["flow_lm"]["lookup_table"]


def _config() -> dict:
    from ptts_jax.bench.peers import ptts

    return ptts.describe(phonon_files.CONFIG)


def test_without_a_fuser_conditions_are_added():
    config = _config() | {"conditioners": phonon_files.CONDITIONERS}
    del config["fuser"]
    assert phonon.describe(config, {}, "t.json")["flow_lm"]["input_bias"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"conditioners": [{"name": "a", "type": "tensor"}]},
            "a conditioner of the type tensor",
        ),
        ({"prefix_sinks": {"count": 1}, "voices": [1]}, "prefix_sinks, voices"),
        ({"lsd_decode_steps": 4}, "lsd_decode_steps 4"),
        ({"flow_lm": {"time_rms_norm": "rms"}}, "not the config of a Phonon checkpoint"),
        (
            {"conditioners": phonon_files.CONDITIONERS, "fuser": {"sum": ["pace"]}},
            "the condition mood outside of the fuser's sum",
        ),
        ({"mimi": None}, "not the config of a Phonon checkpoint"),
    ],
)
def test_what_the_model_has_not_is_refused_in_a_line(tmp_path, capsys, changes, said):
    folder = phonon_files.write(tmp_path / "a", **changes)
    assert run(folder, tmp_path / "out.safetensors") == 1
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert shown.startswith(f"error: {folder / 'config.json'}: ") and said in shown
    assert not (tmp_path / "out.safetensors").exists()


def test_another_norm_of_times_is_refused():
    config = _config()
    config["flow_lm"]["time_rms_norm"] = "rms"
    with pytest.raises(ValueError, match="time_rms_norm rms"):
        phonon.describe(config, {}, "t.json")


def test_a_folder_that_is_no_checkpoint_is_refused_in_a_line(tmp_path, capsys):
    assert run(tmp_path, tmp_path / "out.safetensors") == 1
    assert "not a Phonon checkpoint, which has config.json" in capsys.readouterr().err


def test_a_voice_of_another_model_is_none():
    x = np.zeros((3, 8), np.float32)
    assert phonon.prompt({"emb": x}, 8).shape == (1, 3, 8)
    assert phonon.prompt({"audio_prompt": x[None]}, 8).shape == (1, 3, 8)
    assert phonon.prompt({"emb": x}, 16) is None
    assert phonon.prompt({"a": x, "b": x}, 8) is None


# Conditions.


def test_conditions_are_a_bias_of_the_latents(tmp_path, capsys):
    folder = phonon_files.write(tmp_path / "a", conditioned=True)
    out = tmp_path / "out.safetensors"
    assert run(folder, out, "--condition=pace=-0.3", "--condition=mood=glad") == 0
    assert "conditions: pace=-0.3, mood=glad" in capsys.readouterr().err
    tts = ptts_jax.load(out)
    waves = -0.3 * 2.0 / 10_000 ** (np.arange(4) / 3)
    pace, mood = (phonon_files.condition(name) for name in ("pace", "mood"))
    wanted = pace["output_proj.weight"] @ np.concatenate([np.cos(waves), np.sin(waves)])
    wanted = wanted + mood["output_proj.weight"] @ mood["embed.weight"][1]
    assert np.allclose(tts.params["lm"]["input"]["b"], wanted, atol=1e-5)
    assert run(out, tmp_path / "back.safetensors", "--to_reference") == 1
    assert "it has a condition" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["pace=0", "mood=angry"], "mood=angry: give one of 0.0, glad, sad"),
        (["pace=fast"], "pace=fast: give a number"),
        (["pace=nan"], "pace=nan: give a number"),
        (["pace=0"], "needs a value of mood: give --condition=mood=VALUE"),
        (["tone=1"], "no condition 'tone' .there is pace, mood."),
    ],
)
def test_a_condition_that_cannot_be_is_refused_in_a_line(tmp_path, capsys, given, said):
    folder = phonon_files.write(tmp_path / "a", conditioned=True)
    assert run(folder, tmp_path / "out.safetensors", *(f"--condition={x}" for x in given)) == 1
    assert re.search(f"error: --condition: .*{said}", capsys.readouterr().err)


def test_the_pace_alone_has_a_default():
    about = {"type": "continuous", "continuous": {"dim": 4, "scale_factor": 1.0}}
    config = {"conditioners": [about | {"name": "duration_delta"}]}
    tensors, shown = phonon.conditioned({}, config, {})
    assert shown == ["duration_delta=0.0"]
    assert tensors["flow_lm.input_linear.bias"].tolist() == [1, 1, 0, 0]


def test_only_phonon_has_conditions(made, tmp_path, capsys):
    assert run(made[1], tmp_path / "out.safetensors", "--condition=a=1") == 1
    assert "only Phonon checkpoints" in capsys.readouterr().err


# GGUF.

DEEP = struct.pack("<I", 9) + 5000 * struct.pack("<IQ", 9, 1)  # lists in lists


def test_gguf_files_are_read(tmp_path):
    tensors = to_reference(tiny_files.params(phonon_files.CONFIG))
    phonon_files.write_gguf(tmp_path / "a.gguf", tensors)
    found = gguf.read(tmp_path / "a.gguf")
    assert found.keys() == tensors.keys()
    for name, x in tensors.items():
        assert found[name].shape == x.shape and found[name].dtype == np.float32
        if phonon_files.is_quantized(name):
            assert np.abs(found[name] - x).max() <= np.abs(x).max() / 250
        else:
            assert np.array_equal(found[name], x)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:100], "damaged"),
        (lambda data: data[:-64], "damaged"),
        (lambda data: b"", "damaged"),
        (lambda data: b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "damaged"),
        (lambda data: b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 0) + DEEP, "damaged"),
        (lambda data: b"GGUF" + struct.pack("<I", 1) + data[8:], "version 2 or 3"),
        (lambda data: b"\x89PNG" + data[4:], "not a GGUF file"),
    ],
)
def test_what_is_no_whole_gguf_file_is_refused(tmp_path, damage, said):
    path = tmp_path / "a.gguf"
    phonon_files.write_gguf(path, {"a": np.ones((4, 32), np.float32)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{said}"):
        gguf.read(path)


def test_a_kind_that_is_not_read_is_named(tmp_path):
    path = tmp_path / "a.gguf"
    phonon_files.write_gguf(path, {"abc": np.ones((4, 32), np.float32)})
    data = path.read_bytes().replace(struct.pack("<QQI", 32, 4, 0), struct.pack("<QQI", 32, 4, 12))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"abc is of a kind .12. that is unknown"):
        gguf.read(path)
