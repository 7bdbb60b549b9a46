"""Self-contained files, and the command that writes them."""

import dataclasses
import json
import os
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import convert.__main__
from convert import to_reference
from ptts_jax.model import config as configs
from ptts_jax.model import ear
from ptts_jax.model.ear import Ear
from ptts_jax.store import converted, safetensors, weights
from ptts_jax.store.converted import Converted
from ptts_jax.store.safetensors import FileError
from tests.support import tokens
from tests.support.small_weights import (
    CONFIG,
    PARAMS,
    assert_same,
    truncate,
    write_source,
)

# Self-contained files.


def save(path, **changes):
    model = Converted("small", CONFIG, PARAMS, ("sentencepiece", b"pieces"), voice_cloning=True)
    converted.save(path, dataclasses.replace(model, **changes))


@pytest.mark.parametrize("voice_cloning", [True, False])
def test_a_self_contained_file_gives_everything_back(tmp_path, voice_cloning):
    path = tmp_path / "all.safetensors"
    save(path, voice_cloning=voice_cloning)
    file = converted.load(path)
    assert_same(file.params, PARAMS)
    assert jax.tree.structure(file.params) == jax.tree.structure(PARAMS)
    assert file.config == CONFIG and file.name == "small"
    assert file.tokenizer == ("sentencepiece", b"pieces")
    assert file.voice_cloning is voice_cloning


def an_ear(count=4):
    c = CONFIG.flow_lm.lookup_table.n_bins
    made = ear.init(np.random.default_rng(0), CONFIG.mimi.latent_dim, 8, count)
    return Ear(made, np.arange(c, dtype=np.int32) % 4)


@pytest.mark.parametrize("compact", [False, True])
def test_a_file_keeps_the_ear_of_a_model(tmp_path, compact):
    path, own = tmp_path / "all.safetensors", an_ear()
    model = Converted("small", CONFIG, PARAMS, ("sentencepiece", b"pieces"), True, own)
    converted.save(path, model, compact=compact)
    file = converted.load(path)
    assert jax.tree.structure(file.params) == jax.tree.structure(PARAMS)
    np.testing.assert_array_equal(file.ear.labels, own.labels)
    near = partial(np.testing.assert_allclose, atol=1e-3 if compact else 0)
    jax.tree.map(near, file.ear.params, own.params)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(file.ear.params))

    converted.save(path, dataclasses.replace(model, ear=an_ear(5)))
    with pytest.raises(FileError, match="its ear does not fit its model"):
        converted.load(path)


def edited(path, tensors=None, **metadata):
    save(path)
    old, meta = safetensors.read(path)
    safetensors.write(path, {**old, **(tensors or {})}, {**meta, **metadata})
    return path


def without(path, name):
    save(path)
    tensors, metadata = safetensors.read(path)
    tensors.pop(name, None)
    metadata.pop(name, None)
    safetensors.write(path, tensors, metadata)
    return path


WIDER = dataclasses.replace(CONFIG, flow_lm=dataclasses.replace(CONFIG.flow_lm, z_dim=48))


def test_parameters_that_do_not_fit_their_config_are_not_written(tmp_path):
    path = tmp_path / "all.safetensors"
    with pytest.raises(ValueError, match="all.safetensors: does not fit its config: lm/.*not .*48"):
        save(path, config=WIDER)
    assert not path.exists()


