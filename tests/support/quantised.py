"""A tiny model, quantised in this process and by the command."""

from pathlib import Path

import jax
import numpy as np

import int8.__main__
from ptts_jax.store import quantization
from tests.support import tiny_files

TEXT = "Hello there."


def command(*arguments) -> int:
    return int8.__main__.main(["int8", *(str(argument) for argument in arguments)])


def written(model, *arguments) -> Path:
    path = model.folder.parent / "quantised.safetensors"
    assert command(model.yaml, path, *arguments) == 0
    return path


def assert_same(ours, expected):
    """Exactly, formats included."""
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(ours), jax.tree.leaves(expected), strict=True
    ):
        assert a.dtype == b.dtype, path
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=str(path))


def floats():
    return jax.tree.map(np.float32, tiny_files.params())


def in_process(spec):
    return quantization.quantize(floats(), spec)


def refuse(monkeypatch, module, *names):
    def fail(*args, **kwargs):
        raise AssertionError("this is not to be done again")

    for name in names:
        monkeypatch.setattr(module, name, fail)
