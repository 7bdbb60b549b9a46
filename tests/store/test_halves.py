"""Weights kept as bfloat16 where it holds them exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from int8 import QTensor, quantize
from ptts_jax.store.bfloat16 import BFLOAT16, LARGE, narrowed, placed, widened

SIDE = int(LARGE**0.5) + 1


def _exact(*shape, seed=0):
    """Numbers that bfloat16 holds."""
    x = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return x.astype(BFLOAT16).astype(np.float32)


def _tree():
    special = _exact(SIDE, SIDE)
    special[0, :6] = [0.0, -0.0, np.inf, -np.inf, np.nan, 2.0**-133]
    fine = _exact(SIDE, SIDE, seed=1)
    fine[-1, -1] = 1 + 2.0**-8  # one number too fine for it
    return {
        "special": {"w": special},
        "kernel": {"w": _exact(7, SIDE, SIDE)},
        "fine": {"w": fine},
        "small": {"w": _exact(SIDE - 2, SIDE - 2)},
        "bias": {"b": _exact(SIDE * SIDE)},
        "integers": {"w": quantize(_exact(SIDE, SIDE))},
    }


def test_large_weights_are_narrowed_if_no_number_changes():
    before, after = _tree(), narrowed(_tree())
    for name in ("special", "kernel"):
        assert after[name]["w"].dtype == BFLOAT16
        wide = np.asarray(after[name]["w"]).astype(np.float32)
        np.testing.assert_array_equal(
            wide.view(np.uint32), before[name]["w"].view(np.uint32), err_msg=name
        )
    for name, leaf in (("fine", "w"), ("small", "w"), ("bias", "b")):
        assert after[name][leaf].dtype == np.float32
    assert isinstance(after["integers"]["w"], QTensor)


def test_widened_is_the_inverse():
    before, after = _tree(), widened(narrowed(_tree()))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert {x.dtype for x in jax.tree.leaves(after)} == {np.dtype("f4"), np.dtype("i1")}


@pytest.mark.parametrize(
    "make", [np.asarray, jnp.asarray, lambda x: np.asfortranarray(x)], ids=["np", "jax", "turned"]
)
def test_any_array_will_do(make):
    w = _exact(SIDE, SIDE + 3)
    (got,) = narrowed({"w": make(w)}).values()
    assert got.dtype == BFLOAT16
    np.testing.assert_array_equal(got.astype(np.float32), w)


def test_halves_are_for_the_native_kernels(monkeypatch):
    tree = narrowed(_tree())
    assert placed(tree)["kernel"]["w"].dtype == BFLOAT16
    monkeypatch.setenv("INT8_BACKEND", "xla")
    assert placed(tree)["kernel"]["w"].dtype == np.float32