def test_a_file_from_before_shapes_were_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    path = without(tmp_path / "all.safetensors", "fits")
    assert_same(converted.load(path).params, PARAMS)
    monkeypatch.setattr(weights, "template", None)  # checked once, and that is remembered
    assert_same(converted.load(path).params, PARAMS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: write_source(p) and p, "not a converted model"),
        (lambda p: edited(p, ptts_jax="99"), "written in format 99"),
        (lambda p: without(p, "params/lm/bos"), "missing or changed"),
        (lambda p: without(p, "tokenizer"), "missing or changed"),
        (lambda p: without(p, "config"), "missing or changed"),
        (lambda p: edited(p, {"params/lm/bos": np.ones(4)}), "missing or changed"),
        (lambda p: edited(p, {"params/lm/extra": np.ones(4)}), "missing or changed"),
        (lambda p: edited(p, config="flow_lm: ["), "not valid YAML"),
        (lambda p: edited(p, config="flow_lm: 1"), "mimi: missing"),
        (lambda p: edited(p, config=configs.to_yaml(WIDER)), "does not fit its config: lm/"),
        (lambda p: truncate(edited(p)) or p, "cut short"),
    ],
)
def test_self_contained_files_that_are_refused(tmp_path, make, words):
    path = make(tmp_path / "all.safetensors")
    with pytest.raises(ValueError) as caught:
        converted.load(path)
    assert str(path) in str(caught.value) and words in str(caught.value)


# The command.


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model as a user has it: YAML, weights and tokenizer in a folder."""
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    vocabulary = tokens.write_tokenizer_json(folder / "tokenizer.json", 50)
    table = dataclasses.replace(CONFIG.flow_lm.lookup_table, tokenizer_path=str(vocabulary))
    config = dataclasses.replace(
        CONFIG,
        weights_path=str(write_source(folder / "weights.safetensors")),
        flow_lm=dataclasses.replace(CONFIG.flow_lm, lookup_table=table),
    )
    (folder / "model.yaml").write_text(configs.to_yaml(config))
    return folder


def command(*arguments) -> int:
    return convert.__main__.main(["convert", *map(str, arguments)])


def test_command_to_one_file_and_back(model, tmp_path, capsys):
    one, back = tmp_path / "one.safetensors", tmp_path / "back.safetensors"
    assert command(model / "model.yaml", one) == 0
    tokenizer = (model / "tokenizer.json").read_bytes()
    for file in model.iterdir():
        file.unlink()
    file = converted.load(one)
    assert_same(file.params, PARAMS)
    assert file.tokenizer == ("tokenizers", tokenizer)

    assert command(one, back, "--to_reference") == 0
    assert_same(safetensors.read(back)[0], to_reference(PARAMS))
    described = configs.parse((tmp_path / "back.yaml").read_text(), "back.yaml")
    assert described.weights_path == str(back)
    assert Path(described.flow_lm.lookup_table.tokenizer_path).read_bytes() == tokenizer
    assert described.mimi == CONFIG.mimi
    captured = capsys.readouterr()
    assert not captured.out and str(back) in captured.err


def test_command_refuses_with_one_line_and_writes_nothing(model, tmp_path, capsys):
    source, good = model / "model.yaml", tmp_path / "out.safetensors"
    before = {path: path.read_bytes() for path in model.iterdir()}
    (tmp_path / "folder.safetensors").mkdir()
    for arguments, words in [
        ((source, tmp_path / "out.bin"), "must end in .safetensors"),
        ((source, tmp_path / "none" / "out.safetensors"), "folder does not exist"),
        ((source, tmp_path / "folder.safetensors"), "is a folder"),
        ((source, model / "weights.safetensors"), "overwrite"),
        ((source, model / "model.safetensors", "--to_reference"), "overwrite"),
        ((source, model / "tokenizer.safetensors", "--to_reference"), "overwrite"),
        ((tmp_path / "none.yaml", good), "none.yaml"),
        (("engish", good), "english"),
        ((model / "weights.safetensors", good), "not a converted model"),
    ]:
        assert command(*arguments) == 1, arguments
        captured = capsys.readouterr()
        last = captured.err.strip().splitlines()[-1]
        assert last.startswith("error: ") and words in last, last
        assert not good.exists()
        assert {path: path.read_bytes() for path in model.iterdir()} == before


def test_command_interrupted(model, tmp_path, monkeypatch, capsys):
    def interrupt(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert command(model / "model.yaml", tmp_path / "out.safetensors") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))


def test_metadata_is_readable_by_other_programs(tmp_path):
    """The config travels as YAML in the header."""
    path = tmp_path / "all.safetensors"
    save(path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert configs.parse(header["__metadata__"]["config"], "header") == CONFIG
