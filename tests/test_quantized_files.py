"""Quantised files and copies: exact, mapped as they are, sufficient alone, refused when damaged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import convert.__main__
import int8.__main__
import ptts_jax
from convert import FileError, files, flatten
from int8 import QTensor, policy
from ptts_jax import quantization, weights
from ptts_jax.quantization import Int8
from tests import tiny_files

TEXT = "Hello there."


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, without a network behind it."""
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache" / "weights"


@pytest.fixture
def model(tmp_path, cache):
    return tiny_files.write(tmp_path / "model")


def command(*arguments) -> int:
    return int8.__main__.main([str(argument) for argument in arguments])


def written(model, *arguments) -> Path:
    path = model.folder.parent / "quantised.safetensors"
    assert command(model.yaml, path, *arguments) == 0
    return path


def assert_same(ours, expected):
    """Exactly, formats included."""
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(ours), jax.tree.leaves(expected), strict=True
    ):
        assert a.dtype == b.dtype, path
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=str(path))


def floats():
    return jax.tree.map(np.float32, tiny_files.params())


def in_process(spec):
    return quantization.quantize(floats(), spec)


def refuse(monkeypatch, module, *names):
    def fail(*args, **kwargs):
        raise AssertionError("this is not to be done again")

    for name in names:
        monkeypatch.setattr(module, name, fail)


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
    assert tts.voice_cloning and tts.name == str(model.yaml)
    assert_same(ptts_jax.load(path, int8=spec).params, expected)


def test_a_file_is_mapped_and_never_float(model):
    path = written(model, "--groups", "all")
    tts = ptts_jax.load(path)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [[int(x, 16) for x in m[0].split("-")] for m in maps if m[-1] == str(path)]
    assert ranges
    stored, _ = files.read(path)
    for name, leaf in flatten(tts.params).items():
        if isinstance(leaf, QTensor):
            assert f"params/{name}" not in stored
            at = leaf.qvalue.unsafe_buffer_pointer()
            aligned = not leaf.qvalue.nbytes % files.ALIGNMENT
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
        wave, _ = ptts_jax.audio.read(out)
        assert wave.size >= want.size
        error = wave[: want.size] - np.clip(want, -1, 1)
        worst.append(np.abs(error).max())
        # Where a rounding tips over (in one utterance of twelve) what follows differs by a step.
        assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(want**2))
    assert min(worst) < 2e-3
    assert not (tmp_path / "elsewhere" / "weights").exists()


def test_a_file_is_a_fraction_of_the_float_one(model, tmp_path):
    path, whole = written(model, "--groups", "all", "--no_encoder"), tmp_path / "whole.safetensors"
    assert convert.__main__.main([str(model.yaml), str(whole)]) == 0
    tensors, _ = files.read(path)
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
    assert convert.__main__.main([str(model.yaml), str(whole)]) == 0
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
    tensors, old = files.read(path)
    note = json.loads(old["int8"])
    change(tensors, note)
    files.write(path, tensors, {**old, "int8": json.dumps(note), **metadata})


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
        (lambda p: edited(p, _noted(16, None)), f"{UP}: 16 bits are unknown"),
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


# The copy in the cache.


def test_a_quantised_copy_is_kept_and_mapped(model, cache, monkeypatch, capsys):
    expected = in_process(Int8())
    first = ptts_jax.load(model.yaml, int8=True, quiet=False)
    assert "quantising the weights, once" in capsys.readouterr().err
    (copy,) = cache.iterdir()  # and no float one beside it
    assert "int8-attention-ffn" in copy.name
    refuse(monkeypatch, policy, "quantize")
    refuse(monkeypatch, weights, "_convert")
    second = ptts_jax.load(model.yaml, int8=True, quiet=False)
    assert not capsys.readouterr().err
    assert str(copy) in Path("/proc/self/maps").read_text()
    for tts in (first, second):
        assert tts.voice_cloning
        assert_same(tts.params, expected)


def test_every_choice_has_its_own_copy(model, cache):
    choices = [
        {"int8": None},
        {"int8": True},
        {"int8": "all"},
        {"int8": True, "bits": 4},
        {"int8": True, "group_size": 32},
    ]
    for choice in choices:
        ptts_jax.load(model.yaml, **choice)
    assert len(list(cache.iterdir())) == len(choices)
    ptts_jax.load(model.yaml, int8="ffn,attention")  # the same as True
    assert len(list(cache.iterdir())) == len(choices)
    for choice in choices:
        spec = quantization.parse(choice["int8"], choice.get("bits", 8), choice.get("group_size"))
        expected = floats() if spec is None else in_process(spec)
        assert_same(ptts_jax.load(model.yaml, **choice).params, expected)


def test_the_converted_copy_serves_where_there_is_one(model, monkeypatch):
    ptts_jax.load(model.yaml)
    refuse(monkeypatch, weights, "_convert")
    assert_same(ptts_jax.load(model.yaml, int8=True).params, in_process(Int8()))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _other_formats(path):
    tensors, metadata = files.read(path)
    files.write(path, tensors, metadata | {"int8": metadata["int8"].replace("8,", "4,")})


def _unnoted(path):
    tensors, metadata = files.read(path)
    del metadata["int8"]
    files.write(path, tensors, metadata)


