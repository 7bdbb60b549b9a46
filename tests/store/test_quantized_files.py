"""Quantised models as self-contained files: exact, small, and refused when damaged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convert.__main__
import ptts_jax
from convert import flatten
from int8 import QTensor, policy
from ptts_jax import audio
from ptts_jax.store import safetensors
from ptts_jax.store.quantization import Int8
from ptts_jax.store.safetensors import FileError
from tests.support import tiny_files
from tests.support.quantised import TEXT, assert_same, command, in_process, refuse, written

# Self-contained files.


SPECS = [
    ((), Int8()),
    (("--groups", "all"), Int8(("all",))),
    (("--groups=flow", "--bits=4"), Int8(("flow",), 4)),
    (("--groups", "ffn,codec", "--bits", "4", "--group_size", "32"), Int8(("ffn", "codec"), 4, 32)),
]


@pytest.mark.parametrize(("arguments", "spec"), SPECS, ids=lambda x: getattr(x, "label", ""))
def test_round_trip_is_exact(model, monkeypatch, arguments, spec):
    path = written(model, *arguments)
    expected = in_process(spec)
    refuse(monkeypatch, policy, "quantize")  # a file that is loaded is not quantised again
    tts = ptts_jax.load(path)
    assert_same(tts.params, expected)
    assert any(isinstance(leaf, QTensor) for leaf in flatten(tts.params).values())
    assert tts.voice_cloning and tts.name == model.yaml.stem
    assert_same(ptts_jax.load(path, int8=spec).params, expected)


def test_a_file_is_mapped_and_never_float(model):
    path = written(model, "--groups", "all")
    tts = ptts_jax.load(path)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [[int(x, 16) for x in m[0].split("-")] for m in maps if m[-1] == str(path)]
    assert ranges
    stored, _ = safetensors.read(path)
    for name, leaf in flatten(tts.params).items():
        if isinstance(leaf, QTensor):
            assert f"params/{name}" not in stored
            at = leaf.qvalue.unsafe_buffer_pointer()
            aligned = not leaf.qvalue.nbytes % safetensors.ALIGNMENT
            assert any(low <= at < high for low, high in ranges) or not aligned, name


def test_a_file_is_enough_on_a_machine_that_has_nothing_else(model, tmp_path):
    """Another process, another cache, no network, and the source gone."""
    path = written(model)
    voice = tmp_path / "voice.safetensors"
    ptts_jax.load(model.yaml).voice(tiny_files.speech(0.5)).save(voice)
    seeds = (3, 4)
    expected = [ptts_jax.load(path).generate(TEXT, voice, seed=seed) for seed in seeds]
    for file in model.folder.iterdir():
        file.unlink()
    # Nor is there a compiler for the native kernels.
    elsewhere = {
        "PTTS_JAX_CACHE": str(tmp_path / "elsewhere"),
        "HF_HUB_OFFLINE": "1",
        "CXX": "none",
    }
    out, worst = tmp_path / "out.wav", []
    for seed, want in zip(seeds, expected, strict=True):
        flags = [f"--model={path}", f"--voice={voice}", f"--output={out}", f"--seed={seed}"]
        run = [sys.executable, "-m", "ptts_jax.speak", *flags, TEXT]
        done = subprocess.run(run, env=os.environ | elsewhere, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "CXX=none is not a program" in done.stderr
        wave, _ = audio.read(out)
        assert wave.size >= want.size
        error = wave[: want.size] - np.clip(want, -1, 1)
        worst.append(np.abs(error).max())
        # Where a rounding tips over (in one utterance of twelve) what follows differs by a step.
        assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(want**2))
    assert min(worst) < 2e-3
    assert not (tmp_path / "elsewhere" / "weights").exists()


def test_a_file_is_a_fraction_of_the_float_one(model, tmp_path):
    path, whole = written(model, "--groups", "all", "--no_encoder"), tmp_path / "whole.safetensors"
    assert convert.__main__.main(["convert", str(model.yaml), str(whole)]) == 0
    tensors, _ = safetensors.read(path)
    kept = {name for name in tensors if not name.endswith(("/qvalue", "/scale", "tokenizer"))}
    assert not any(name.endswith("/w") and "layers" in name for name in kept)
    assert path.stat().st_size < 0.6 * whole.stat().st_size  # a tiny one; a large one 0.26


def test_more_groups_of_a_quantised_file(model, tmp_path):
    path, more = written(model, "--groups=attention"), tmp_path / "more.safetensors"
    assert_same(ptts_jax.load(path, int8="ffn").params, in_process(Int8()))
    assert command(path, more, "--groups=ffn") == 0
    assert_same(ptts_jax.load(more).params, in_process(Int8()))
    with pytest.raises(ValueError, match="quantised already, to 8 bits") as caught:
        ptts_jax.load(path, int8=True, bits=4)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_converted_float_file_is_quantised_too(model, tmp_path):
    whole, path = tmp_path / "whole.safetensors", tmp_path / "path.safetensors"
    assert convert.__main__.main(["convert", str(model.yaml), str(whole)]) == 0
    assert command(whole, path) == 0
    for tts in (ptts_jax.load(whole, int8=True), ptts_jax.load(path)):
        assert_same(tts.params, in_process(Int8()))


def test_what_cannot_be_quantised_is_named(model, capsys):
    written(model, "--groups=attention,flow", "--group_size=32")
    lines = capsys.readouterr().err.splitlines()
    awkward = [line for line in lines if line.startswith("stays float: ")]
    assert len(awkward) == 5  # of width 16: `all` of the modulation, and both layers of two blocks
    assert all("input size 16 is not a multiple of the group size 32" in line for line in awkward)
    for _ in range(2):  # quantised, and from the copy
        ptts_jax.load(model.yaml, int8="flow", group_size=32, quiet=False)
        assert "int8: 5 of 6 weights stay float (lm/head/" in capsys.readouterr().err
    ptts_jax.load(model.yaml, int8="flow", group_size=32)
    assert not capsys.readouterr().err


def test_a_calibrated_file_has_other_integers_of_the_same_scales(model, tmp_path):
    how = ("--bits=4", "--group_size=32")
    (tmp_path / "texts").write_text("Hello world.\n\nIt rained all night.\n")
    calibrated = ptts_jax.load(written(model, *how, f"--calibrate={tmp_path / 'texts'}"))
    plain, found = flatten(in_process(Int8(bits=4, group_size=32))), flatten(calibrated.params)
    assert found.keys() == plain.keys()
    for name, leaf in found.items():
        if isinstance(leaf, QTensor) and leaf.bits == 4:
            np.testing.assert_array_equal(leaf.scale, plain[name].scale)
            assert 0.1 < (leaf.qvalue != plain[name].qvalue).mean() < 1
    assert calibrated.generate(TEXT, calibrated.voice(tiny_files.speech(0.5)), seed=0).size


def test_nothing_to_calibrate_with(model, tmp_path, capsys):
    assert command(model.yaml, tmp_path / "x.safetensors", "--calibrate=nowhere.txt") == 1
    assert "--calibrate nowhere.txt: cannot be read" in capsys.readouterr().err
    assert command(model.yaml, tmp_path / "x.safetensors", "--voice=alba") == 1
    assert "--voice: only of use with --calibrate" in capsys.readouterr().err
    assert not list(tmp_path.glob("x*"))


# Voices.


def test_without_the_encoder_cloning_is_refused(model, tmp_path, capsys):
    full = written(model).stat().st_size
    voice = tmp_path / "voice.safetensors"
    ptts_jax.load(model.yaml).voice(tiny_files.speech(0.5)).save(voice)
    path = written(model, "--no_encoder")
    assert path.stat().st_size < full
    tts = ptts_jax.load(path)
    assert "encoder" not in tts.params["codec"] and not tts.voice_cloning
    with pytest.raises(ValueError, match="was written without the encoder.*voice-state file"):
        tts.voice(tiny_files.speech(0.5))
    expected = in_process(Int8())
    del expected["codec"]["encoder"]
    assert_same(tts.params, expected)
    assert tts.generate(TEXT, voice, seed=0).size
    again = tmp_path / "again.safetensors"
    assert command(path, again, "--groups=flow") == 0  # what is gone need not be left out
    assert not ptts_jax.load(again).voice_cloning


def test_an_encoder_that_cannot_clone_is_left_out(model, tmp_path, capsys):
    tiny_files.write_weights(model.weights, tiny_files.params(), public=True)
    tts = ptts_jax.load(written(model))
    assert "these weights cannot clone" in capsys.readouterr().err
    assert "encoder" not in tts.params["codec"] and not tts.voice_cloning


# Damage.


def edited(path, change=lambda tensors, note: None, **metadata):
    """Another content under the old structure's name."""
    tensors, old = safetensors.read(path)
    note = json.loads(old["int8"])
    change(tensors, note)
    safetensors.write(path, tensors, {**old, "int8": json.dumps(note), **metadata})


