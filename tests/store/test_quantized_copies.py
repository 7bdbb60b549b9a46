"""The quantised copy in the cache, and the commands that quantise."""

import os
from pathlib import Path

import numpy as np
import pytest

import convert.__main__
import ptts_jax
from int8 import policy
from ptts_jax.store import quantization, safetensors, weights
from ptts_jax.store.quantization import Int8
from tests.support import tiny_files
from tests.support.mistakes import mistakes
from tests.support.quantised import TEXT, assert_same, command, floats, in_process, refuse, written

# The copy in the cache.


def test_a_quantised_copy_is_kept_and_mapped(model, offline_cache, monkeypatch, capsys):
    expected = in_process(Int8())
    first = ptts_jax.load(model.yaml, int8=True, quiet=False)
    assert "quantising the weights, once" in capsys.readouterr().err
    (copy,) = offline_cache.iterdir()  # and no float one beside it
    assert "int8-attention-ffn" in copy.name
    refuse(monkeypatch, policy, "quantize")
    refuse(monkeypatch, weights, "_convert")
    second = ptts_jax.load(model.yaml, int8=True, quiet=False)
    assert not capsys.readouterr().err
    assert str(copy) in Path("/proc/self/maps").read_text()
    for tts in (first, second):
        assert tts.voice_cloning
        assert_same(tts.params, expected)


def test_every_choice_has_its_own_copy(model, offline_cache):
    choices = [
        {"int8": None},
        {"int8": True},
        {"int8": "all"},
        {"int8": True, "bits": 4},
        {"int8": True, "group_size": 32},
    ]
    for choice in choices:
        ptts_jax.load(model.yaml, **choice)
    assert len(list(offline_cache.iterdir())) == len(choices)
    ptts_jax.load(model.yaml, int8="ffn,attention")  # the same as True
    assert len(list(offline_cache.iterdir())) == len(choices)
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
    tensors, metadata = safetensors.read(path)
    safetensors.write(path, tensors, metadata | {"int8": metadata["int8"].replace("8,", "4,")})


def _unnoted(path):
    tensors, metadata = safetensors.read(path)
    del metadata["int8"]
    safetensors.write(path, tensors, metadata)


@pytest.mark.parametrize(
    "spoil", [_flip, _other_formats, _unnoted, lambda p: os.truncate(p, p.stat().st_size - 1)]
)
def test_a_damaged_copy_is_made_anew(model, offline_cache, spoil):
    ptts_jax.load(model.yaml, int8=True)
    (copy,) = offline_cache.iterdir()
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
        assert last.startswith("error: ") and words in last and not captured.out, last
        assert not good.exists()
        assert {path: path.read_bytes() for path in model.folder.iterdir()} == before


def test_converting_a_quantised_file(model, tmp_path, capsys):
    path, copy = written(model), tmp_path / "copy.safetensors"
    assert convert.__main__.main(["convert", str(path), str(copy)]) == 0
    assert_same(ptts_jax.load(copy).params, in_process(Int8()))
    back = tmp_path / "back.safetensors"
    assert convert.__main__.main(["convert", str(path), str(back), "--to_reference"]) == 1
    assert f"{path}: is quantised" in capsys.readouterr().err
    assert not back.exists()


def test_build(monkeypatch, capsys):
    from int8.runtime import build

    monkeypatch.setattr(build, "build", lambda verbose: Path("built.so"))
    assert command("build") == 0
    assert "built.so" in capsys.readouterr().err

    def broken(verbose):
        raise build.BuildError("no C++ compiler")

    monkeypatch.setattr(build, "build", broken)
    assert command("build") == 1
    assert capsys.readouterr().err == "error: no C++ compiler\n"


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
    from ptts_jax.text import reading

    seen = {}

    def load(model, *, int8, bits, group_size, quiet):
        seen["spec"] = quantization.parse(int8, bits, group_size)
        raise Loaded("seen")

    def segments(manner, words):
        seen["text"] = words

    monkeypatch.setattr(ptts_jax, "load", load)
    monkeypatch.setattr(reading.Manner, "segments", segments)
    monkeypatch.chdir(tmp_path)
    for order in ([*flags, TEXT], [TEXT, *flags]):
        assert speak.main(["speak", *order]) == 1
        assert "error: seen" in capsys.readouterr().err
        assert seen == {"spec": quantization.parse(*expected), "text": TEXT}


@mistakes(
    """
    --int8=atention          | unknown int8 group 'atention'; did you mean attention?
    --int8=                  | no int8 group is named
    --int8 --bits=3          | bits 3: give 8 or 4
    --int8 --bits=many       | bits
    --int8 --group_size=100  | group_size 100: give one of 32, 64, 128
    --bits=4                 | only of use with int8
    --noint8 --group_size=32 | only of use with int8
    """
)
def test_speak_refuses_with_one_line(capsys, tmp_path, monkeypatch, words, said):
    from ptts_jax import speak

    monkeypatch.chdir(tmp_path)
    assert speak.main(["speak", *words, TEXT]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert not list(tmp_path.iterdir())
