"""The ear: what it hears, and how it doubts."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptts_jax.model import ear
from ptts_jax.model.ear import SLOTS, Ear

SIZE, WIDTH, SOUNDS = 6, 8, 5
PARAMS = ear.init(np.random.default_rng(0), SIZE, WIDTH, SOUNDS)


def latents(frames, seed=1):
    return np.random.default_rng(seed).normal(size=(frames, SIZE)).astype(np.float32)


def clear(slots):
    """Sounds [S, V] of which each slot has one, all but for certain."""
    return np.log(np.eye(SOUNDS)[slots] * (1 - 1e-4) + 1e-4 / SOUNDS)


@given(st.lists(st.integers(1, SOUNDS - 1), max_size=12), st.integers(6, 9), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_likelihood_is_that_of_optax(said, frames, seed):
    heard = ear.sounds(PARAMS, latents(frames, seed))
    rows = np.array([said + [0] * (12 - len(said))])
    padding = (np.arange(12) >= len(said)).astype(np.float32)[None]
    nats = optax.ctc_loss(jnp.asarray(heard)[None], np.zeros((1, len(heard))), rows, padding)
    assert ear.likelihood(heard, np.array(said, int)) == pytest.approx(-float(nats[0]), rel=1e-4)


def test_it_hears_alike_in_numpy_and_jax_alone_and_in_a_batch():
    x = np.stack([latents(9, seed) for seed in range(3)])
    one = np.stack([ear.sounds(PARAMS, row) for row in x])
    assert one.shape == (3, 9 * SLOTS, SOUNDS)
    np.testing.assert_allclose(np.exp(one).sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(ear.sounds(PARAMS, x), one, atol=1e-5)
    np.testing.assert_allclose(ear.sounds(PARAMS, jnp.asarray(x), jnp), one, atol=1e-5)


def test_it_doubts_what_it_did_not_hear(monkeypatch):
    monkeypatch.setattr(ear, "sounds", lambda *_: clear([0, 1, 1, 0, 2, 0, 2, 3]))
    one = Ear(PARAMS, np.array([0, 1, 2, 3, 4, 0]))
    assert one.doubt([1, 2, 2, 3], latents(2)) == pytest.approx(0, abs=1e-3)
    assert one.doubt([1, 0, 2, 5, 2, 3], latents(2)) == one.doubt([1, 2, 2, 3], latents(2))
    wrong = {"another": [1, 2, 2, 4], "missing": [1, 2, 3], "more": [1, 2, 2, 4, 3]}
    for kind, tokens in wrong.items():
        assert one.doubt(tokens, latents(2)) > 1, kind
    assert one.doubt([0, 5], latents(2)) > 1  # a text without a sound, and sounds are heard
    assert one.doubt([1] * 20, latents(2)) > 1  # more than there is room for
    assert np.isfinite(one.doubt([1] * 20, latents(2)))
    assert one.doubt([1], latents(0)) > 1e9 and one.doubt([0], latents(0)) == 0


def test_letters_are_heard_and_marks_are_not():
    pieces = ["<unk>", "<0x41>", "\u2581", "a", "A", "b", "7", ",", "'", "\u2581Ab"]
    found = ear.labels(pieces)
    assert found[2] > 0 and found[3] == found[4] > 0 and found[9] > 0 and found[6] > 0
    assert len(set(found[[2, 3, 5, 6, 9]])) == 5 == found.max()
    assert not found[[0, 1, 7, 8]].any()


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {**PARAMS, "tell": {"w": PARAMS["tell"]["w"][:-1], "b": PARAMS["tell"]["b"][:-1]}},
        {**PARAMS, "more": PARAMS["first"]},
        {**PARAMS, "first": {"w": PARAMS["first"]["w"]}},
        {**PARAMS, "first": PARAMS["first"]["b"]},
    ],
)
def test_what_does_not_fit_is_known(broken):
    labels = np.array([0, 1, 2, 3, 4])
    assert Ear(PARAMS, labels).fits(SIZE, 5)
    assert not Ear(broken, labels).fits(SIZE, 5)
    assert not Ear(PARAMS, labels).fits(SIZE + 1, 5)
    assert not Ear(PARAMS, labels).fits(SIZE, 6)
    assert not Ear(PARAMS, np.array([0, 1, 2, 3, 9])).fits(SIZE, 5)
