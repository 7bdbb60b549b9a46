"""Which files make a model, and what they hold."""

import dataclasses

import jax
import numpy as np
import pytest

from convert import ConvertError, to_reference
from ptts_jax.store import safetensors, weights
from ptts_jax.store.safetensors import FileError
from tests.support import small_weights as small


def combined(bundle=None, public=None, lm=None, codec=None):
    return dataclasses.replace(
        small.CONFIG,
        weights_path=bundle,
        weights_path_without_voice_cloning=public,
        flow_lm=dataclasses.replace(small.CONFIG.flow_lm, weights_path=lm),
        mimi=dataclasses.replace(small.CONFIG.mimi, weights_path=codec),
    )


@pytest.fixture
def parts(tmp_path):
    """Files of two models: both bundles, and raw parts of the second."""
    second = small.random_params(1)
    tensors = to_reference(second)
    lm = {k.removeprefix("flow_lm."): x for k, x in tensors.items() if k.startswith("flow_lm.")}
    codec = {k: x for k, x in tensors.items() if k.startswith("mimi.")}
    safetensors.write(tmp_path / "lm", lm)
    safetensors.write(tmp_path / "codec", codec)
    small.write_source(tmp_path / "bundle")
    return {name: tmp_path / name for name in ("bundle", "lm", "codec")}, second


@pytest.mark.parametrize(
    ("named", "lm_from", "codec_from", "asked"),
    [
        ({"bundle"}, "bundle", "bundle", [["bundle"]]),
        ({"bundle", "codec"}, "bundle", "parts", [["bundle"], ["codec"]]),
        ({"lm", "codec"}, "parts", "parts", [["lm"], ["codec"]]),
        ({"bundle", "lm", "codec"}, "bundle", "parts", [["bundle"], ["codec"]]),
        ({"public", "lm", "codec"}, "parts", "parts", [["lm"], ["codec"]]),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else "",
)
def test_combinations(parts, cache, named, lm_from, codec_from, asked):
    known, second = parts
    fetch = small.fetcher(**known)
    loaded = weights.load(
        combined(**{name: name for name in named}), fetch, cache_dir=cache, quiet=True
    )
    trees = {"bundle": small.PARAMS, "parts": second}
    small.assert_same(loaded.params["lm"], trees[lm_from]["lm"])
    small.assert_same(loaded.params["codec"], trees[codec_from]["codec"])
    assert fetch.asked == asked and loaded.has_voice_cloning


@pytest.mark.parametrize(
    ("named", "words"),
    [({"lm"}, "mimi.weights_path"), (set(), "weights_path"), ({"codec"}, "no w")],
)
def test_impossible_combinations(cache, named, words):
    with pytest.raises(ValueError, match=words):
        weights.load(
            combined(**{name: name for name in named}), small.fetcher(), cache_dir=cache, quiet=True
        )


@pytest.mark.parametrize("bundle", ["gated", None])
def test_the_public_weights_cannot_clone(source, cache, bundle):
    config = combined(bundle=bundle, public="public")
    fetch = small.fetcher(public=source)
    for _ in range(2):  # converted, and from the copy
        assert not weights.load(config, fetch, cache_dir=cache, quiet=True).has_voice_cloning
    assert fetch.asked[0] == [name for name in (bundle, "public") if name]
    config = combined(bundle="gated", public="public")
    gated = weights.load(config, small.fetcher(gated=source), cache_dir=cache, quiet=True)
    assert gated.has_voice_cloning


@pytest.mark.parametrize("part", ["seanet", "downsample"])
def test_a_zeroed_encoder_cannot_clone(tmp_path, cache, part):
    params = small.random_params()
    params["codec"]["encoder"][part] = jax.tree.map(np.zeros_like, params["codec"]["encoder"][part])
    source = small.write_source(tmp_path / "zeroed", params)
    for _ in range(2):
        assert not small.load(source, cache).has_voice_cloning


def test_misfits_name_the_file(tmp_path, cache):
    tensors = to_reference(small.PARAMS)
    del tensors["flow_lm.bos_emb"]
    path = tmp_path / "broken.safetensors"
    safetensors.write(path, tensors)
    with pytest.raises(
        ConvertError, match=r"broken\.safetensors: .*flow_lm\.bos_emb \[8\] is miss"
    ):
        small.load(path, cache)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match=r"broken\.safetensors: .*cut short"):
        small.load(path, cache)
    path.unlink()
    with pytest.raises(FileError, match=r"broken\.safetensors: cannot be read"):
        small.load(path, cache)
    assert not (cache / "weights").exists()
