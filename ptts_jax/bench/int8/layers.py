"""What one layer's quantised weight does: to the weight itself, and to the product on real inputs.

Sees the model from outside: Flax lets every layer's call be watched, so no model code knows of it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from convert import flatten
from int8 import QTensor, dequantize, elu
from int8.policy import Report
from ptts_jax.bench.statistics import relative_rms
from ptts_jax.model.conv import Conv
from ptts_jax.model.layers import Linear
from ptts_jax.model.pytree import Params
from ptts_jax.store import quantization
from ptts_jax.store.quantization import GROUPS, Int8, as_matrix, of_vocoder

Grams = Mapping[str, np.ndarray]  # by weight [out, in], the sum of x.T @ x over its inputs x
Around = Callable[[str, nn.Module, Callable[..., Any], tuple[Any, ...]], Any]


@dataclass(frozen=True)
class Policy:
    """What is quantised and how; with `grams`, with a view to the inputs."""

    spec: Int8
    grams: Grams | None = None

    def apply(self, params: Params) -> tuple[Params, Report]:
        return quantization.apply(params, self.spec, self.grams)

    @property
    def label(self) -> str:
        size = f" by {self.spec.group_size}" if self.spec.group_size else ""
        return f"{self.spec.bits} bits{size}{', calibrated' * (self.grams is not None)}"


@contextmanager
def products(params: Params, around: Around) -> Iterator[None]:
    """In the block, each product with a weight of `params` is `around(name, layer, call, args)`.

    It is the product alone: a convolution's activation and residual come around it.
    Within a jitted function `params` are its own: the traced ones.
    """
    names = {id(leaf): name for name, leaf in flatten(params).items()}

    def intercept(call: Callable[..., Any], args: tuple, kwargs: dict, context: Any) -> Any:
        layer = context.module
        if not isinstance(layer, Linear | Conv) or not layer.has_variable("params", "w"):
            return call(*args, **kwargs)
        name = names.get(id(layer.get_variable("params", "w")))
        if name is None:
            return call(*args, **kwargs)
        if not isinstance(layer, Conv):
            return around(name, layer, call, args)
        x, state = args
        y, state = around(name, layer, call, (elu(x) if kwargs.get("activate") else x, state))
        add = kwargs.get("add")
        return (y if add is None else y + add), state

    with nn.intercept_methods(intercept):
        yield


def quantized_leaves(params: Params, policies: Iterable[Policy]) -> dict[str, dict[str, QTensor]]:
    """By name and format, the weights that any of the choices quantises."""
    leaves: dict[str, dict[str, QTensor]] = defaultdict(dict)
    for policy in policies:
        bits = policy.spec.bits
        for name, leaf in flatten(policy.apply(params)[0]).items():
            if isinstance(leaf, QTensor) and leaf.bits == bits and not of_vocoder(name):
                leaves[name][policy.label] = leaf
    return dict(leaves)


def group_of(name: str) -> str:
    """The group of a weight that can be quantised."""
    groups = (g for g, patterns in GROUPS.items() if any(re.fullmatch(p, name) for p in patterns))
    return next(groups)


def errors(
    params: Params, leaves: Mapping[str, Mapping[str, QTensor]], run: Callable[[], Any]
) -> list[dict[str, Any]]:
    """The errors of all layers that `run()` goes through, in that order; it runs unjitted.

    `weight` is the relative RMS error of a matrix, `output` that of the product without bias.
    """
    squares: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(2))
    weights: dict[tuple[str, str], dict[str, Any]] = {}

    def around(name: str, layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
        out, own = call(*args), layer.variables["params"]
        for label, leaf in leaves.get(name, {}).items():
            changed = layer.clone(parent=None).apply({"params": {**own, "w": leaf}}, *args)
            y, other = (np.asarray(x[0] if isinstance(x, tuple) else x) for x in (out, changed))
            product = y - np.asarray(own["b"]) if "b" in own else y
            pair = (product, other - y)
            squares[name, label] += [np.sum(np.square(x, dtype=np.float64)) for x in pair]
            if (name, label) not in weights:
                matrix = np.asarray(as_matrix(own["w"]))
                error = relative_rms(matrix, np.asarray(dequantize(leaf)))
                weights[name, label] = {"shape": leaf.shape, "weight": error}
        return out

    with jax.disable_jit(), products(params, around):
        run()
    return [
        {
            "name": name,
            "group": group_of(name),
            "format": label,
            **weights[name, label],
            "output": float(np.sqrt(error / product)) if product else float(error > 0),
        }
        for (name, label), (product, error) in squares.items()
    ]
