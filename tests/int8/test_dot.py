"""Quantised products: every backend and instruction set gives the same integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import int8
from int8.ops.dot import _rows_dot
from int8.ops.xla_dot import quantize_activations
from int8.qtensor import NARROW_SPAN, SPAN, SPAN_16, span_of
from int8.runtime import library
from tests.support.products import case
from tests.support.threads import at_once

FORMATS = [(16, None), *((b, group) for b in (8, 4) for group in (None, 32, 64, 128))]

BACKENDS = ("native", "xla")


def _native(x, w, bias, isa):
    """The quantised product [rows, in] of one instruction set."""
    product = _rows_dot(w.bits, w.group_size, "native", library.ISAS[isa])
    return product(x, w.qvalue, w.scale, bias)


def _exact(x, w, bias=None):
    """The product of the integers in double precision."""
    span = span_of(w.shape[-1], w.group_size, w.bits)
    q, scale = (np.asarray(a, np.float64) for a in quantize_activations(x, w.group_size, w.bits))
    each = np.repeat(scale, span, axis=1)[:, : q.shape[1]]
    y = q * each @ np.asarray(int8.dequantize(w), np.float64).T
    return y if bias is None else y + np.asarray(bias)


def _assert_close(got, want, x, w):
    """To float rounding of sums as large as the products that went into them."""
    size = np.abs(np.asarray(x)) @ np.abs(np.asarray(int8.dequantize(w))).T
    assert got.dtype == np.float32
    assert (np.abs(np.asarray(got) - want) <= 1e-6 * size + 1e-6).all()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 70),
    out=st.integers(1, 40),
    size=st.integers(1, 150) | st.integers(250, 270) | st.integers(1000, 1300),
    form=st.sampled_from(FORMATS),
    with_bias=st.booleans(),
)
def test_backends_agree_over_shapes(seed, rows, out, size, form, with_bias):
    bits, group = form
    size = group * (1 + size % 4) if group else size * 2 if bits == 4 else size
    x, w, bias = case(seed, rows, size, out, bits, group)
    bias = bias if with_bias else None
    want = _exact(x, w, bias)
    for backend in BACKENDS:
        _assert_close(int8.dot(x, w, bias, backend=backend), want, x, w)


def test_activations_are_rounded_alike_bit_for_bit():
    """Through an identity matrix the integers themselves come out, ties and all."""
    size = 64
    w = int8.QTensor(jnp.eye(size, dtype=jnp.int8), jnp.ones(size), 8, None)
    rng = np.random.default_rng(0)
    ties = np.arange(-32, 32) + 0.5
    ties[0] = 127
    tiny = np.float32(2.0**-100)
    rows = [ties, ties * 3, np.zeros(size), rng.uniform(-1, 1, size) * 1e-41, ties * tiny]
    rows += [rng.standard_normal(size) * s for s in (1e-30, 1e-29, 1e-3, 1, 1e30, 3e37)]
    x = jnp.asarray(np.array(rows, np.float32))
    want = quantize_activations(x)
    for isa in ("xla", *library.supported_isas()):
        y = int8.dot(x, w, backend="xla") if isa == "xla" else _native(x, w, None, isa)
        np.testing.assert_array_equal(y, want[0].astype(jnp.float32) * want[1])
    np.testing.assert_array_equal(want[0][0][1:], np.rint(ties[1:]))
    assert not np.asarray(want[0][2:4]).any()


@pytest.mark.parametrize(("bits", "group"), FORMATS)
def test_every_instruction_set_is_exact_but_for_float_sums(bits, group):
    sizes = (128, 384) if group else (2, 62, 600, 1024)
    for rows, size in ((r, s) for s in sizes for r in (1, 3, 65)):
        x, w, bias = case(rows, rows, size, 9, bits, group)
        want = _exact(x, w, bias)
        for isa in library.supported_isas():
            _assert_close(_native(x, w, bias, isa), want, x, w)


@pytest.mark.parametrize(("bits", "group"), FORMATS)
def test_a_row_gives_the_same_in_any_company(bits, group):
    """Of one instruction set, to the last bit: streams and batches agree."""
    for size in (384,) if group else (62, 600, 1024):
        x, w, bias = case(size, 11, size, 9, bits, group)
        for isa in library.supported_isas():
            alone = np.concatenate([_native(row[None], w, bias, isa) for row in x])
            for rows in (2, 3, 4, 5, 8, 11):
                np.testing.assert_array_equal(_native(x[:rows], w, bias, isa), alone[:rows])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("bits", "group", "span", "columns"),
    [
        (8, None, NARROW_SPAN, 192),
        (8, None, NARROW_SPAN, 1022),
        (8, None, SPAN, 1024),
        (16, None, SPAN_16, 1024),
        (4, None, SPAN, 1034),
        (8, 64, 64, 192),
    ],
)
def test_a_large_value_spoils_no_other_span(backend, rows, bits, group, span, columns):
    rng = np.random.default_rng(40)
    x, w = (rng.standard_normal((n, columns)).astype(np.float32) for n in (rows, 9))
    x[:, 3], w[:, :span] = 1e6, 0
    q = jax.tree.map(jnp.asarray, int8.quantize(w, bits, group))
    y = int8.dot(jnp.asarray(x), q, backend=backend)
    want = x.astype(np.float64) @ int8.dequantize(q).T
    assert np.linalg.norm(y - want) < 0.03 * np.linalg.norm(want)


def test_this_machine_has_a_fast_instruction_set_listed():
    assert "portable" in library.supported_isas()
    best = library.load().int8_best_isa()
    assert best in {library.ISAS[i] for i in library.supported_isas()}


def test_isa_can_be_forced_by_environment(monkeypatch):
    x, w, bias = case(0, 3, 64, 8)
    want = int8.dot(x, w, bias, backend="native")
    for isa in library.supported_isas():
        monkeypatch.setenv("INT8_ISA", isa)
        _assert_close(int8.dot(x, w, bias, backend="native"), np.asarray(want), x, w)
    monkeypatch.setenv("INT8_ISA", "mmx")
    with pytest.raises(ValueError, match="INT8_ISA=mmx is not an instruction set of this machine"):
        int8.dot(x, w, bias, backend="native")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("bits", "group"), [(16, None), (8, None), (4, 32)])
def test_a_row_that_is_not_finite_spoils_only_itself(backend, bad, bits, group):
    x, w, bias = case(5, 6, 320, 10, bits, group)
    clean = int8.dot(x, w, bias, backend=backend)
    y = int8.dot(x.at[2, 40].set(bad), w, bias, backend=backend)
    assert np.isnan(y[2]).all()
    keep = np.array([0, 1, 3, 4, 5])
    np.testing.assert_array_equal(y[keep], clean[keep])


@pytest.mark.parametrize("backend", BACKENDS)
def test_zeros_give_the_bias(backend):
    _, w, bias = case(6, 1, 64, 10)
    y = int8.dot(jnp.zeros((2, 64)), w, bias, backend=backend)
    np.testing.assert_array_equal(y, np.tile(bias, (2, 1)))
    zero = int8.quantize(jnp.zeros((10, 64)))
    np.testing.assert_array_equal(int8.dot(jnp.ones((3, 64)), zero, backend=backend), 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_worst_case_sums_do_not_overflow(backend):
    x = jnp.full((2, 65536), 1.0)
    w = int8.QTensor(jnp.full((5, 65536), -128, jnp.int8), jnp.ones(5), 8, None)
    scale = quantize_activations(x)[1][0, 0]
    want = np.float32(-128 * 127 * 65536) * scale
    np.testing.assert_allclose(int8.dot(x, w, backend=backend), want, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_quantised_product_is_close_to_the_float_one(backend):
    rng = np.random.default_rng(7)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((5, 512), (64, 512)))
    want = x @ w.T
    for bits, limit in ((16, 0.001), (8, 0.02), (4, 0.2)):
        y = int8.dot(jnp.asarray(x), int8.quantize(jnp.asarray(w), bits), backend=backend)
        assert np.linalg.norm(y - want) < limit * np.linalg.norm(want)


def test_arrays_are_plain_products():
    rng = np.random.default_rng(8)
    x, w, b = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((2, 3, 8), (5, 8), (5,)))
    np.testing.assert_allclose(int8.dot(x, w, b), x @ w.T + b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(int8.dot(x, w), x @ w.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (0,), (2, 0)])
def test_leading_dimensions_are_kept(backend, lead):
    _, w, bias = case(9, 1, 32, 7)
    x = jax.random.normal(jax.random.key(0), (*lead, 32))
    y = int8.dot(x, w, bias, backend=backend)
    assert y.shape == (*lead, 7)
    if y.size:
        flat = int8.dot(x.reshape(-1, 32), w, bias, backend=backend)
        np.testing.assert_allclose(y.reshape(-1, 7), flat, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_result_has_the_type_of_x(backend):
    x, w, _ = case(10, 2, 32, 7)
    assert int8.dot(x.astype(jnp.bfloat16), w, backend=backend).dtype == jnp.bfloat16


@pytest.mark.parametrize("backend", BACKENDS)
class TestTransformations:
    def test_scan_and_while_loop(self, backend):
        x, w, bias = case(11, 1, 32, 32)
        step = lambda y: jnp.tanh(int8.dot(y, w, bias, backend=backend))  # noqa: E731
        want = x
        for _ in range(5):
            want = step(want)
        scanned, _ = jax.jit(lambda y: lax.scan(lambda c, _: (step(c), None), y, length=5))(x)
        body = lambda c: (c[0] + 1, step(c[1]))  # noqa: E731
        _, looped = jax.jit(lambda y: lax.while_loop(lambda c: c[0] < 5, body, (0, y)))(x)
        np.testing.assert_allclose(scanned, want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(looped, want, rtol=1e-5, atol=1e-6)

    def test_scan_over_stacked_weights(self, backend):
        rng = np.random.default_rng(12)
        w = int8.quantize(jnp.asarray(rng.standard_normal((4, 32, 32)), jnp.float32))
        x = jnp.asarray(rng.standard_normal((2, 32)), jnp.float32)
        body = lambda c, layer: (jnp.tanh(int8.dot(c, layer, backend=backend)), None)  # noqa: E731
        got, _ = lax.scan(body, x, w)
        for i in range(4):
            x, _ = body(x, jax.tree.map(lambda a, i=i: a[i], w))
        np.testing.assert_allclose(got, x, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("mapped", ["x", "bias", "w", "x bias", "x w", "w bias", "x w bias"])
    @pytest.mark.parametrize(("bits", "group"), [(16, None), (8, None), (4, 32)])
    def test_vmap_over_any_argument(self, backend, mapped, bits, group):
        cases = [case(i, 2, 64, 9, bits, group) for i in range(3)]
        stack = jax.tree.map(lambda *a: jnp.stack(a), *cases)
        names = ("x", "w", "bias")
        axes = tuple(0 if n in mapped.split() else None for n in names)
        pick = lambda i: [  # noqa: E731
            jax.tree.map(lambda a: a[i], s) if ax == 0 else c
            for s, c, ax in zip(stack, cases[0], axes, strict=True)
        ]
        args = [s if ax == 0 else c for s, c, ax in zip(stack, cases[0], axes, strict=True)]
        f = lambda x, w, b: int8.dot(x, w, b, backend=backend)  # noqa: E731
        got = jax.jit(jax.vmap(f, axes))(*args)
        want = jnp.stack([f(*pick(i)) for i in range(3)])
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-5)

    def test_nested_vmap_makes_one_product(self, backend):
        x, w, bias = case(13, 24, 64, 9)
        f = jax.vmap(jax.vmap(lambda v: int8.dot(v, w, bias, backend=backend)))
        got = f(x.reshape(4, 6, 64))
        np.testing.assert_allclose(
            got.reshape(24, 9), int8.dot(x, w, bias, backend=backend), rtol=1e-6, atol=1e-6
        )
        kind = "custom-call" if backend == "native" else " dot("
        text = jax.jit(f).lower(x.reshape(4, 6, 64)).compile().as_text()
        assert text.count(kind) == 1

    def test_donated_input(self, backend):
        x, w, _ = case(14, 4, 64, 64)
        want = int8.dot(x, w, backend=backend)
        f = jax.jit(lambda v: int8.dot(v, w, backend=backend), donate_argnums=0)
        np.testing.assert_array_equal(f(x + 0), want)

    def test_two_threads_at_once(self, backend):
        """Both large enough for helpers, which they share."""
        cases = [case(20 + i, 13 + 40 * i, 512, 1024, *FORMATS[i]) for i in range(2)]
        f = jax.jit(lambda x, w, b: int8.dot(x, w, b, backend=backend))
        wants = [np.asarray(f(*c)) for c in cases]

        def work(i):
            for _ in range(60):
                np.testing.assert_array_equal(f(*cases[i]), wants[i])

        at_once(work, 2)


def test_weights_reach_the_kernel_without_a_copy():
    x, w, bias = case(15, 1, 128, 128)
    text = jax.jit(lambda *a: int8.dot(*a, backend="native")).lower(x, w, bias).compile().as_text()
    assert "custom-call" in text
    assert "copy(" not in text
