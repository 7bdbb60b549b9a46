"""How fast the codec's decoder is with parts of it in less precision, as it would be shipped.

int8 runs on this package's kernels; bf16 is what XLA makes of a product of two bf16 matrices.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from convert import flatten
from int8 import QTensor
from ptts_jax import codec
from ptts_jax.config import Config
from ptts_jax.conv import Conv
from ptts_jax.int8_report.codec import BF16, DYNAMIC, PARTS, decoded, decoder_of, matrix, variant
from ptts_jax.int8_report.layers import products

Params = dict[str, Any]

BLOCK = 8  # frames of a call
ROUNDS = 25
WARM_UP = 2  # rounds


def speeds(params: Params, config: Config) -> list[dict[str, Any]]:
    """Milliseconds per frame by part and method, beside float's in the same rounds."""
    block = np.random.default_rng(0).standard_normal((1, BLOCK, config.mimi.latent_dim), np.float32)
    start = partial(codec.decoder_state, config.mimi, 1)
    runs = {("", "float"): _timed(_step(config), (decoder_of(params), {}), start(), block)}
    for part, patterns in PARTS.items():
        tree = variant(params, patterns, DYNAMIC, {})[0]
        runs[part, DYNAMIC] = _timed(_step(config), (decoder_of(tree), {}), start(), block)
        small = _bf16_weights(params, tree)
        runs[part, BF16] = _timed(_step(config), (decoder_of(params), small), start(), block)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for turn in range(ROUNDS + WARM_UP):  # in turns: what else the machine does hits all alike
        for key, run in runs.items():
            spent = run()
            if turn >= WARM_UP:
                times[key].append(spent)
    base = next(iter(times.values()))
    return [
        {
            "part": part,
            "method": method,
            "median": statistics.median(own),
            "least": min(own),
            "ratio": statistics.median([a / b for a, b in zip(base, own, strict=True)]),
        }
        for (part, method), own in times.items()
    ]


def _timed(
    step: Callable[..., Any], weights: Sequence[Any], state: Any, block: np.ndarray
) -> Callable[[], float]:
    def run() -> float:
        nonlocal state
        began = time.perf_counter()
        state, wave = step(*weights, state, block)
        jax.block_until_ready((state, wave))
        return 1000 * (time.perf_counter() - began) / BLOCK

    return run


def _bf16_weights(params: Params, quantized: Params) -> dict[str, Array]:
    """As matrices, those that are quantised in another tree."""
    plain = flatten(params)
    names = [name for name, leaf in flatten(quantized).items() if isinstance(leaf, QTensor)]
    return {name: jnp.asarray(matrix(plain[name]), jnp.bfloat16) for name in names}


def _step(config: Config) -> Callable[..., Any]:
    def step(params: Params, small: Mapping[str, Array], state: Any, block: Array) -> Any:
        def around(name: str, layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
            return _bf16_product(layer, args, small[name]) if name in small else call(*args)

        with products(params, around):
            return decoded(params, config, state, block)

    return jax.jit(step)


def _bf16_product(layer: nn.Module, args: tuple, w: Array) -> Any:
    """A layer's output from a matrix w [out, in]; what the float product gave is not computed."""
    if not isinstance(layer, Conv):
        return _dot(args[0], w)  # the decoder's linear maps have no bias
    s, (x, state) = layer.spec, args
    full = jnp.concatenate([state.past, x], axis=1)  # [B, memory + T, C]
    taps, dilation = (2, 1) if s.transposed else (s.kernel, s.dilation)
    reach = full.shape[1] - (taps - 1) * dilation
    windows = [full[:, k * dilation : k * dilation + reach] for k in range(taps)]
    y = _dot(jnp.concatenate(windows, axis=-1), w).reshape(x.shape[0], -1, s.cout)
    past = full[:, full.shape[1] - s.memory :]
    return y + layer.variables["params"]["b"], state.replace(past=past)


def _dot(x: Array, w: Array) -> Array:
    dims = (((2,), (1,)), ((), ()))
    return lax.dot_general(x.astype(w.dtype), w, dims, preferred_element_type=jnp.float32)
