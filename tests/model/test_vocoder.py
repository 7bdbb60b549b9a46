"""A codec that hears spectra and speaks by FARGAN: it streams and computes what FARGAN does."""

import dataclasses
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert.__main__ import _check_whole
from int8 import QTensor, dequantize
from ptts_jax.model import codec, config, vocoder, vocoder_state
from ptts_jax.store import converted, safetensors
from tests.support import tiny
from tests.support.streaming import assert_streams

MIMI = dataclasses.replace(
    tiny.PLAIN.mimi,
    sample_rate=16_000,
    frame_rate=25.0,  # two steps a frame, of two the vocoder's each
    seanet=dataclasses.replace(tiny.PLAIN.mimi.seanet, ratios=(320,)),
    transformer=dataclasses.replace(tiny.PLAIN.mimi.transformer, num_layers=1),
    vocoder=config.VocoderConfig(window=480),
)
CONFIG = dataclasses.replace(tiny.PLAIN, mimi=MIMI)


def params():
    """Random, but quiet enough that what is fed back does not grow."""
    return jax.tree.map(lambda x: 0.3 * x, tiny.params(CONFIG)["codec"])


@pytest.mark.slow
def test_both_sides_stream():
    tree = params()
    latents = jax.random.normal(jax.random.key(1), (3, 6, MIMI.latent_dim))
    assert_streams(
        lambda x, s: codec.decode(tree, MIMI, x, s),
        lambda batch: codec.decoder_state(MIMI, batch),
        latents,
        rate=MIMI.frame_size,
        tol=1e-3,
    )
    wave = jax.random.normal(jax.random.key(2), (2, 6 * MIMI.frame_size))
    assert_streams(
        lambda x, s: codec.encode(tree, MIMI, x, s),
        lambda batch: codec.encoder_state(MIMI, batch),
        wave,
        rate=1 / MIMI.frame_size,
        multiple=MIMI.frame_size,
        first=MIMI.frame_size,
    )


def test_inaudible_is_what_the_vocoder_is_told():
    latents = jax.random.normal(jax.random.key(1), (1, 3, MIMI.latent_dim))
    state = codec.decoder_state(MIMI, 1)
    decoder = params()["decoder"]
    told, _ = codec.Decoder(MIMI, audible=False).apply({"params": decoder}, latents, state)
    wave, _ = codec.decode(params(), MIMI, latents, state)
    said, _ = vocoder.Vocoder().apply({"params": decoder["vocoder"]}, told, state.ends)
    np.testing.assert_allclose(said, wave, atol=1e-6)


def test_a_pitch_too_low_is_told_as_the_lowest():
    """The vocoder shrieks at its longest periods, as creaking voices have them."""
    decoder = params()["decoder"]["vocoder"]
    hz = np.array([50, 66, 62.5, 66, 130])

    def said(hz):
        told = np.zeros((1, len(hz), vocoder_state.FEATURES), np.float32)
        told[..., vocoder.CEPSTRA] = np.log2(hz / 62.5) - 1.5
        state = vocoder_state.VocoderState.init(1)
        return vocoder.Vocoder().apply({"params": decoder}, told, state)[0]

    np.testing.assert_array_equal(said(hz), said(np.maximum(hz, vocoder.LOWEST)))
    assert np.abs(said(hz) - said(hz + 40)).max() > 0


def test_the_past_is_a_period_ago_and_repeats():
    signal = jnp.arange(vocoder.LONGEST, dtype=jnp.float32)[None]
    far = vocoder.ago(signal, jnp.array([100]))[0]
    np.testing.assert_array_equal(far, vocoder.LONGEST - 100 - 2 + np.arange(vocoder.N + 4))
    near = vocoder.ago(signal, jnp.array([32]))[0]
    np.testing.assert_array_equal(near[34:], near[2:12])
    assert near[33] == vocoder.LONGEST - 1


def test_periods_are_those_of_opus():
    hz = np.array([62.5, 100, 125, 250, 500])
    pitch = np.log2(hz / 62.5) - 1.5
    np.testing.assert_array_equal(vocoder.periods(pitch), [255, 160, 128, 64, 32])


