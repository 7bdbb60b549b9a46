"""Attention over a cache: the native way and the plain one are the same function."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import int8
from int8.ops import attention as native_attention
from int8.runtime import library
from ptts_jax.model import attention
from ptts_jax.model.attention import Slots, attend_in_place
from ptts_jax.model.caches.window import EMPTY, WindowCache
from tests.support.threads import at_once

WAYS = ("native", "xla")


@pytest.fixture(autouse=True)
def _restore():
    yield
    int8.set_backend("auto")


def _case(
    seed,
    batch=1,
    time=1,
    heads=4,
    kv_heads=4,
    width=64,
    filled=50,
    slots=128,
    poison=1e4,
    dtype=jnp.float32,
):
    """Arguments of attend_in_place: ragged rows, holes, padding, and poison in every stale slot.

    Each row is filled as far as `filled` or not quite, and writes behind that.
    """
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    pos = np.full((batch, slots), EMPTY, np.int32)
    query, slot = (np.full((batch, time), EMPTY, np.int32) for _ in range(2))
    ends = np.zeros(batch, np.int32)
    for row in range(batch):
        start = filled - int(rng.integers(0, filled // 2 + 1)) * (row > 0)
        used = np.flatnonzero(rng.random(start) < 0.8)
        real = int(rng.integers(1, time + 1))
        pos[row, used] = np.arange(len(used))
        slot[row, :real] = start + np.arange(real)
        query[row, :real] = pos[row, start : start + real] = len(used) + np.arange(real)
        ends[row] = start + real
    kept = np.repeat(pos != EMPTY, kv_heads, axis=0)[..., None]
    k, v = (jnp.where(kept, draw(batch * kv_heads, slots, width), poison) for _ in range(2))
    new = (draw(batch, time, kv_heads, width) for _ in range(2))
    q = draw(batch, time, heads, width)
    kept = (a.astype(dtype) for a in (k, v))
    where = Slots(pos, query, slot, ends, np.zeros(batch, np.int32))
    return (q, *new, *kept, *map(jnp.asarray, where))


def _ways(args):
    """Results of both ways, padding's output left out."""
    out = []
    for way in WAYS:
        int8.set_backend(way)
        y, k, v = jax.jit(attend_in_place)(*args)
        assert np.isfinite(y).all()
        out.append((jnp.where((args[6] >= 0)[..., None, None], y, 0.0), k, v))
    return out


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    time=st.sampled_from([1, 1, 2, 5, 16, 33]),
    kv_heads=st.integers(1, 4),
    group=st.sampled_from([1, 2, 3, 8]),
    width=st.sampled_from([64, 64, 8, 20, 96]),
    filled=st.integers(0, 90),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_both_ways_agree(seed, batch, time, kv_heads, group, width, filled, dtype):
    args = _case(seed, batch, time, kv_heads * group, kv_heads, width, filled, dtype=dtype)
    (y, *caches), (want, *wanted) = _ways(args)
    np.testing.assert_allclose(y, want, atol=1e-5, rtol=1e-5)
    for got, cache in zip(caches, wanted, strict=True):
        np.testing.assert_array_equal(got, cache)


def test_halves_are_rounded_as_xla_rounds_them():
    special = [np.nan, -np.nan, np.inf, 3.4e38, -3.4e38, 1e-40, 0.0, -0.0, 1.00390625, 1.01171875]
    args = list(_case(8, width=len(special), dtype=jnp.bfloat16))
    args[2] = jnp.broadcast_to(jnp.asarray(special, jnp.float32), args[2].shape)
    written = native_attention.attend(*args)[2]
    want = attention.plain(*args)[2]
    assert written.dtype == jnp.bfloat16
    np.testing.assert_array_equal(*(np.asarray(a, np.float32) for a in (written, want)))


def test_every_instruction_set_agrees(monkeypatch):
    for time, dtype in itertools.product((1, 20), (jnp.float32, jnp.bfloat16)):
        args = _case(time, 2, time, 8, 2, dtype=dtype)
        want = attention.plain(*args)[0]
        for isa in library.supported_isas():
            monkeypatch.setenv("INT8_ISA", isa)
            got = native_attention.attend(*args)[0]
            real = np.asarray(args[6]) >= 0
            np.testing.assert_allclose(got[real], want[real], atol=1e-5, rtol=1e-5)


