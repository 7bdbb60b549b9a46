"""Weights that anybody can make again from a config alone: NumPy, seeded by each tensor's name.

The goldens are outputs of the reference with these weights, so that no weights need be kept.
"""

import zlib
from typing import Any

import numpy as np

from convert import flatten, unflatten
from ptts_jax.model.config import Config
from ptts_jax.store import weights


def params(config: Config) -> dict[str, Any]:
    shapes = flatten(weights.template(config))
    return unflatten({path: _leaf(path, shape) for path, shape in shapes.items()})


def _leaf(path: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    x = rng.standard_normal(shape)
    name = path.rpartition("/")[2]
    if name == "freqs":
        x = np.exp(-np.log(10_000.0) * np.arange(shape[0]) / shape[0])
    elif name in ("std", "alpha", "scale", "scale1", "scale2"):
        x = 0.8 + 0.1 * x
    elif name in ("b", "bias", "mean"):
        x = 0.1 * x
    elif name == "w" and len(shape) == 3:  # [taps, in, out]
        x = x / np.sqrt(shape[0] * (1 if "upsample" in path else shape[1]))
    elif name == "w":
        x = x / np.sqrt(shape[1])
    return x.astype(np.float32)
