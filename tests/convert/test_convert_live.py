"""Conversion against the reference: its own state dicts, its loader's results, its files."""

import dataclasses

import numpy as np
import pytest
import torch
from pocket_tts.models import tts_model
from safetensors.torch import load_file, save_file

import convert.__main__
from convert import from_reference, to_reference
from ptts_jax.model import config as configs
from ptts_jax.store import hub, weights
from tests.support import architectures, oracle, oracle_files

MODELS = [("tiny", name) for name in architectures.TINY] + [
    ("full", name) for name in architectures.FULL
]


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    return oracle.build("english", 0, tmp_path_factory.mktemp("english"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another model of the same architecture."""
    return oracle.build("english", 1, tmp_path_factory.mktemp("other"))


def parse(made) -> configs.Config:
    return configs.parse(made.yaml.read_text(encoding="utf-8"), str(made.yaml))


def load(made, tmp_path) -> weights.Loaded:
    cache = tmp_path / "cache"
    return weights.load(parse(made), hub.fetch_first, cache_dir=cache, quiet=True)


def as_numpy(model) -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in model.state_dict().items()}


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].dtype == want[name].dtype == np.float32, name
        assert np.array_equal(got[name], want[name]), name


@pytest.mark.parametrize(("size", "name"), MODELS)
def test_every_architecture_there_and_back(tmp_path, size, name):
    model, made = oracle.noise(name, 0, tmp_path, size=size)
    state = as_numpy(model)
    params = from_reference(state, weights.template(parse(made)))
    back = to_reference(params)
    assert_same(back, state)
    for x in model.state_dict().values():
        x.zero_()
    model.load_state_dict({name: torch.tensor(x) for name, x in back.items()}, strict=True)
    assert_same(as_numpy(model), back)


@pytest.mark.parametrize("name", architectures.TINY)
@pytest.mark.parametrize("weight_norm", [True, False], ids=["weight-norm", "plain"])
def test_raw_layouts_as_the_reference_reads_them(tmp_path, name, weight_norm):
    made = oracle.build(name, 0, tmp_path)
    lm, codec = oracle_files.write_raw(made, tmp_path, weight_norm=weight_norm)
    raw = oracle_files.rewrite(made, tmp_path / "raw.yaml", lm=lm, codec=codec)
    want, got = as_numpy(raw.load()), to_reference(load(raw, tmp_path).params)
    assert got.keys() == want.keys()
    for key in want:
        if weight_norm and key.startswith(("mimi.encoder.", "mimi.decoder.")):
            np.testing.assert_allclose(got[key], want[key], rtol=5e-7, atol=0, err_msg=key)
        else:
            assert np.array_equal(got[key], want[key]), key


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "bundle"])
def test_a_codec_file_beside_a_bundle(english, other, tmp_path, raw):
    codec = other.weights
    if raw:
        codec = oracle_files.write_raw(other, tmp_path, weight_norm=False)[1]
    made = oracle_files.rewrite(
        english, tmp_path / "mixed.yaml", bundle=english.weights, codec=codec
    )
    want = as_numpy(made.load())
    loaded = load(made, tmp_path)
    assert_same(to_reference(loaded.params), want)
    assert loaded.has_voice_cloning
    theirs = as_numpy(other.load())
    assert all(np.array_equal(want[key], theirs[key]) for key in want if key.startswith("mimi."))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints(english, tmp_path, dtype):
    path = tmp_path / "half.safetensors"
    save_file({name: x.to(dtype) for name, x in load_file(english.weights).items()}, path)
    made = oracle_files.rewrite(english, tmp_path / "half.yaml", bundle=path)
    assert_same(to_reference(load(made, tmp_path).params), as_numpy(made.load()))


def test_public_weights_when_the_gated_ones_are_refused(english, tmp_path, monkeypatch):
    public = oracle_files.write_public(english, tmp_path / "public.safetensors")
    gated = "hf://kyutai/none/model.safetensors"
    made = oracle_files.rewrite(english, tmp_path / "gated.yaml", bundle=gated, public=public)
    download = tts_model.download_if_necessary

    def refuse(path):
        if path == gated:
            raise OSError("401")
        return download(path)

    monkeypatch.setattr(tts_model, "download_if_necessary", refuse)
    theirs = made.load()

    def fetch(sources, *, quiet):
        assert list(sources) == [gated, str(public)]
        return public, 1

    ours = weights.load(parse(made), fetch, cache_dir=tmp_path / "cache", quiet=True)
    assert_same(to_reference(ours.params), as_numpy(theirs))
    assert ours.has_voice_cloning is theirs.has_voice_cloning is False
    # Named plainly, without saying what they are, they are still found out.
    plain = oracle_files.rewrite(english, tmp_path / "plain.yaml", bundle=public)
    assert not load(plain, tmp_path).has_voice_cloning


@pytest.mark.parametrize("tokenizer", ["model", "json"])
def test_a_converted_file_goes_back_to_the_reference(tmp_path, monkeypatch, tokenizer):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    made = oracle.build("english_2m", 3, tmp_path / "made", tokenizer=tokenizer)
    before = made.load()
    one, back = tmp_path / "one.safetensors", tmp_path / "back.safetensors"
    assert convert.__main__.main(["convert", str(made.yaml), str(one)]) == 0
    for file in made.folder.iterdir():
        file.unlink()
    assert convert.__main__.main(["convert", str(one), str(back), "--to_reference"]) == 0
    after = dataclasses.replace(made, yaml=back.with_suffix(".yaml")).load()
    assert_same(as_numpy(after), as_numpy(before))
    text = "Thank you, John."
    assert after.config.mimi == before.config.mimi
    assert torch.equal(
        after.flow_lm.conditioner.prepare(text), before.flow_lm.conditioner.prepare(text)
    )