@pytest.mark.parametrize(
    "spoil", [_flip, _other_formats, _unnoted, lambda p: os.truncate(p, p.stat().st_size - 1)]
)
def test_a_damaged_copy_is_made_anew(model, cache, spoil):
    ptts_jax.load(model.yaml, int8=True)
    (copy,) = cache.iterdir()
    right = copy.read_bytes()
    spoil(copy)
    assert_same(ptts_jax.load(model.yaml, int8=True).params, in_process(Int8()))
    assert copy.read_bytes() == right


def test_a_cache_that_cannot_be_written_is_no_error(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "file"))
    assert_same(ptts_jax.load(model.yaml, int8=True).params, in_process(Int8()))


def test_weights_that_are_not_finite_name_their_file(model):
    params = tiny_files.params()
    layer = params["lm"]["backbone"]["layers"]["layer_0"]
    broken = {**layer, "up": {"w": np.full_like(layer["up"]["w"], np.nan)}}
    layers = {**params["lm"]["backbone"]["layers"], "layer_0": broken}
    backbone = {**params["lm"]["backbone"], "layers": layers}
    tree = {**params, "lm": {**params["lm"], "backbone": backbone}}
    tiny_files.write_weights(model.weights, tree)
    with pytest.raises(ValueError, match="layer_0/up/w: cannot quantise") as caught:
        ptts_jax.load(model.yaml, int8=True)
    assert str(model.weights) in str(caught.value)


# The commands.


def test_the_command_refuses_with_one_line_and_writes_nothing(model, tmp_path, capsys):
    good = tmp_path / "out.safetensors"
    before = {path: path.read_bytes() for path in model.folder.iterdir()}
    for arguments, words in [
        ((model.yaml, tmp_path / "out.bin"), "must end in .safetensors"),
        ((model.yaml, tmp_path / "none" / "out.safetensors"), "folder does not exist"),
        ((model.yaml, model.weights), "overwrite"),
        ((tmp_path / "none.yaml", good), "none.yaml"),
        (("engish", good), "english"),
        ((model.weights, good), "not a converted model"),
        ((model.yaml, good, "--groups=atention"), "did you mean attention?"),
        ((model.yaml, good, "--groups="), "no int8 group is named"),
        ((model.yaml, good, "--bits=5"), "bits 5: give 8 or 4"),
        ((model.yaml, good, "--group_size=31"), "group_size 31: give one of"),
        ((model.yaml, good, "--group_size=128"), "choose another group size"),
    ]:
        assert command(*arguments) == 1, arguments
        captured = capsys.readouterr()
        last = captured.err.strip().splitlines()[-1]
        assert last.startswith("int8: ") and words in last and not captured.out, last
        assert not good.exists()
        assert {path: path.read_bytes() for path in model.folder.iterdir()} == before


def test_converting_a_quantised_file(model, tmp_path, capsys):
    path, copy = written(model), tmp_path / "copy.safetensors"
    assert convert.__main__.main([str(path), str(copy)]) == 0
    assert_same(ptts_jax.load(copy).params, in_process(Int8()))
    back = tmp_path / "back.safetensors"
    assert convert.__main__.main([str(path), str(back), "--to_reference"]) == 1
    assert f"{path}: is quantised" in capsys.readouterr().err
    assert not back.exists()


def test_build(monkeypatch, capsys):
    from int8 import build

    monkeypatch.setattr(build, "build", lambda verbose: Path("built.so"))
    assert command("build") == 0
    assert "built.so" in capsys.readouterr().err

    def broken(verbose):
        raise build.BuildError("no C++ compiler")

    monkeypatch.setattr(build, "build", broken)
    assert command("build") == 1
    assert capsys.readouterr().err == "int8: no C++ compiler\n"


class Loaded(ValueError):
    """Ends a command where it would load the model."""


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], (None, 8, None)),
        (["--int8"], (True, 8, None)),
        (["--noint8"], (None, 8, None)),
        (["--int8=attention,ffn,flow"], ("attention,ffn,flow", 8, None)),
        (["--int8=all", "--bits=4", "--group_size", "64"], ("all", 4, 64)),
        (["--int8", "--bits", "4"], (True, 4, None)),
    ],
)
def test_speak_passes_the_flags_on(monkeypatch, capsys, tmp_path, flags, expected):
    from ptts_jax import speak

    seen = {}

    def load(model, *, int8, bits, group_size, quiet):
        seen["spec"] = quantization.parse(int8, bits, group_size)
        raise Loaded("seen")

    def text(words):
        seen["text"] = words

    monkeypatch.setattr(ptts_jax, "load", load)
    monkeypatch.setattr(speak.texts, "check_speakable", text)
    monkeypatch.chdir(tmp_path)
    for order in ([*flags, TEXT], [TEXT, *flags]):
        assert speak.main(["speak", *order]) == 1
        assert "error: seen" in capsys.readouterr().err
        assert seen == {"spec": quantization.parse(*expected), "text": TEXT}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--int8=atention"], "unknown int8 group 'atention'; did you mean attention?"),
        (["--int8="], "no int8 group is named"),
        (["--int8", "--bits=3"], "bits 3: give 8 or 4"),
        (["--int8", "--bits=many"], "bits"),
        (["--int8", "--group_size=100"], "group_size 100: give one of 32, 64, 128"),
        (["--bits=4"], "only of use with int8"),
        (["--noint8", "--group_size=32"], "only of use with int8"),
    ],
)
def test_speak_refuses_with_one_line(capsys, tmp_path, monkeypatch, flags, words):
    from ptts_jax import speak

    monkeypatch.chdir(tmp_path)
    assert speak.main(["speak", *flags, TEXT]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line
    assert not list(tmp_path.iterdir())
