"""Codecs with few channels, and waves for them."""

import dataclasses

import jax
import numpy as np

from ptts_jax.train.codec import stage
from ptts_jax.train.codec.stage import Recipe
from tests.support import tiny

# One layer of each kind; compiling is what these tests spend their time on.
C = dataclasses.replace(
    tiny.PLAIN.mimi,
    seanet=dataclasses.replace(tiny.PLAIN.mimi.seanet, ratios=(6,)),
    transformer=dataclasses.replace(tiny.PLAIN.mimi.transformer, num_layers=1),
)

QUICK = Recipe(steps=30, rate=1e-2, warmup=2, scales=(32,), windows=(32,), channels=2)


def random_params(c):
    """Parameters in which nothing is zero, without compiling an initialiser."""
    shapes = jax.eval_shape(lambda key: stage.init(key, c, QUICK), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) * 0.3, shapes)