def test_the_emphasis_comes_off_as_by_its_recursion():
    x = np.random.default_rng(0).normal(size=vocoder.N)
    last, expected = 0.7, []
    for value in x:
        last = value + vocoder.EMPHASIS * last
        expected.append(last)
    np.testing.assert_allclose(x @ vocoder.RINGING + 0.7 * vocoder.FADING, expected, rtol=1e-5)


def test_a_gru_by_hand():
    """Those of Opus: the reset gate is put on the product, and the first gate keeps."""
    layer = params()["decoder"]["vocoder"]["subframe"]
    x, old = np.full((1, 272), 0.1), np.linspace(-1, 1, 160)[None]
    told = x @ np.asarray(layer["gru_0_input"]["w"]).T
    kept = old @ np.asarray(layer["gru_0_state"]["w"]).T
    keep, reset = (1 / (1 + np.exp(-(told + kept)[:, i : i + 160])) for i in (0, 160))
    new = np.tanh(told[:, 320:] + reset * kept[:, 320:])

    class Alone(vocoder.Subframe):
        @nn.compact
        def __call__(self, x, old):
            return self._gru(0, x, old)

    found = Alone().apply({"params": layer}, jnp.array(x, jnp.float32), jnp.array(old, jnp.float32))
    np.testing.assert_allclose(found, keep * old + (1 - keep) * new, atol=1e-5)


def test_spectra_of_a_tone():
    wave = jnp.sin(2 * jnp.pi * 1000 * jnp.arange(1600) / 16_000)[None]
    found, past = vocoder.spectra(wave, vocoder_state.spectra_past(MIMI.vocoder, 1))
    assert found.shape == (1, 10, 241) and past.shape == (1, 320)
    assert (np.asarray(found[0, 3:]).argmax(-1) == 30).all()  # bins of 33 Hz
    np.testing.assert_array_equal(past, wave[:, -320:])


def test_such_a_model_is_kept(tmp_path):
    tree = tiny.params(CONFIG)
    assert "seanet" not in tree["codec"]["decoder"] and "seanet" not in tree["codec"]["encoder"]
    path = tmp_path / "model.safetensors"
    kept = converted.Converted("small", CONFIG, tree, ("", b"x"), voice_cloning=True)
    converted.save(path, kept, compact=True)
    loaded = converted.load(path)
    assert loaded.config == CONFIG
    for again in (tmp_path / "again.safetensors", tmp_path / "compact.safetensors"):
        converted.save(again, loaded, compact=again.stem == "compact")
        layers = converted.load(again).params["codec"]["decoder"]["vocoder"]["subframe"]
        whole = {name for name, layer in layers.items() if isinstance(layer["w"], QTensor)}
        assert layers.keys() - whole == {"gain", "shares"}
        np.testing.assert_allclose(
            dequantize(layers["first"]["w"]),
            tree["codec"]["decoder"]["vocoder"]["subframe"]["first"]["w"],
            atol=2e-3,
        )
    stand_in = SimpleNamespace(config=CONFIG, params=tree)
    with pytest.raises(safetensors.FileError, match="speaks by a vocoder, which the reference"):
        _check_whole(stand_in, str(path))


@pytest.mark.parametrize(
    ("mimi", "words"),
    [
        ({"vocoder": config.VocoderConfig(window=500)}, "multiple of the vocoder's step, 160"),
        ({"vocoder": config.VocoderConfig(window=160)}, "above it, got 160"),
        ({"sample_rate": 24_000, "frame_rate": 37.5}, "sample_rate of 16000 and ratios that"),
    ],
)
def test_shapes_that_cannot_be(mimi, words):
    wrong = config.to_yaml(dataclasses.replace(CONFIG, mimi=dataclasses.replace(MIMI, **mimi)))
    with pytest.raises(config.ConfigError) as error:
        config.parse(wrong, "a.yaml")
    assert words in str(error.value) and "a.yaml: mimi.vocoder" in str(error.value)
