"""One proof for every streaming layer `(x, state) -> (y, state)` over [B, T, ...]."""

import jax
import jax.numpy as jnp
import numpy as np

from ptts_jax.model import lm


def assert_streams(layer, make_state, x, *, rate=1.0, multiple=1, first=1, seed=0, tol=1e-5):
    """On random chunkings: chunked == offline, causal, rows independent, state kept in shape.

    `layer(x, state)` may change the time axis by `rate`; chunks are multiples of `multiple`, the
    first at least `first` long (a replicating layer needs its memory filled at once).
    """
    batch, time = x.shape[:2]
    layer = jax.jit(layer)
    whole, end = layer(x, make_state(batch))
    assert whole.shape[1] == round(time * rate)
    assert np.abs(np.asarray(whole)).max() > 0, "the layer gives only zeros: nothing is proved"
    scale = float(np.abs(np.asarray(whole)).max())

    def close(a, b, what):
        np.testing.assert_allclose(a, b, atol=tol * scale, rtol=0, err_msg=what)

    rng = np.random.default_rng(seed)
    for _ in range(2):
        state, parts, at = make_state(batch), [], 0
        while at < time:
            size = int(rng.choice([1, 3])) * multiple  # few shapes: each is a compilation
            size = min(max(size, first) if at == 0 else size, time - at)
            y, new = layer(x[:, at : at + size], state)
            assert jax.tree.structure(new) == jax.tree.structure(state)
            for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True):
                assert a.shape == b.shape and a.dtype == b.dtype
            parts.append(y)
            state, at = new, at + size
        close(jnp.concatenate(parts, axis=1), whole, "chunked != offline")
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(end), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4, err_msg="end state differs")

    cut = max(first, multiple * (time // (2 * multiple)))
    if cut < time:
        changed = x.at[:, cut:].set(jnp.flip(x[:, cut:], axis=0) + 1.0)
        y, _ = layer(changed, make_state(batch))
        close(y[:, : round(cut * rate)], whole[:, : round(cut * rate)], "not causal")
        assert np.abs(np.asarray(y - whole)).max() > 0, "the input does not matter"

    for row in range(batch):
        y, _ = layer(x[row : row + 1], make_state(1))
        close(y[0], whole[row], "rows of a batch touch each other")


def assert_backbone_streams(params, config, x, tol):
    """The same of the language model's transformer, x [B, T, model], with a cache of its own."""

    def layer(x, state):
        cache, position = state
        positions = position[:, None] + jnp.arange(x.shape[1])
        y, cache = lm.backbone(params, config, x, cache, positions)
        return y, (cache, position + x.shape[1])

    def make_state(batch):
        return lm.new_cache(config, batch, 64), jnp.zeros((batch,), jnp.int32)

    assert_streams(layer, make_state, x, tol=tol)
