"""Rounding with a view to the inputs: products err less, and what is told stays as it was."""

import numpy as np
import pytest

from int8 import dequantize, quantize
from int8.feedback import quantize_for

RNG = np.random.default_rng(0)


def weights(rows: int = 48, columns: int = 192) -> np.ndarray:
    return RNG.standard_normal((rows, columns)).astype(np.float32)


def inputs(columns: int = 192, count: int = 1000, kinds: int = 40) -> np.ndarray:
    """Inputs that go along with each other, as those of a layer do: they are of a few kinds."""
    mixed = RNG.standard_normal((count, kinds)) @ RNG.standard_normal((kinds, columns))
    return mixed + 0.3 * RNG.standard_normal((count, columns))


def error(w: np.ndarray, q, x: np.ndarray) -> float:
    return float(np.linalg.norm(x @ (dequantize(q) - w).T) / np.linalg.norm(x @ w.T))


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (4, 64), (4, None), (8, None), (8, 32)])
def test_products_of_unseen_inputs_err_less(bits, group):
    w, x = weights(), inputs(count=2000)
    seen, unseen = x[:1000], x[1000:]
    plain, calibrated = quantize(w, bits, group), quantize_for(w, seen.T @ seen, bits, group)
    assert error(w, calibrated, unseen) < 0.65 * error(w, plain, unseen)
    assert (calibrated.bits, calibrated.group_size) == (bits, group)
    assert calibrated.qvalue.dtype == plain.qvalue.dtype
    np.testing.assert_array_equal(calibrated.scale, plain.scale)


@pytest.mark.parametrize("gram", [np.diag(RNG.uniform(1, 9, 192)), np.zeros((192, 192))])
def test_inputs_that_do_not_go_along_change_nothing(gram):
    w = weights()
    plain, calibrated = quantize(w, 8, None), quantize_for(w, gram, 8, None)
    off = np.abs(plain.qvalue.astype(int) - calibrated.qvalue)
    assert off.max() <= 1 and (off > 0).mean() < 1e-3  # halves, in floats of another size


def test_what_cannot_be_quantised_is_refused():
    w = weights()
    with pytest.raises(ValueError, match="not a multiple of the group size 128"):
        quantize_for(w, np.eye(192), 4, 128)
    w[3, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        quantize_for(w, np.eye(192), 4, 32)
