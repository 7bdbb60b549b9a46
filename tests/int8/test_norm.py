"""The layer norm: native and plain XLA agree, alone, mapped and differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from int8 import layer_norm, set_backend
from int8.runtime import library

EPS = 1e-5


@pytest.fixture(autouse=True)
def any_backend():
    yield
    set_backend("auto")


def arguments(*shape):
    rng = np.random.default_rng(0)
    draw = lambda *s: jnp.asarray(rng.standard_normal(s), jnp.float32)  # noqa: E731
    return 3 * draw(*shape) + 1, draw(shape[-1]), draw(shape[-1])


def norm(*args):
    return layer_norm(*args, eps=EPS)


def by(backend, f, *args):
    set_backend(backend)
    return jax.jit(lambda *a: f(*a))(*args)


def exact(x, scale=1.0, bias=0.0):
    x = np.asarray(x, np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS)
    return x * scale + bias


@pytest.mark.parametrize("backend", ["native", "xla"])
@pytest.mark.parametrize("shape", [(1024,), (2, 3, 64), (5, 7), (4, 1), (0, 8)])
def test_against_the_formula(shape, backend):
    args = arguments(*shape)
    np.testing.assert_allclose(by(backend, norm, *args), exact(*args), atol=2e-5)
    np.testing.assert_allclose(by(backend, norm, args[0]), exact(args[0]), atol=2e-5)


def test_every_instruction_set_agrees(monkeypatch):
    args = arguments(3, 100)
    for isa in library.supported_isas():
        monkeypatch.setenv("INT8_ISA", isa)
        np.testing.assert_allclose(by("native", norm, *args), exact(*args), atol=2e-5)


def test_a_row_is_the_same_in_any_company():
    x, scale, bias = arguments(9, 72)
    x = x.at[4, 3].set(jnp.nan)
    together = by("native", norm, x, scale, bias)
    for i in range(9):
        np.testing.assert_array_equal(together[i], by("native", norm, x[i], scale, bias))
    assert np.isnan(together[4]).all() and np.isfinite(np.delete(together, 4, axis=0)).all()


def test_the_call_is_native():
    args = arguments(2, 8)
    for backend, native in (("native", True), ("xla", False)):
        set_backend(backend)
        assert ("int8_norm" in jax.jit(lambda *a: norm(*a)).lower(*args).as_text()) == native
        halves = [a.astype(jnp.bfloat16) for a in args]  # are XLA's
        assert norm(*halves).dtype == jnp.bfloat16


@pytest.mark.parametrize("mapped", [(0, None, None), (0, 0, 0), (None, 0, 0)])
def test_mapped_by_vmap(mapped):
    args = [
        a if m is None else jnp.stack([a, 2 * a])
        for a, m in zip(arguments(3, 40), mapped, strict=True)
    ]
    f = jax.vmap(norm, mapped)
    np.testing.assert_allclose(by("native", f, *args), by("xla", f, *args), atol=2e-5)


def test_differentiated():
    args = arguments(3, 40)
    slopes = jax.grad(lambda *a: jnp.sum(jnp.cos(norm(*a))), argnums=range(3))
    for got, want in zip(by("native", slopes, *args), by("xla", slopes, *args), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)