def test_a_window_hides_what_is_older():
    args = _case(3, time=8, filled=60)
    y, *_ = native_attention.attend(*args, window=10)
    q, pos, query = args[0], args[5], args[6]
    mask = attention.visible(query, pos, 10)
    want = attention.attend(q, *attention.plain(*args)[1:], mask)
    real = np.asarray(query) >= 0
    np.testing.assert_allclose(y[real], want[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("time", [1, 20])
def test_what_is_pinned_is_seen_through_any_window(time):
    args = list(_case(4, 2, time, filled=60))
    args[9] = jnp.array([12, 3], jnp.int32)
    y, *_ = native_attention.attend(*args, window=5)
    want, *_ = attention.plain(*args, window=5)
    narrow, *_ = attention.plain(*args[:9], args[9] * 0, window=5)
    real = np.asarray(args[6]) >= 0
    np.testing.assert_allclose(y[real], want[real], atol=1e-5, rtol=1e-5)
    assert float(jnp.abs(want - narrow)[real].max()) > 1e-2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("time", [1, 5, 20])
def test_a_row_is_the_same_whoever_stands_beside_it(time, dtype):
    """Natively to the last bit, for any number of rows."""
    args = _case(9, 8, time, heads=8, kv_heads=4, filled=70, dtype=dtype)
    together, *_ = native_attention.attend(*args)
    for count in (1, 2, 4):
        for at in range(0, 8, count):
            heads = slice(at * 4, (at + count) * 4)
            rows = [a[heads] if i in (3, 4) else a[at : at + count] for i, a in enumerate(args)]
            alone, *_ = native_attention.attend(*rows)
            np.testing.assert_array_equal(alone, together[at : at + count])


@pytest.mark.parametrize("time", [1, 3, 40])
def test_both_ways_of_a_window_agree(time):
    def outs():
        cache = WindowCache.init(1, 2, 3, 20, 16)
        draws, found = np.random.default_rng(0), []
        for at in range(0, 3 * time, time):
            positions = jnp.tile(jnp.arange(at, at + time, dtype=jnp.int32), (2, 1))
            new = (jnp.asarray(draws.standard_normal((2, time, 3, 16)), jnp.float32) for _ in "qkv")
            cache = cache.open(positions)
            out, cache = cache.attend(0, *new, positions)
            cache = cache.close(positions)
            found += [out, cache.k[0], cache.v[0]]
        return found

    int8.set_backend("native")
    native = outs()
    int8.set_backend("xla")
    for got, want in zip(native, outs(), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("time", [1, 16])
def test_capacity_and_stale_slots_do_not_matter(time):
    tight = _case(5, 2, time, filled=40, slots=40 + time, poison=0.0)
    wide = list(tight)
    for i, fill in ((3, 1e4), (4, 1e4), (5, EMPTY)):
        grown = [(0, 0), (0, 70)] + [(0, 0)] * (tight[i].ndim - 2)
        wide[i] = jnp.pad(tight[i], grown, constant_values=fill)
    stale = np.repeat(np.asarray(tight[5]) == EMPTY, 4, axis=0)[..., None]
    for i in (3, 4):
        wide[i] = wide[i].at[:, : 40 + time].set(jnp.where(stale, 1e4, tight[i]))
    for (y, *_), (want, *_) in zip(_ways(wide), _ways(tight), strict=True):
        np.testing.assert_allclose(y, want, atol=1e-6, rtol=1e-6)


def test_what_lies_beyond_the_filled_slots_is_not_read():
    """Natively, not even NaN is seen there: the cost follows the filling, not the capacity."""
    args = list(_case(6, 2, 3, filled=20))
    args[3:5] = (a.at[:, 23:].set(jnp.nan) for a in args[3:5])
    y, *_ = native_attention.attend(*args)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("slot", [-3, -1, 128, 500])
def test_what_has_no_slot_is_not_written(slot):
    args = list(_case(7, 2, time=4))
    args[7] = args[7].at[:, 1:].set(slot)
    (_, *caches), (_, *wanted) = _ways(args)
    for got, cache, before in zip(caches, wanted, args[3:5], strict=True):
        np.testing.assert_array_equal(got, cache)
        assert int((np.asarray(got) != before).any(-1).sum()) <= 2 * 4


class TestTransformations:
    def test_gradients_are_those_of_the_plain_form(self):
        args = _case(10, 2, 5, 4, 2, filled=10, slots=32)
        real = (args[6] >= 0)[..., None, None]

        def loss(way, *floats):
            y, k, v = way(*floats, *args[5:])
            return jnp.sum(jnp.sin(jnp.where(real, y, 0.0))) + 1e-3 * jnp.sum(k[:, 10:15] * 2 + 1)

        got, want = (
            jax.jit(jax.grad(functools.partial(loss, way), argnums=range(5)))(*args[:5])
            for way in (attend_in_place, attention.plain)
        )
        for a, b in zip(got, want, strict=True):
            assert float(jnp.abs(b).max()) > 0
            np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)

    def test_forward_mode(self):
        args = _case(11, filled=10, slots=32)
        f = lambda way, q: way(q, *args[1:])[0]  # noqa: E731
        got, want = (
            jax.jvp(functools.partial(f, way), (args[0],), (jnp.ones_like(args[0]),))
            for way in (attend_in_place, attention.plain)
        )
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("mapped", [(0,), (0, 1, 2), (3, 4), tuple(range(10))])
    def test_vmap_over_some_or_all_arguments(self, mapped):
        cases = [_case(20 + i, 1, 3, filled=30) for i in range(2)]
        axes = [0 if i in mapped else None for i in range(10)]
        args = [jnp.stack([c[i] for c in cases]) if i in mapped else cases[0][i] for i in range(10)]
        got = jax.jit(jax.vmap(attend_in_place, axes))(*args)
        for n, case in enumerate(cases):
            own = [case[i] if i in mapped else cases[0][i] for i in range(10)]
            for a, b in zip(got, attention.plain(*own), strict=True):
                np.testing.assert_allclose(a[n], b, atol=1e-5, rtol=1e-5)

    def test_scan_carries_the_cache(self):
        args = _case(12, time=1, filled=20, slots=64)
        q, k_new, v_new, k, v, pos, *_ = args
        pos = jnp.where(jnp.arange(64) < 20, jnp.arange(64), EMPTY)[None]

        def steps(way):
            def body(carry, i):
                k, v, pos = carry
                at = 20 + i
                pos = pos.at[:, at].set(at)
                where = pos, at[None, None], at[None, None], at[None] + 1, at[None] * 0
                y, k, v = way(q * (1 + i), k_new, v_new, k, v, *where)
                return (k, v, pos), y

            return jax.jit(lambda: jax.lax.scan(body, (k, v, pos), jnp.arange(9)))()

        (caches, got), (wanted, want) = steps(attend_in_place), steps(attention.plain)
        np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)
        np.testing.assert_array_equal(caches[0], wanted[0])

    def test_an_old_cache_stays_as_it_was(self):
        args = _case(13)
        before = np.array(args[3])
        attend_in_place(*args)
        np.testing.assert_array_equal(args[3], before)

    def test_other_types_take_the_plain_form(self):
        args = [a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a for a in _case(14)]
        assert "int8_attend" not in jax.jit(attend_in_place).lower(*args).as_text()
        assert attend_in_place(*args)[0].dtype == jnp.bfloat16


def test_two_threads_at_once_share_the_helpers():
    cases = [_case(30 + i, 2, 40, 16, 16, filled=150, slots=200) for i in range(2)]
    f = jax.jit(attend_in_place)
    wants = [np.asarray(f(*c)[0]) for c in cases]

    def work(i):
        for _ in range(60):
            np.testing.assert_array_equal(f(*cases[i])[0], wants[i])

    at_once(work, 2)