UP = "params/lm/backbone/layers/layer_1/up/w"


def _without(name):
    return lambda tensors, note: tensors.pop(name)


def _with(name, value):
    return lambda tensors, note: tensors.update({name: value(tensors.get(name))})


def _noted(bits, size):
    return lambda tensors, note: note.update({UP: [bits, size]})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: edited(p, _without(f"{UP}/scale")), f"{UP}: its scales are missing"),
        (lambda p: edited(p, _without(f"{UP}/qvalue")), f"{UP}: its integers are missing"),
        (lambda p: edited(p, _noted(4, None)), f"{UP}: holds int8 numbers; those of 4 bits"),
        (lambda p: edited(p, _noted(12, None)), f"{UP}: 12 bits are unknown"),
        (lambda p: edited(p, _noted(8, 32)), f"{UP}: its scales are float32 [64]"),
        (lambda p: edited(p, _with(f"{UP}/scale", lambda x: x[1:])), "its scales are float32 [63]"),
        (lambda p: edited(p, _with(f"{UP}/scale", np.float64)), "its scales are float64"),
        (lambda p: edited(p, _with(f"{UP}/qvalue", lambda x: x[:, 1:])), "missing or changed"),
        (lambda p: edited(p, _with("params/more", lambda _: np.ones(3))), "missing or changed"),
        (lambda p: edited(p, _without("params/lm/bos")), "missing or changed"),
        (lambda p: edited(p, int8="{}"), "missing or changed"),
        (lambda p: edited(p, int8="nonsense"), "note on quantised weights is damaged"),
        (lambda p: edited(p, ptts_jax="99"), "written in format 99"),
        (lambda p: os.truncate(p, p.stat().st_size - 1), "cut short"),
        (lambda p: os.truncate(p, 1000), "cut short"),
    ],
)
def test_damaged_files_are_refused_with_one_line(model, spoil, words):
    path = written(model)
    spoil(path)
    with pytest.raises(FileError) as caught:
        ptts_jax.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and words in message and "\n" not in message
