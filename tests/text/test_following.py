"""The path through an attention: never back, settled as it goes, right where that is known."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ptts_jax.text import following


def attention(path, tokens, noise=0.0, seed=0):
    """Weights [F, N] of a model that looks at path[f] in frame f, and about."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, noise, (len(path), tokens)) - 3.0
    logits[range(len(path)), path] += 6.0
    return [following.weights(row[None]) for row in logits]


def steady(tokens, each=3):
    return np.repeat(np.arange(tokens), each).tolist()


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_path_has_a_token_for_each_frame_and_never_goes_back(tokens, frames, seed):
    seen = np.random.default_rng(seed).dirichlet(np.full(tokens, 0.2), frames)
    path = following.path(list(seen))
    assert len(path) == frames
    assert all(a <= b for a, b in zip(path, path[1:], strict=False))
    assert all(0 <= token < tokens for token in path)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_clear_attention_is_followed(lengths, seed):
    right = [token for token, length in enumerate(lengths) for _ in range(length)]
    assert following.path(attention(right, len(lengths), 0.5, seed)) == right


def test_words_that_are_passed_over_are_not_in_the_path():
    right = [t for t in steady(20) if not 8 <= t < 12]
    assert following.path(attention(right, 20)) == right


def test_a_look_back_does_not_move_the_path():
    right = steady(20)
    seen = attention(right, 20)
    seen[30] = attention([2], 20)[0]  # one frame at another word
    assert following.path(seen) == right


def test_frames_are_settled_soon():
    state, given_out = following.start(20), 0
    for number, frame in enumerate(attention(steady(20), 20), 1):
        tokens, state = following.follow(frame, state)
        given_out += len(tokens)
        assert number - given_out <= following.DELAY
    assert given_out + len(following.end(state)) == number


def test_no_frame_no_token():
    assert following.path([]) == following.end(following.start(5)) == []


def test_several_heads_are_one_opinion():
    one, other = np.array([0.0, 9.0]), np.array([9.0, 0.0])
    np.testing.assert_allclose(following.weights(np.stack([one, other])), [0.5, 0.5], atol=1e-3)
