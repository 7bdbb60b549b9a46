"""Products of random numbers, and what they must give."""

import jax
import jax.numpy as jnp
import numpy as np

import int8


def case(seed, rows, size, out, bits=8, group=None):
    """(x, w, bias) with w quantised."""
    rng = np.random.default_rng(seed)
    spread = np.exp(rng.uniform(-5, 5, (rows, 1)))
    x = (rng.standard_normal((rows, size)) * spread).astype(np.float32)
    w = int8.quantize(rng.standard_normal((out, size)).astype(np.float32), bits, group)
    bias = rng.standard_normal(out).astype(np.float32)
    return jnp.asarray(x), jax.tree.map(jnp.asarray, w), jnp.asarray(bias)
