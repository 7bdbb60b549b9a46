"""The vocoder's native call: numbers of the plain form, in any instruction set and however cut."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import int8
from int8.runtime import library
from ptts_jax.model import vocoder
from ptts_jax.model.vocoder_state import CONDITION, GRUS, INPUT, LONGEST


@pytest.fixture(autouse=True)
def any_backend():
    yield
    int8.set_backend("auto")


@functools.cache
def weights():
    """Random ones, quiet enough that what is fed back does not grow; the large ones as integers."""
    params = vocoder._subframe_params(jax.random.key(0), ())
    large = lambda w: w.ndim == 2 and w.shape[0] > 4  # noqa: E731
    return jax.tree.map(lambda w: int8.quantize(1.5 * w) if large(w) else 1.5 * w, params)


def arguments(batch=2, time=12):
    rng = np.random.default_rng(1)

    def draw(*shape):
        return jnp.asarray(np.tanh(0.5 * rng.standard_normal(shape)), jnp.float32)

    grus = tuple(draw(batch, width) for width in GRUS)
    kept = draw(batch, LONGEST), draw(batch, INPUT), grus, draw(batch)
    periods = jnp.asarray(rng.integers(32, 256, (batch, time)), jnp.int32)
    return weights(), *kept, draw(batch, time, CONDITION), periods


def speak(*args):
    return int8.subframes(vocoder._subframes, *args)


def by(backend, f, *args):
    int8.set_backend(backend)
    return jax.jit(lambda *a: f(*a))(*args)


def assert_alike(got, want, atol=2e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=atol)


def test_every_instruction_set_agrees_with_the_plain_form(monkeypatch):
    want = by("xla", speak, *arguments())
    assert np.std(want[0]) > 0.03
    for isa in library.supported_isas():
        monkeypatch.setenv("INT8_ISA", isa)
        assert_alike(by("native", speak, *arguments()), want)


def test_its_integers_are_as_good_as_floats():
    """Eight bits in the place of the 24 of what is multiplied would be 40 dB."""
    args = arguments(1, 40)
    want, got = (np.asarray(by(way, speak, *args)[0]) for way in ("xla", "native"))
    assert 10 * np.log10(np.sum(want**2) / np.sum((got - want) ** 2)) > 90


def test_cut_anywhere_and_in_any_company_it_is_the_same():
    params, *state, conditions, periods = arguments()
    wave, *after = by("native", speak, params, *state, conditions, periods)
    parts = []
    for cut in (slice(0, 1), slice(1, 8), slice(8, 12)):
        part, *state = by("native", speak, params, *state, conditions[:, cut], periods[:, cut])
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, 1), wave)
    assert_alike(state, after, atol=0)
    second = jax.tree.map(lambda x: x[1:], arguments()[1:])
    np.testing.assert_array_equal(by("native", speak, params, *second)[0], wave[1:])


def test_a_nan_stays_in_its_row():
    params, *state, conditions, periods = arguments()
    wave = by("native", speak, params, *state, conditions.at[0, 3, 7].set(jnp.nan), periods)[0]
    assert np.isnan(wave[0, 3:]).all()
    assert np.isfinite(wave[0, :3]).all() and np.isfinite(wave[1]).all()


def test_the_call_is_native_where_weights_are_integers():
    args = arguments()
    int8.set_backend("native")
    floats = int8.dequantized(args[0]), *args[1:]
    text = lambda a: jax.jit(lambda *b: speak(*b)).lower(*a).as_text()  # noqa: E731
    assert "int8_vocoder" in text(args) and "int8_vocoder" not in text(floats)
    assert_alike(jax.jit(speak)(*floats), jax.jit(speak)(*args))
    exported = jax.export.export(jax.jit(lambda *b: speak(*b)), platforms=["cuda", "tpu"])(*args)
    assert "custom_call @int8" not in exported.mlir_module()


@pytest.mark.slow
def test_mapped_and_differentiated_it_is_the_plain_form():
    args = arguments(1, 3)
    params, *kept, conditions, periods = args
    several = jnp.stack([conditions, conditions / 2])
    mapped = jax.vmap(lambda c: speak(params, *kept, c, periods)[0])
    assert_alike(by("native", mapped, several), by("xla", mapped, several))
    slope = jax.grad(lambda c: jnp.sum(jnp.cos(speak(params, *kept, c, periods)[0])))
    assert_alike(by("native", slope, conditions), by("xla", slope, conditions), atol=1e-4)
