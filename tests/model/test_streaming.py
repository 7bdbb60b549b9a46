"""Every streaming layer is one function of (x, state): chunked equals offline."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptts_jax.model import codec
from ptts_jax.model.caches.window import WindowCache
from ptts_jax.model.conv import Conv, ConvSpec
from ptts_jax.model.transformer import Transformer
from tests.support import tiny
from tests.support.streaming import assert_backbone_streams, assert_streams

SPECS = {
    "plain": ConvSpec("c", 3, 5, 7),
    "one": ConvSpec("c", 3, 5, 1),
    "dilated": ConvSpec("c", 3, 5, 3, dilation=4),
    "strided": ConvSpec("c", 3, 5, 8, stride=4),
    "no_bias": ConvSpec("c", 3, 5, 4, bias=False),
    "replicate": ConvSpec("c", 3, 5, 8, stride=4, bias=False, replicate=True),
    "up": ConvSpec("c", 4, 6, 10, stride=5, transposed=True),
    "depthwise": ConvSpec("c", 4, 4, 8, stride=4, bias=False, transposed=True, depthwise=True),
}


@pytest.fixture(autouse=True)
def quick_compilation():
    """Many shapes, each compiled once and run twice."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("name", SPECS)
def test_conv_streams(name):
    spec = SPECS[name]
    module = Conv(spec)
    x = noise(3, 40, spec.cin)
    params = jax.jit(module.init)(jax.random.key(1), x, spec.state(3))
    down = 1 if spec.transposed else spec.stride
    assert_streams(
        lambda x, s: module.apply(params, x, s),
        spec.state,
        x,
        rate=spec.stride if spec.transposed else 1 / down,
        multiple=down,
    )


def test_conv_against_numpy():
    spec = ConvSpec("c", 2, 3, 5, dilation=2)
    x, w, b = noise(1, 12, 2), noise(5, 2, 3, seed=1), noise(3, seed=2)
    y, _ = Conv(spec).apply({"params": {"w": w, "b": b}}, x, spec.state(1))
    padded = np.concatenate([np.zeros((8, 2)), np.asarray(x[0])])
    want = [
        sum(padded[t + 2 * k] @ np.asarray(w[k]) for k in range(5)) + np.asarray(b)
        for t in range(12)
    ]
    np.testing.assert_allclose(y[0], np.stack(want), atol=1e-5)


def test_transposed_conv_is_overlap_add():
    spec = ConvSpec("c", 2, 3, 8, stride=4, transposed=True)
    x, kernel, b = noise(1, 6, 2), np.asarray(noise(2, 3, 8, seed=1)), noise(3, seed=2)
    want = np.zeros((6 * 4 + 4, 3))
    for t in range(6):
        want[4 * t : 4 * t + 8] += np.einsum("c,cok->ko", np.asarray(x[0, t]), kernel)
    taps = [kernel[:, :, 4:], kernel[:, :, :4]]  # the previous input's phases, then this one's
    w = np.stack([tap.transpose(0, 2, 1).reshape(2, 12) for tap in taps])
    y, _ = Conv(spec).apply({"params": {"w": w, "b": b}}, x, spec.state(1))
    np.testing.assert_allclose(y[0], want[:24] + np.asarray(b), atol=1e-5)


@pytest.mark.parametrize("base", [tiny.PLAIN, tiny.RICH], ids=["plain", "rich"])
def test_windowed_transformer_streams(base):
    c = base.mimi.decoder_tf
    module = Transformer(c)

    def make(batch):
        cache = WindowCache.init(c.num_layers, batch, c.kv_heads, c.context, c.head_dim)
        return cache, jnp.zeros((batch,), jnp.int32)

    def layer(x, state):
        cache, position = state
        positions = position[:, None] + jnp.arange(x.shape[1])
        y, cache = module.apply(params, x, cache, positions)
        return y, (cache, position + x.shape[1])

    x = noise(2, 50, c.d_model)
    cache, position = make(2)
    params = jax.jit(module.init)(jax.random.key(1), x, cache, jnp.zeros((2, 50), jnp.int32))
    assert_streams(layer, make, x)


def test_window_forgets():
    """Beyond `context` entries nothing is seen, in one layer."""
    c = tiny.PLAIN.mimi.transformer
    c = type(c)(**{**vars(c), "num_layers": 1})
    module = Transformer(c)
    cache = WindowCache.init(1, 1, c.kv_heads, c.context, c.head_dim)
    x = noise(1, c.context + 1, c.d_model)
    positions = jnp.arange(c.context + 1)[None]
    params = jax.jit(module.init)(jax.random.key(0), x, cache, positions)
    last = [
        module.apply(params, x.at[0, i].multiply(-1.0), cache, positions)[0][0, -1] for i in (0, 1)
    ]
    same = module.apply(params, x, cache, positions)[0][0, -1]
    np.testing.assert_array_equal(last[0], same)
    assert np.abs(np.asarray(last[1] - same)).max() > 1e-4


@pytest.mark.parametrize("base", [tiny.PLAIN, tiny.RICH], ids=["plain", "rich"])
def test_codec_streams(base):
    c, params = base.mimi, tiny.params(base)["codec"]
    assert_streams(
        lambda x, s: codec.decode(params, c, x, s),
        lambda batch: codec.decoder_state(c, batch),
        noise(2, 12, c.latent_dim),
        rate=c.frame_size,
        tol=1e-4,
    )
    assert_streams(
        lambda x, s: codec.encode(params, c, x, s),
        lambda batch: codec.encoder_state(c, batch),
        noise(2, 12 * c.frame_size),
        rate=1 / c.frame_size,
        multiple=c.frame_size,
        tol=1e-4,
    )


@pytest.mark.parametrize("base", [tiny.PLAIN, tiny.RICH], ids=["plain", "rich"])
def test_backbone_streams(base):
    c, params = base.flow_lm, tiny.params(base)["lm"]
    assert_backbone_streams(params, c, noise(2, 40, c.transformer.d_model), tol=1e-4)
