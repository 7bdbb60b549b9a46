"""QTensor: the number format, its limits, and that NumPy and jax agree on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import int8

FORMATS = [(16, None), *((b, group) for b in (8, 4) for group in (None, 32, 64, 128))]


def _matrix(rng, out=24, size=256, dtype=np.float32):
    spread = np.exp(rng.uniform(-8, 8, (out, 1)))
    return (rng.standard_normal((out, size)) * spread).astype(dtype)


def _scale_of_each(w: int8.QTensor) -> np.ndarray:
    repeat = w.shape[-1] if w.group_size is None else w.group_size
    scale = w.scale[..., None] if w.group_size is None else w.scale
    return np.repeat(scale, repeat, axis=-1)


@pytest.mark.parametrize(("bits", "group"), FORMATS)
def test_round_trip_is_within_half_a_step(bits, group):
    w = _matrix(np.random.default_rng(0))
    q = int8.quantize(w, bits, group)
    error = np.abs(int8.dequantize(q) - w)
    assert (error <= _scale_of_each(q) * (0.5 + 1e-4)).all()
    assert q.shape == w.shape
    assert q.scale.shape == ((24,) if group is None else (24, 256 // group))
    assert q.nbytes == w.size * bits // 8 + q.scale.size * 4


@pytest.mark.parametrize(("bits", "group"), FORMATS)
def test_numpy_and_jax_give_the_same_bits(bits, group):
    w = _matrix(np.random.default_rng(1))
    w[0] = 0
    w[1] *= 1e-42
    w[2, :4] = [np.float32(3e38), -3e38, 1e-45, 0]
    ours, theirs = int8.quantize(w, bits, group), int8.quantize(jnp.asarray(w), bits, group)
    assert isinstance(ours.qvalue, np.ndarray)
    assert isinstance(theirs.qvalue, jax.Array)
    np.testing.assert_array_equal(ours.qvalue, theirs.qvalue)
    np.testing.assert_array_equal(ours.scale, theirs.scale)
    np.testing.assert_array_equal(int8.dequantize(ours), int8.dequantize(theirs))


def test_quantised_values_stay_as_they_are():
    """Quantising what quantising gave changes nothing: files can be converted twice."""
    for bits, group in FORMATS:
        q = int8.quantize(_matrix(np.random.default_rng(2)), bits, group)
        again = int8.quantize(int8.dequantize(q), bits, group)
        np.testing.assert_array_equal(q.qvalue, again.qvalue)


def test_four_bits_are_packed_even_column_low():
    w = np.array([[7, -7, 0, 3]], np.float32)
    q = int8.quantize(w, 4)
    assert q.qvalue.dtype == np.uint8
    np.testing.assert_array_equal(q.qvalue, [[(7 + 8) | (-7 + 8) << 4, (0 + 8) | (3 + 8) << 4]])
    np.testing.assert_array_equal(int8.dequantize(q), w)


def test_zero_and_denormal_rows_give_zeros():
    w = np.zeros((3, 32), np.float32)
    w[1] = 1e-44
    w[2, 5] = -1e-38
    for bits in (16, 8, 4):
        q = int8.quantize(w, bits)
        assert np.isfinite(q.scale).all()
        assert (q.scale > 0).all()
        np.testing.assert_array_equal(int8.dequantize(q), np.zeros_like(w))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("xp", [np, jnp])
def test_weights_that_are_not_finite_are_refused(bad, xp):
    w = np.ones((4, 32), np.float32)
    w[2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        int8.quantize(xp.asarray(w))


@pytest.mark.parametrize(
    ("shape", "bits", "group", "reason"),
    [
        ((8, 100), 8, 32, "not a multiple of the group size 32"),
        ((8, 33), 4, None, "odd"),
        ((8, 64), 5, None, "bits must be 16, 8 or 4"),
        ((8, 64), 16, 32, "16 bits have no groups"),
        ((8, 64), 8, 16, "group_size must be"),
        ((64,), 8, None, "not a matrix"),
        ((0, 64), 8, None, "not a matrix"),
        ((1, 65537), 8, None, "over 65536"),
    ],
)
def test_awkward_shapes_are_named_and_refused(shape, bits, group, reason):
    assert not int8.can_quantize(shape, bits, group)
    assert reason in int8.why_not(shape, bits, group)
    with pytest.raises(ValueError, match=reason):
        int8.quantize(np.ones(shape, np.float32), bits, group)


def test_shapes_that_fit_are_taken():
    assert int8.can_quantize((8, 96), 4, 32)
    assert int8.can_quantize((8, 33))
    assert int8.why_not((2, 8, 64), 8, 64) is None


def test_is_a_pytree_and_survives_jit():
    q = int8.quantize(_matrix(np.random.default_rng(3)), 4, 64)
    leaves, tree = jax.tree.flatten(q)
    assert [a.dtype for a in leaves] == [np.uint8, np.float32]
    back = jax.jit(lambda t: t)(jax.tree.unflatten(tree, leaves))
    assert (back.bits, back.group_size, back.shape) == (4, 64, q.shape)
    np.testing.assert_array_equal(back.qvalue, q.qvalue)


def test_quantises_under_jit_and_stacked():
    w = np.stack([_matrix(np.random.default_rng(i), 8, 64) for i in range(3)])
    stacked = int8.quantize(w, 4, 32)
    jitted = jax.jit(lambda a: int8.quantize(a, 4, 32))(w)
    assert stacked.shape == jitted.shape == (3, 8, 64)
    np.testing.assert_array_equal(stacked.qvalue, jitted.qvalue)
    np.testing.assert_array_equal(stacked.qvalue[1], int8.quantize(w[1], 4, 32).qvalue)


def test_half_precision_weights_are_read_as_float32():
    w = _matrix(np.random.default_rng(4)).astype(jnp.bfloat16)
    q = int8.quantize(w)
    assert q.scale.dtype == np.float32
    np.testing.assert_array_equal(q.qvalue, int8.quantize(w.astype(np.float32)).qvalue)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 4]), st.integers(-120, 120))
def test_round_trip_over_magnitudes(seed, bits, exponent):
    rng = np.random.default_rng(seed)
    w = np.ldexp(rng.uniform(-1, 1, (3, 34)), exponent).astype(np.float32)
    q = int8.quantize(w, bits)
    assert (np.abs(int8.dequantize(q) - w) <= _scale_of_each(q) * (0.5 + 1e-4)).all()


def test_integers_with_scales_are_found_again_to_the_last_bit():
    rng = np.random.default_rng(5)
    q = rng.integers(-100, 101, (40, 72)).astype(np.float32)
    q[0], q[1], q[2, 1:] = 0, rng.integers(-1, 2, 72), 0
    scale = rng.uniform(1e-4, 1e-2, 40).astype(np.float32)
    w = q * scale[:, None]
    found = int8.exact(w)
    assert found.qvalue.dtype == np.int8 and (found.bits, found.group_size) == (8, None)
    np.testing.assert_array_equal(int8.dequantize(found), w)
    near = w.copy()
    near[7, 70] = np.nextafter(near[7, 70], np.float32(1))
    nan = np.where(np.arange(72) == 3, np.nan, w)
    assert int8.exact(near) is None and int8.exact(nan) is None
    assert int8.exact(_matrix(rng)) is None
