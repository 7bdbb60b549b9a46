"""The codec's decoder in less precision: every method, and what is heard of it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import flatten
from int8 import QTensor
from ptts_jax.bench.int8 import decoder
from ptts_jax.bench.int8.audio import pauses
from ptts_jax.bench.statistics import (
    relative_rms,
    snr_db,
)
from ptts_jax.model import codec
from ptts_jax.store import quantization
from tests.support import tiny, tiny_files


def decoder_setup():
    c = tiny.PLAIN
    rng = np.random.default_rng(0)
    latents = [rng.standard_normal((n, c.mimi.latent_dim), np.float32) for n in (5, 18)]
    return c, tiny_files.params(c), latents


ALL = decoder.PARTS["transformer, all convolutions"]


@pytest.fixture(scope="module")
def ranges():
    c, params, latents = decoder_setup()
    return decoder.calibrate(params, c, latents)


def test_calibration_sees_what_goes_in(ranges):
    c, params, latents = decoder_setup()
    tree, _ = decoder.variant(params, ALL, decoder.DYNAMIC, {})
    chosen = {name for name, leaf in flatten(tree).items() if isinstance(leaf, QTensor)}
    assert chosen < set(ranges)
    for largest, *others in ranges.values():
        assert largest >= others[0] >= others[1] > 0
    std, mean = (np.asarray(params["lm"][part]) for part in ("std", "mean"))
    first = np.abs(np.concatenate(latents) * std + mean).max()
    assert ranges["codec/decoder/quantizer/w"][0] == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        decoder.DYNAMIC,
        decoder.static(99.9),
        decoder.WEIGHTS,
        decoder.BF16,
    ],
)
def test_every_method_is_near_and_streams(method, ranges):
    c, params, latents = decoder_setup()
    base = decoder.decode(params, {}, c, latents)
    changed, changes = decoder.variant(params, ALL, method, ranges)
    assert bool(changes) == (method not in (decoder.DYNAMIC, decoder.WEIGHTS))
    waves = decoder.decode(changed, changes, c, latents)
    for a, b, x in zip(base, waves, latents, strict=True):
        assert a.shape == b.shape == (len(x) * c.mimi.frame_size,)
        assert 15 < snr_db(a, b) < 70
    alone = decoder.decode(changed, changes, c, latents[1:])[0]
    assert snr_db(waves[1], alone) > 50  # but for values that round the other way


def test_methods_round_as_they_say(ranges):
    c, params, _ = decoder_setup()
    for method in (decoder.WEIGHTS, decoder.BF16):
        changed, _ = decoder.variant(params, ALL, method, ranges)
        for name, leaf in flatten(changed).items():
            was = np.asarray(flatten(params)[name])
            touched = any(re.fullmatch(p, name) for p in ALL)
            if touched and method == decoder.BF16:
                was = quantization.as_matrix(was)
            assert (relative_rms(was, np.asarray(leaf)) > 0) == touched, name
            assert relative_rms(was, np.asarray(leaf)) < 0.02
    cut = decoder.rounding(1.27)
    x = jnp.array([0.0, 0.004, 0.006, 1.0, 5.0, -5.0])
    np.testing.assert_allclose(cut(x), [0, 0, 0.01, 1, 1.27, -1.27], atol=1e-6)
    np.testing.assert_array_equal(cut(cut(x)), cut(x))


def test_fewer_bits_for_more_of_the_decoder_is_worse(ranges):
    c, params, latents = decoder_setup()
    base = decoder.decode(params, {}, c, latents)[1]

    def snr(patterns, method):
        changed, changes = decoder.variant(params, patterns, method, ranges)
        return snr_db(base, decoder.decode(changed, changes, c, latents)[1])

    bf16, weights_alone, fixed = (
        snr(ALL, method)
        for method in (
            decoder.BF16,
            decoder.WEIGHTS,
            decoder.static(100.0),
        )
    )
    assert bf16 > weights_alone > fixed
    assert snr(decoder.PARTS["transformer"], decoder.BF16) > bf16


def test_noise_is_judged_in_pauses():
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal(24000)
    wave[4800:9600] *= 1e-4
    hiss = np.where(pauses(wave, 24000), 1e-3, 1e-2) * rng.standard_normal(24000)
    found = decoder.judge(wave, wave + hiss, 24000)
    assert found.error_in_pauses == pytest.approx(-60, abs=0.5)
    assert found.error == pytest.approx(-41, abs=0.5) and found.snr == pytest.approx(20, abs=0.5)
    loud = 0.1 * rng.standard_normal(24000)
    assert decoder.judge(loud, loud + hiss, 24000).error_in_pauses is None


def test_what_is_timed_computes_the_right_thing():
    c, params, latents = decoder_setup()
    block, state = latents[1][None, :8], codec.decoder_state(c.mimi, 1)
    after, exact = decoder.compiled(c, {})(params, state, block)
    small, computed = decoder.variant(params, ALL, decoder.BF16)
    tree, _ = decoder.variant(params, ALL, decoder.DYNAMIC)
    assert set(computed) == {n for n, leaf in flatten(tree).items() if isinstance(leaf, QTensor)}
    small_after, wave = decoder.compiled(c, computed)(small, state, block)
    assert 25 < snr_db(np.asarray(exact), np.asarray(wave)) < 70
    for got, want in zip(jax.tree.leaves(small_after), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(got, want, atol=0.1)
