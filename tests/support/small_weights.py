"""A small model of random weights as files, and whether two are the same."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from convert import flatten, to_reference, unflatten
from ptts_jax.store import safetensors, weights
from ptts_jax.store.safetensors import FileError
from tests.support import tiny

CONFIG = dataclasses.replace(tiny.PLAIN, weights_path="gated", mimi=tiny.PLAIN.mimi)


def random_params(seed: int = 0) -> dict:
    dice = np.random.default_rng(seed)
    shapes = flatten(weights.template(CONFIG))
    return unflatten({path: dice.standard_normal(s, np.float32) for path, s in shapes.items()})


PARAMS = random_params()


def write_source(path: Path, params: dict = PARAMS) -> Path:
    safetensors.write(path, to_reference(params))
    return path


def fetcher(**known: Path):
    """A `fetch` that has only these; it notes what it was asked for."""

    def fetch(sources, *, quiet):
        fetch.asked.append(list(sources))
        for index, source in enumerate(sources):
            if source in known:
                return known[source], index
        raise FileError(f"cannot fetch {sources}")

    fetch.asked = []
    return fetch


def load(source, cache, config=CONFIG):
    return weights.load(config, fetcher(gated=source), cache_dir=cache, quiet=True)


def assert_same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(np.asarray(a[name]), np.asarray(b[name])), name


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)
