"""Float products, and which way a product goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import int8
from int8.ops.dot import _float_rows_dot, _product_of_parts
from int8.runtime import library
from tests.support.products import case


def _floats(seed, rows, size, out):
    rng = np.random.default_rng(seed)
    shapes = ((rows, size), (out, size), (out,))
    return [jnp.asarray(rng.standard_normal(s), jnp.float32) for s in shapes]


class TestFloat:
    """Float weights go through the native kernels too."""

    @pytest.mark.parametrize("with_bias", [True, False])
    @pytest.mark.parametrize("shape", [(1, 1024, 300), (7, 1023, 301), (64, 2050, 77)])
    def test_equals_the_plain_product(self, shape, with_bias, monkeypatch):
        x, w, bias = _floats(0, *shape)
        bias = bias if with_bias else None
        want = np.asarray(x, np.float64) @ np.asarray(w, np.float64).T
        want = want if bias is None else want + np.asarray(bias)
        for isa in library.supported_isas():
            monkeypatch.setenv("INT8_ISA", isa)
            np.testing.assert_allclose(int8.dot(x, w, bias), want, atol=3e-4, rtol=1e-5)

    @pytest.mark.parametrize("rows", [1, 7, 64, 65])
    def test_halves_are_only_stored_so(self, rows, monkeypatch):
        """bfloat16 weights: what the same numbers in float32 give, however many rows."""
        x, w, bias = _floats(3, rows, 1023, 301)
        half = w.astype(jnp.bfloat16)
        want = np.asarray(x, np.float64) @ np.asarray(half, np.float64).T + np.asarray(bias)
        for isa in library.supported_isas():
            monkeypatch.setenv("INT8_ISA", isa)
            got = int8.dot(x, half, bias)
            assert got.dtype == jnp.float32
            np.testing.assert_allclose(got, want, atol=3e-4, rtol=1e-5)
        monkeypatch.setenv("INT8_BACKEND", "xla")
        np.testing.assert_allclose(int8.dot(x, half, bias), want, atol=3e-4, rtol=1e-5)

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
    @pytest.mark.parametrize("size", [7, 32, 512, 1023, 2050])
    def test_a_row_gives_the_same_in_any_company_of_up_to_eight(self, size, dtype):
        x, w, bias = _floats(5, 8, size, 37)
        w = w.astype(dtype)
        for isa in library.supported_isas():
            product = _float_rows_dot(library.ISAS[isa])
            alone = np.concatenate([product(row[None], w, bias) for row in x])
            for rows in range(2, 9):
                np.testing.assert_array_equal(product(x[:rows], w, bias), alone[:rows])

    def test_weights_of_bfloat16_lose_nothing_where_they_are_not_widened(self):
        x, w, _ = _floats(6, 5, 1024, 64)
        w = w.astype(jnp.bfloat16)
        want = np.asarray(x, np.float64) @ np.asarray(w, np.float64).T
        size = np.abs(np.asarray(x)) @ np.abs(np.asarray(w, np.float32)).T
        assert (np.abs(jax.jit(_product_of_parts)(x, w) - want) <= 1e-6 * size).all()

    def test_where_it_runs_natively(self, monkeypatch):
        native = lambda *a: "int8_float_dot" in jax.jit(int8.dot).lower(*a).as_text()  # noqa: E731
        x, w, bias = _floats(1, 4, 512, 512)
        assert native(x, w, bias)
        assert native(x[0], w[:1])
        assert native(x.reshape(2, 2, 512), w)
        assert native(jnp.tile(x, (20, 1)), w.astype(jnp.bfloat16))
        assert not native(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16))
        monkeypatch.setenv("INT8_BACKEND", "xla")
        assert not native(x + 0, w[:511])

    def test_leading_dimensions_are_kept(self):
        x, w, bias = _floats(2, 6, 512, 256)
        want = _plain(x, w, bias)
        for lead in ((6,), (2, 3), (1, 6, 1)):
            y = int8.dot(x.reshape(*lead, 512), w, bias)
            np.testing.assert_allclose(y, want.reshape(*lead, 256), atol=1e-3, rtol=1e-5)
        np.testing.assert_allclose(int8.dot(x[0], w, bias), want[0], atol=1e-3, rtol=1e-5)
        assert int8.dot(x[:0], w, bias).shape == (0, 256)

    def test_differentiates_both_ways(self):
        args = _floats(3, 3, 512, 256)
        loss = lambda f, *a: jnp.sum(jnp.sin(f(*a)))  # noqa: E731
        for count in (2, 3):
            got = jax.jit(jax.grad(lambda *a: loss(int8.dot, *a), range(count)))(*args[:count])
            want = jax.grad(lambda *a: loss(_plain, *a), range(count))(*args[:count])
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(a, b, atol=3e-3)
        x, w, _ = args
        _, tangent = jax.jvp(lambda x: int8.dot(x, w), (x,), (x,))
        np.testing.assert_allclose(tangent, _plain(x, w), atol=1e-3, rtol=1e-5)

    @pytest.mark.parametrize("mapped", ["x", "w", "bias", "x w bias"])
    def test_vmap_over_any_argument(self, mapped):
        cases = [_floats(i, 2, 512, 256) for i in range(3)]
        axes = tuple(0 if n in mapped.split() else None for n in ("x", "w", "bias"))
        stack = [jnp.stack(a) for a in zip(*cases, strict=True)]
        args = [s if ax == 0 else c for s, c, ax in zip(stack, cases[0], axes, strict=True)]
        got = jax.jit(jax.vmap(int8.dot, axes))(*args)
        for i in range(3):
            own = [a[i] if ax == 0 else a for a, ax in zip(args, axes, strict=True)]
            np.testing.assert_allclose(got[i], _plain(*own), atol=1e-3, rtol=1e-5)

    def test_scan_and_donation(self):
        x, w, _ = _floats(4, 1, 512, 512)
        step = jax.jit(lambda x: jnp.tanh(int8.dot(x, w)), donate_argnums=0)
        y, want = step(x + 0), jnp.tanh(_plain(x, w))
        np.testing.assert_allclose(y, want, atol=1e-4)
        scanned, _ = lax.scan(lambda c, _: (jnp.tanh(int8.dot(c, w)), None), x, length=1)
        np.testing.assert_allclose(scanned, want, atol=1e-4)


def _plain(x, w, bias=None):
    y = x @ w.T
    return y if bias is None else y + bias


def test_one_row_in_xla_is_not_widened():
    """The form that XLA:CPU runs on packed int8 kernels: no int32 or float copy of the weights."""
    x, w, _ = case(16, 1, 1024, 512)
    compiled = jax.jit(lambda *a: int8.dot(*a, backend="xla")).lower(x, w).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < w.qvalue.nbytes


class TestChoice:
    @pytest.fixture(autouse=True)
    def _restore(self, monkeypatch):
        monkeypatch.delenv("INT8_BACKEND", raising=False)
        yield
        int8.set_backend("auto")

    def test_argument_over_setting_over_environment(self, monkeypatch):
        assert int8.resolve_backend() == "native"  # this machine has a compiler
        monkeypatch.setenv("INT8_BACKEND", "xla")
        assert int8.resolve_backend() == "xla"
        int8.set_backend("native")
        assert int8.resolve_backend() == "native"
        assert int8.resolve_backend("xla") == "xla"

    def test_auto_gives_way_to_the_environment(self, monkeypatch):
        monkeypatch.setenv("INT8_BACKEND", "xla")
        int8.set_backend("auto")
        assert int8.resolve_backend() == "xla"

    def test_the_choice_reaches_the_compiled_code(self, monkeypatch):
        x, w, _ = case(30, 2, 64, 8)
        text = lambda: jax.jit(lambda *a: int8.dot(*a)).lower(x, w).as_text()  # noqa: E731
        assert "int8_dot" in text()
        int8.set_backend("xla")
        assert "int8_dot" not in text()

    def test_unknown_names_are_refused(self, monkeypatch):
        for call in (int8.set_backend, int8.resolve_backend):
            with pytest.raises(ValueError, match="must be auto, native or xla, not 'fast'"):
                call("fast")
        monkeypatch.setenv("INT8_BACKEND", "quick")
        with pytest.raises(ValueError, match="not 'quick'"):
            int8.resolve_backend()
