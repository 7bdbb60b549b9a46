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
from int8.report import relative_rms
from ptts_jax.conv import Conv
from ptts_jax.layers import Linear
from ptts_jax.quantization import GROUPS, Int8, quantize

Params = dict[str, Any]
Around = Callable[[str, nn.Module, Callable[..., Any], tuple[Any, ...]], Any]


@dataclass(frozen=True)
class LayerError:
    name: str
    group: str
    format: str
    shape: tuple[int, ...]  # of the matrix [out, in]
    weight: float  # relative RMS
    output: float  # relative RMS of the product without bias


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


def quantized_leaves(params: Params, specs: Iterable[Int8]) -> dict[str, dict[str, QTensor]]:
    """By name and format, the weights that any of the choices quantises."""
    wanted: dict[tuple[int, int | None], set[str]] = defaultdict(set)
    for spec in specs:
        wanted[spec.bits, spec.group_size].update(spec.groups)
    found: dict[str, dict[str, QTensor]] = defaultdict(dict)
    for (bits, group_size), groups in wanted.items():
        spec = Int8(tuple(groups), bits, group_size)
        for name, leaf in flatten(quantize(params, spec)).items():
            if isinstance(leaf, QTensor):
                found[name][format_label(spec)] = leaf
    return dict(found)


def group_of(name: str) -> str:
    """The group of a weight that can be quantised."""
    groups = (g for g, patterns in GROUPS.items() if any(re.fullmatch(p, name) for p in patterns))
    return next(groups)


def format_label(spec: Int8) -> str:
    return f"{spec.bits} bits" + (f" by {spec.group_size}" if spec.group_size else "")


def errors(
    params: Params, leaves: Mapping[str, Mapping[str, QTensor]], run: Callable[[], Any]
) -> list[LayerError]:
    """The errors of all layers that `run()` goes through, in that order; it runs unjitted."""
    seen: dict[tuple[str, str], list[np.ndarray]] = {}  # squares of the product and its error
    weights: dict[tuple[str, str], tuple[tuple[int, ...], float]] = {}

    def around(name: str, layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
        out = call(*args)
        own = layer.variables["params"]
        for label, leaf in leaves.get(name, {}).items():
            changed = layer.clone(parent=None).apply({"params": {**own, "w": leaf}}, *args)
            y, other = (np.asarray(x[0] if isinstance(x, tuple) else x) for x in (out, changed))
            product = y - np.asarray(own["b"]) if "b" in own else y
            squares = [np.sum(np.square(x, dtype=np.float64)) for x in (product, other - y)]
            seen.setdefault((name, label), []).append(np.array(squares))
            if (name, label) not in weights:
                error = relative_rms(_matrix(own["w"], leaf), np.asarray(dequantize(leaf)))
                weights[name, label] = leaf.shape, error
        return out

    with jax.disable_jit(), products(params, around):
        run()
    found = []
    for (name, label), squares in seen.items():
        product, error = np.sum(squares, axis=0)
        output = float(np.sqrt(error / product)) if product else float(error > 0)
        found.append(LayerError(name, group_of(name), label, *weights[name, label], output))
    return found


def _matrix(w: Any, like: QTensor) -> np.ndarray:
    """A weight in the layout in which it was quantised: a convolution's [K, in, out] turned."""
    w = np.asarray(w, np.float32)
    return w if w.ndim == 2 else np.moveaxis(w, 2, 0).reshape(like.shape)
