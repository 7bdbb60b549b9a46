"""How low may the precision of the codec's decoder be? Parts of it, by several methods.

An experiment: int8 runs on this package's kernels, bf16 is what XLA makes of a product of two bf16
matrices, and fixed scales are emulated in float; they come from other texts than those judged.
Knows no flags or files.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from convert import flatten, unflatten
from int8 import dequantize
from int8.policy import quantize_tree
from ptts_jax.bench.int8 import speech
from ptts_jax.bench.int8.audio import log_mel_distance, pauses
from ptts_jax.bench.int8.layers import products
from ptts_jax.bench.int8.subject import Subject
from ptts_jax.bench.statistics import level_db, snr_db, summarize
from ptts_jax.messages import say
from ptts_jax.model import codec
from ptts_jax.model.config import Config
from ptts_jax.model.conv import Conv, ConvState, windows
from ptts_jax.model.layers import Params
from ptts_jax.store.quantization import NEVER, as_matrix

Product = Callable[[nn.Module, Callable[..., Any], tuple], Any]  # of a layer, its call, arguments

_TRANSFORMER = r"codec/decoder/transformer/.*/w"
_EARLY = r"codec/decoder/seanet/(first|up_0|res_0_\d+_(in|out))/w"
_CONVOLUTIONS = r"codec/decoder/seanet/(first|up_\d+|res_\d+_\d+_(in|out))/w"
PARTS = {
    "transformer": [_TRANSFORMER],
    "early convolutions": [_EARLY],
    "transformer, early convolutions": [_TRANSFORMER, _EARLY],
    "all convolutions": [_CONVOLUTIONS],
    "transformer, all convolutions": [_TRANSFORMER, _CONVOLUTIONS],
}
PERCENTILES = (100.0, 99.99, 99.9)  # of the magnitudes; 100 is the largest one
DYNAMIC, WEIGHTS, BF16 = "int8, a scale per row", "int8 weights alone", "bf16"
SAMPLES = 1 << 16  # magnitudes of each call of a layer that are looked at
BLOCK = 8  # frames of a timed call
ROUNDS = 25
WARM_UP = 2  # rounds


def static(percentile: float) -> str:
    return f"int8, fixed scale ({'absmax' if percentile == 100 else f'{percentile:g}%'})"


METHODS = (DYNAMIC, *map(static, PERCENTILES), WEIGHTS, BF16)


def spoken(subject: Subject) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Latents to calibrate with, and latents to judge by: a half of the texts each."""
    half = len(subject.setup.jobs) // 2
    if half < 1:
        raise ValueError("--texts: give two texts or more; half of them calibrate")
    say(f"the float model speaks {len(subject.setup.jobs)} texts ...")
    latents = [run.latents for run in speech.free(subject.tts.params, subject.setup)]
    return latents[:half], latents[half:]


# Quality.


@dataclass(frozen=True)
class Judged:
    """The audio of one text against that of the float decoder, in dB; levels are of full scale."""

    snr: float
    mel: float
    error: float  # level
    error_in_pauses: float | None  # level; None where there are no pauses


def qualities(
    params: Params,
    config: Config,
    told: Sequence[np.ndarray],
    latents: Sequence[np.ndarray],
) -> Iterator[dict[str, Any]]:
    """A result for each part and method, on latents [N, D]; calibrated with those `told`."""
    say("calibrating ...")
    ranges, rate = calibrate(params, config, told), config.mimi.sample_rate
    base = decode(params, {}, config, latents)
    for part, patterns in PARTS.items():
        say(f"{part} ...")
        for method in METHODS:
            waves = decode(*variant(params, patterns, method, ranges), config, latents)
            judged = [judge(a, b, rate) for a, b in zip(base, waves, strict=True)]
            quiet = [j.error_in_pauses for j in judged if j.error_in_pauses is not None]
            yield {
                "part": part,
                "method": method,
                "snr": asdict(summarize([j.snr for j in judged])),
                "least_snr": min(j.snr for j in judged),
                "mel": asdict(summarize([j.mel for j in judged])),
                "error": asdict(summarize([j.error for j in judged])),
                "error_in_pauses": asdict(summarize(quiet)) if quiet else None,
                "most_in_pauses": max(quiet) if quiet else None,
            }


def judge(base: np.ndarray, other: np.ndarray, rate: int) -> Judged:
    quiet, error = pauses(base, rate), other - base
    in_pauses = level_db(error[quiet]) if quiet.any() else None
    mel = log_mel_distance(base, other, rate)
    return Judged(snr_db(base, other), mel, level_db(error), in_pauses)


