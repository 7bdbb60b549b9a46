"""The causal convolution: native and plain XLA agree, alone, mapped and differentiated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from int8 import conv, set_backend

CASES = {  # taps, cin, cout, stride, dilation
    "plain": (3, 8, 6, 1, 1),
    "wide": (2, 256, 48, 1, 1),
    "strided": (4, 5, 7, 2, 1),
    "dilated": (3, 8, 16, 1, 2),
    "one": (1, 33, 1, 1, 1),
}


@pytest.fixture(autouse=True)
def any_backend():
    yield
    set_backend("auto")


def arguments(case, batch=2, time=12, dtype=jnp.float32):
    taps, cin, cout, stride, dilation = CASES[case]
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    memory = (taps - 1) * dilation + 1 - stride
    w = (draw(taps, cin, cout) / np.sqrt(taps * cin)).astype(dtype)
    given = draw(batch, time, cin), draw(batch, memory, cin), w, draw(cout)
    return (*given, draw(batch, time // stride, cout)), {"stride": stride, "dilation": dilation}


def by(backend, f, *args):
    set_backend(backend)
    return jax.jit(lambda *a: f(*a))(*args)


def assert_alike(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_backends_agree(case, activate, dtype):
    args, options = arguments(case, dtype=dtype)

    def f(*a):
        return conv(*a, activate=activate, **options)

    assert_alike(by("native", f, *args), by("xla", f, *args))
    bare = args[:3]
    assert_alike(by("native", f, *bare), by("xla", f, *bare))


def test_a_bias_for_several_phases():
    (x, past, w, _, _), _ = arguments("plain")
    bias = jnp.arange(3.0)
    y, _ = by("native", conv, x, past, w, bias)
    plain, _ = by("native", conv, x, past, w)
    np.testing.assert_allclose(y - plain, np.broadcast_to([0, 1, 2, 0, 1, 2], y.shape), atol=1e-5)


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_phases_stand_in_a_row(backend):
    (x, past, w, _, add), _ = arguments("plain")
    y, _ = by(backend, conv, x, past, w, None, add)
    spread = lambda *a: conv(*a, phases=3)  # noqa: E731
    folded, _ = by(backend, spread, x, past, w, None, add.reshape(2, -1, 2))
    np.testing.assert_array_equal(folded, y.reshape(2, 36, 2))


def test_what_is_added_to_is_not_lost():
    """The sum may take its place, but only where nobody needs it any more."""
    (x, past, w, _, add), _ = arguments("plain")
    kept = np.array(add)
    both = jax.jit(lambda *a: (conv(*a[:3], None, a[3])[0], a[3]))
    set_backend("native")
    y, same = both(x, past, w, add)
    np.testing.assert_array_equal(same, kept)
    np.testing.assert_array_equal(add, kept)
    assert np.abs(np.asarray(y) - kept).max() > 0.1


def test_the_call_is_native():
    args, options = arguments("plain")
    set_backend("native")
    text = jax.jit(lambda *a: conv(*a, **options)).lower(*args).as_text()
    assert "int8_conv" in text


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("taps", "cin", "cout"), [(2, 70, 48), (3, 64, 33), (7, 5, 16), (4, 8, 8)])
def test_filtered_is_the_same(taps, cin, cout, dtype):
    """Four taps have no filter: they are done as ever."""
    rng = np.random.default_rng(0)
    x, past, w, bias, add = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((2, 12, cin), (2, taps - 1, cin), (taps, cin, cout), cout, (2, 12, cout))
    )
    args = x, past, (w / np.sqrt(taps * cin)).astype(dtype), bias, add
    f = functools.partial(conv, activate=True, filtered=True)
    whole = by("native", f, *args)
    assert_alike(whole, by("xla", f, *args))
    parts, rest = [], past
    for at in (0, 4, 8):  # bit for bit, however many fours come at once
        y, rest = by("native", f, x[:, at : at + 4], rest, *args[2:4], add[:, at : at + 4])
        parts.append(y)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole[0])
    np.testing.assert_array_equal(rest, whole[1])


@pytest.mark.parametrize("how", [{"time": 6}, {"stride": 2}, {"dilation": 2}])
def test_filtered_wants_fours(how):
    how = {"time": 12, "stride": 1, "dilation": 1, **how}
    x, w = jnp.ones((1, how.pop("time"), 3)), jnp.ones((3, 3, 3))
    past = jnp.ones((1, 2 * how["dilation"] + 1 - how["stride"], 3))
    with pytest.raises(ValueError, match="a time of fours"):
        conv(x, past, w, filtered=True, **how)


@pytest.mark.parametrize("mapped", [(0, 0, None, None, 0), (0, 0, 0, None, 0)])
def test_mapped_by_vmap(mapped):
    args, options = arguments("plain")
    args = [jnp.stack([a, 2 * a]) if m == 0 else a for a, m in zip(args, mapped, strict=True)]

    def f(*a):
        return jax.vmap(lambda *one: conv(*one, **options), mapped)(*a)

    assert_alike(by("native", f, *args), by("xla", f, *args))


def test_differentiated():
    args, options = arguments("plain")

    def loss(*a):
        y, past = conv(*a, activate=True, **options)
        return jnp.sum(y**2) + jnp.sum(past)

    slopes = jax.grad(loss, argnums=range(5))
    assert_alike(by("native", slopes, *args), by("xla", slopes, *args))
