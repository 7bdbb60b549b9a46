"""How low may the precision of the codec's decoder be? Parts of it, by several methods, on audio.

An experiment: most methods are emulated in float by rounding weights and activations. Fixed scales
come from other texts than those that are judged. Knows no flags, files or clocks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from convert import flatten, unflatten
from int8 import QTensor, dequantize
from int8.policy import quantize_tree
from int8.report import level_db, snr_db, summarize
from ptts_jax import codec
from ptts_jax.config import Config
from ptts_jax.conv import ConvState
from ptts_jax.drivers import SCAN_FRAMES
from ptts_jax.int8_report import speech as speech
from ptts_jax.int8_report.audio import log_mel_distance, pauses
from ptts_jax.int8_report.layers import products
from ptts_jax.int8_report.measure import Subject, say
from ptts_jax.quantization import NEVER

Params = dict[str, Any]
Change = Callable[[Array], Array]

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
SAMPLES = 1 << 16  # magnitudes kept of each call of a layer


def static(percentile: float) -> str:
    return f"int8, fixed scale ({'absmax' if percentile == 100 else f'{percentile:g}%'})"


METHODS = (DYNAMIC, *map(static, PERCENTILES), WEIGHTS, BF16)


@dataclass(frozen=True)
class Judged:
    """The audio of one text against that of the float decoder, in dB; levels are of full scale."""

    snr: float
    mel: float
    error: float  # level
    error_in_pauses: float | None  # level; None where there are no pauses


def spoken(subject: Subject) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Latents to calibrate with, and latents to judge by: a half of the texts each."""
    setup = subject.setup
    half = len(setup.jobs) // 2
    if half < 1:
        raise ValueError("--texts: give two texts or more; half of them calibrate")
    say(f"the float model speaks {len(setup.jobs)} texts ...")
    runs = speech.free(subject.tts.params, setup)
    told, judged = ([run.latents for run in part] for part in (runs[:half], runs[half:]))
    return told, judged


def qualities(
    params: Params,
    config: Config,
    told: Sequence[np.ndarray],
    latents: Sequence[np.ndarray],
) -> Iterator[dict[str, Any]]:
    """A result for each part and method, on latents [N, D]; calibrated with those `told`."""
    say("calibrating ...")
    ranges = calibrate(params, config, told)
    base = decode(params, config, latents)
    for part, patterns in PARTS.items():
        say(f"{part} ...")
        for method in METHODS:
            changed, changes = variant(params, patterns, method, ranges)
            waves = decode(changed, config, latents, changes)
            rate = config.mimi.sample_rate
            judged = [judge(a, b, rate) for a, b in zip(base, waves, strict=True)]
            yield {"part": part, "method": method} | _summed(judged)


def _summed(judged: Sequence[Judged]) -> dict[str, Any]:
    quiet = [j.error_in_pauses for j in judged if j.error_in_pauses is not None]
    return {
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


def variant(
    params: Params, patterns: Sequence[str], method: str, ranges: Mapping[str, Sequence[float]]
) -> tuple[Params, dict[str, Change]]:
    """Changed parameters, and how the inputs of the layers change, by the weight's name."""
    tree, report = quantize_tree(params, {"part": patterns}, ["part"], NEVER, as_matrix=matrix)
    if method == DYNAMIC:
        return tree, {}
    plain, flat = flatten(params), flatten(tree)
    changes: dict[str, Change] = {}
    for name in report.quantized:
        if method == BF16:
            flat[name] = _bf16(plain[name])
            changes[name] = _bf16
            continue
        flat[name] = _dequantized(flat[name], plain[name].shape)
        if method != WEIGHTS:
            index = [static(p) for p in PERCENTILES].index(method)
            changes[name] = _rounding(ranges[name][index])
    return unflatten(flat), changes


def matrix(w: Any) -> np.ndarray:
    """A convolution's weight [K, in, out] as the matrix [out, K * in]."""
    w = np.asarray(w, np.float32)
    return w if w.ndim == 2 else np.moveaxis(w, 2, 0).reshape(w.shape[2], -1)


def _dequantized(w: QTensor, shape: tuple[int, ...]) -> np.ndarray:
    plain = dequantize(w)
    if len(shape) == 2:
        return plain
    return np.ascontiguousarray(np.moveaxis(plain.reshape(shape[2], *shape[:2]), 0, 2))


def _bf16(x: Array) -> Array:
    return jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32)


def _rounding(largest: float) -> Change:
    """To the 255 levels of an int8 with a fixed scale; what is beyond the largest is cut off."""
    scale = np.float32(max(largest, 1e-30) / 127)
    return lambda x: jnp.clip(jnp.round(x / scale), -127, 127) * scale


def calibrate(
    params: Params, config: Config, latents: Sequence[np.ndarray]
) -> dict[str, list[float]]:
    """The PERCENTILES of the magnitudes of every layer's inputs, by the weight's name."""
    kept: dict[str, list[np.ndarray]] = {}
    largest: dict[str, float] = {}

    def around(name: str, layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
        x = np.abs(np.asarray(args[0])).ravel()
        largest[name] = max(largest.get(name, 0.0), float(x.max()))
        kept.setdefault(name, []).append(x[:: -(-x.size // SAMPLES)])
        return call(*args)

    state, block = codec.decoder_state(config.mimi, len(latents)), speech.padded(latents)
    with products(params, around):
        for at in range(0, block.shape[1], SCAN_FRAMES):
            state, _ = decoded(params, config, state, block[:, at : at + SCAN_FRAMES])
    found = {name: np.percentile(np.concatenate(x), PERCENTILES[1:]) for name, x in kept.items()}
    return {name: [largest[name], *map(float, x)] for name, x in found.items()}


def decode(
    params: Params,
    config: Config,
    latents: Sequence[np.ndarray],
    changes: Mapping[str, Change] | None = None,
) -> list[np.ndarray]:
    """Waveforms of utterances [N, D], where layers' inputs are changed on their way."""
    step, params = _step(config, changes or {}), decoder_of(params)
    state, block, waves = codec.decoder_state(config.mimi, len(latents)), speech.padded(latents), []
    for at in range(0, block.shape[1], SCAN_FRAMES):
        state, wave = step(params, state, block[:, at : at + SCAN_FRAMES])
        waves.append(np.asarray(wave))
    wave = np.concatenate(waves, axis=1)
    return [wave[i, : len(x) * config.mimi.frame_size] for i, x in enumerate(latents)]


def decoder_of(params: Params) -> Params:
    """What decoding needs of the parameters."""
    lm = {name: params["lm"][name] for name in ("std", "mean")}
    return jax.device_put({"lm": lm, "codec": {"decoder": params["codec"]["decoder"]}})


def _step(config: Config, changes: Mapping[str, Change]) -> Callable[..., Any]:
    def around(name: str, layer: nn.Module, call: Callable[..., Any], args: tuple) -> Any:
        change = changes.get(name, lambda x: x)
        # The past of a convolution is changed at every call: rounding twice is as once.
        return call(
            *(
                x.replace(past=change(x.past)) if isinstance(x, ConvState) else change(x)
                for x in args
            )
        )

    def step(params: Params, state: Any, block: Array) -> tuple[Any, Array]:
        with products(params, around):
            return decoded(params, config, state, block)

    return jax.jit(step)


def decoded(params: Params, config: Config, state: Any, block: Array) -> tuple[Any, Array]:
    """Normalised latents [B, T, D] -> the next state and the waveform, not jitted."""
    latents = block * params["lm"]["std"] + params["lm"]["mean"]
    wave, state = codec.decode(params["codec"], config.mimi, latents, state)
    return state, wave