def calibrate(
    params: Params, config: Config, latents: Sequence[np.ndarray]
) -> dict[str, list[float]]:
    """The PERCENTILES of the magnitudes of every layer's inputs, by the weight's name."""
    some: dict[str, list[np.ndarray]] = {}
    largest: dict[str, float] = {}

    def around(name: str, layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
        x = np.abs(np.asarray(args[0])).ravel()
        largest[name] = max(largest.get(name, 0.0), float(x.max()))
        some.setdefault(name, []).append(x[:: -(-x.size // SAMPLES)])
        return call(*args)

    with products(params, around):
        state = codec.decoder_state(config.mimi, len(latents))
        speech.decode(latents, config, partial(decoded, params, config), state)
    others = {name: np.percentile(np.concatenate(x), PERCENTILES[1:]) for name, x in some.items()}
    return {name: [largest[name], *map(float, x)] for name, x in others.items()}


# Variants of the decoder.


def variant(
    params: Params,
    patterns: Sequence[str],
    method: str,
    ranges: Mapping[str, Sequence[float]] | None = None,
) -> tuple[Params, dict[str, Product]]:
    """Changed parameters, and by the weight's name the products that are computed otherwise."""
    tree, report = quantize_tree(params, {"part": patterns}, ["part"], NEVER, as_matrix=as_matrix)
    if method == DYNAMIC:
        return tree, {}
    plain, flat = flatten(params), flatten(tree)
    computed: dict[str, Product] = {}
    for name in report.quantized:
        if method == BF16:
            flat[name] = jnp.asarray(as_matrix(plain[name]), jnp.bfloat16)
            computed[name] = _bf16_product
            continue
        shape, matrix = plain[name].shape, dequantize(flat[name])  # [out, in] or [out, K * in]
        if len(shape) == 3:
            matrix = np.moveaxis(matrix.reshape(shape[2], *shape[:2]), 0, 2)
        flat[name] = np.ascontiguousarray(matrix)
        if method != WEIGHTS:
            index = [static(p) for p in PERCENTILES].index(method)
            computed[name] = partial(_rounded_product, rounding(ranges[name][index]))
    return unflatten(flat), computed


def rounding(largest: float) -> Callable[[Array], Array]:
    """To the 255 levels of an int8 with a fixed scale; what is beyond the largest is cut off."""
    scale = np.float32(max(largest, 1e-30) / 127)
    return lambda x: jnp.clip(jnp.round(x / scale), -127, 127) * scale


def _rounded_product(
    change: Callable[[Array], Array], layer: nn.Module, call: Callable[..., Any], args: tuple
) -> Any:
    del layer
    # A convolution's past is rounded at every call: what is rounded already stays as it is.
    return call(
        *(x.replace(past=change(x.past)) if isinstance(x, ConvState) else change(x) for x in args)
    )


def _bf16_product(layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
    """A layer whose weight is a bf16 matrix [out, in]; the float product is not computed."""
    del call
    w, x = layer.variables["params"]["w"], args[0]
    if not isinstance(layer, Conv):
        return _dot(x, w)  # the decoder's linear maps have no bias
    full = jnp.concatenate([args[1].past, x], axis=1)  # [B, memory + T, C]
    y = _dot(windows(full, layer.spec), w).reshape(x.shape[0], -1, layer.spec.cout)
    past = full[:, full.shape[1] - layer.spec.memory :]
    return y + layer.variables["params"]["b"], args[1].replace(past=past)


def _dot(x: Array, w: Array) -> Array:
    dims = (((2,), (1,)), ((), ()))
    return lax.dot_general(x.astype(w.dtype), w, dims, preferred_element_type=jnp.float32)


# Running it.


def decode(
    params: Params,
    computed: Mapping[str, Product],
    config: Config,
    latents: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Waveforms of utterances [N, D] by a variant of the decoder."""
    step = partial(compiled(config, computed), decoder_of(params))
    return speech.decode(latents, config, step, codec.decoder_state(config.mimi, len(latents)))


def decoder_of(params: Params) -> Params:
    """What decoding needs of the parameters."""
    lm = {name: params["lm"][name] for name in ("std", "mean")}
    return jax.device_put({"lm": lm, "codec": {"decoder": params["codec"]["decoder"]}})


def compiled(config: Config, computed: Mapping[str, Product]) -> Callable[..., Any]:
    """(params, state, block) -> (state, wave), jitted."""

    def around(name: str, layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
        return computed[name](layer, call, args) if name in computed else call(*args)

    def step(params: Params, state: Any, block: Array) -> tuple[Any, Array]:
        with products(params, around):
            return decoded(params, config, state, block)

    return jax.jit(step)


def decoded(params: Params, config: Config, state: Any, block: Array) -> tuple[Any, Array]:
    """Normalised latents [B, T, D] -> the next state and the waveform, not jitted."""
    latents = block * params["lm"]["std"] + params["lm"]["mean"]
    wave, state = codec.decode(params["codec"], config.mimi, latents, state)
    return state, wave


# Speed.


def speeds(params: Params, config: Config) -> list[dict[str, Any]]:
    """Milliseconds per frame by part and method, beside float's in the same rounds."""
    runs = {("", "float"): _timed(config, params, {})}
    for part, patterns in PARTS.items():
        for method in (DYNAMIC, BF16):
            runs[part, method] = _timed(config, *variant(params, patterns, method))
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for turn in range(ROUNDS + WARM_UP):  # in turns: what else the machine does hits all alike
        for key, run in runs.items():
            spent = run()
            if turn >= WARM_UP:
                times[key].append(spent)
    base = times["", "float"]
    return [
        {
            "part": part,
            "method": method,
            "median": statistics.median(spent),
            "least": min(spent),
            "ratio": statistics.median([a / b for a, b in zip(base, spent, strict=True)]),
        }
        for (part, method), spent in times.items()
    ]


def _timed(config: Config, params: Params, computed: Mapping[str, Product]) -> Callable[[], float]:
    step, decoder = compiled(config, computed), decoder_of(params)
    block = np.random.default_rng(0).standard_normal((1, BLOCK, config.mimi.latent_dim), np.float32)
    state = codec.decoder_state(config.mimi, 1)

    def run() -> float:
        nonlocal state
        began = time.perf_counter()
        state, wave = step(decoder, state, block)
        jax.block_until_ready((state, wave))
        return 1000 * (time.perf_counter() - began) / BLOCK

    return run
