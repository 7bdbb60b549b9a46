"""FARGAN, the vocoder of Opus 1.5, as a streaming layer: 20 numbers a step of 10 ms -> 16 kHz.

J.-M. Valin, A. Mustafa and J. Buethe, "Very Low Complexity Speech Synthesis Using Framewise
Autoregressive GAN (FARGAN) with Pitch Prediction", 2024. Its weights come with Opus; see
ptts_jax.train.codec.fargan. A step is four subframes; each is made from the step's condition, from
the subframe before and from the signal one pitch period ago. What a step says is heard one step
later.

The numbers of a step: 18 cepstra, the pitch (log2 of Hz / 62.5, minus 1.5) and how periodic it is.
B batch, F steps, N samples of a subframe.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from int8 import dequantized, subframes
from ptts_jax.model.codec_config import VOCODER_RATE, VOCODER_STEP
from ptts_jax.model.layers import Linear, parameter
from ptts_jax.model.pytree import Params
from ptts_jax.model.vocoder_state import (
    CEPSTRA,
    CONDITION,
    FIRST,
    GRUS,
    LONGEST,
    LOWEST,
    NARROW,
    PITCH_WIDTH,
    PITCHES,
    SHORTEST,
    SUBFRAMES,
    TAPS,
    WIDE,
    N,
    VocoderState,
)

EMPHASIS = 0.85  # taken from what is spoken, as it was put on what was analysed
FLOOR = 1e-4  # power below which a spectrum tells nothing


class Vocoder(nn.Module):
    @nn.compact
    def __call__(self, features: Array, state: VocoderState) -> tuple[Array, VocoderState]:
        """[B, F, FEATURES] -> [B, F * SUBFRAMES * N]"""
        batch, count, _ = features.shape
        features = jnp.asarray(features).at[..., CEPSTRA].max(float(heights(LOWEST)))
        period = periods(features[..., CEPSTRA])
        first = jnp.where(state.period > 0, state.period, period[:, 0])
        before = jnp.concatenate([first[:, None], period[:, :-1]], axis=1)
        conditions, steps = self._conditions(features, period, state.steps)
        params = parameter(self, "subframe", _subframe_params, ())
        wave, signal, inputs, grus, last = subframes(
            _subframes,
            params,
            state.signal,
            state.inputs,
            state.grus,
            state.last,
            conditions.reshape(batch, count * SUBFRAMES, CONDITION),
            jnp.repeat(before, SUBFRAMES, axis=1),
        )
        new = VocoderState(steps, period[:, -1], signal, inputs, grus, last)
        return wave.reshape(batch, -1), new

    def _conditions(self, features: Array, period: Array, past: Array) -> tuple[Array, Array]:
        """[B, F, SUBFRAMES * CONDITION], and the next past of the convolution."""
        table = parameter(self, "pitches", nn.initializers.normal(0.1), (PITCHES, PITCH_WIDTH))
        pitch = table[jnp.clip(period - SHORTEST, 0, PITCHES - 1)]
        x = jnp.tanh(Linear(NARROW, name="step_in")(jnp.concatenate([features, pitch], -1)))
        full = jnp.concatenate([past, x], axis=1)
        taps = [full[:, i : i + x.shape[1]] for i in range(TAPS)]
        x = jnp.tanh(Linear(WIDE, name="steps")(jnp.concatenate(taps, -1)))
        x = jnp.tanh(Linear(SUBFRAMES * CONDITION, name="step_out")(x))
        return x, full[:, x.shape[1] :]


def heights(hz: np.ndarray | float) -> np.ndarray:
    """A pitch as a step tells it."""
    return np.log2(hz * LONGEST / VOCODER_RATE) - 1.5


def periods(pitch: Array) -> Array:
    """Samples of a period."""
    return jnp.clip(jnp.floor(0.5 + LONGEST * 2.0 ** -(pitch + 1.5)), SHORTEST, LONGEST - 1).astype(
        jnp.int32
    )


def _subframe_params(key: Array, shape: tuple[int, ...]) -> Params:
    del shape
    state = VocoderState.init(1)
    condition, period = jnp.zeros((1, CONDITION)), jnp.full(1, LONGEST - 1)
    return Subframe().init(key, state, (condition, period))["params"]


def _subframes(
    params: Params,
    signal: Array,
    inputs: Array,
    grus: tuple[Array, ...],
    last: Array,
    conditions: Array,
    periods: Array,
) -> tuple[Array, Array, Array, tuple[Array, ...], Array]:
    """All subframes in turn, of conditions [B, T, CONDITION] and periods [B, T]: what is said
    [B, T, N], and what is kept. Weights that are QTensors stand for floats here."""
    floats = dequantized(params)

    def one(state: VocoderState, inputs: tuple[Array, Array]) -> tuple[VocoderState, Array]:
        return Subframe().apply({"params": floats}, state, inputs)

    state = VocoderState.init(len(signal)).replace(
        signal=signal, inputs=inputs, grus=grus, last=last
    )
    by_time = conditions.swapaxes(0, 1), periods.swapaxes(0, 1)
    state, wave = jax.lax.scan(one, state, by_time)
    return wave.swapaxes(0, 1), state.signal, state.inputs, state.grus, state.last


class Subframe(nn.Module):
    @nn.compact
    def __call__(
        self, state: VocoderState, inputs: tuple[Array, Array]
    ) -> tuple[VocoderState, Array]:
        """A condition [B, CONDITION] and a period [B] -> the next N samples [B, N]."""
        condition, period = inputs
        gain = jnp.exp(Linear(1, name="gain")(condition))
        loud = 1 / (1e-5 + gain)
        past = jnp.clip(loud * ago(state.signal, period), -1, 1)  # [B, N + 4]
        before = jnp.clip(loud * state.signal[:, -N:], -1, 1)  # [B, N]
        x = jnp.concatenate([condition, past, before], -1)
        y = jnp.tanh(Linear(FIRST, name="first")(jnp.concatenate([state.inputs, x], -1)))
        y = self._gated("first_gate", y)
        shares = jax.nn.sigmoid(Linear(len(GRUS) + 1, name="shares")(y))
        past = past[:, 2:-2]

        h, grus, outs = y, [], []
        for i, old in enumerate(state.grus):
            h = jnp.concatenate([h, shares[:, i : i + 1] * past, before], -1)
            grus.append(self._gru(i, h, old))
            h = self._gated(f"gru_{i}_gate", grus[-1])
            outs.append(h)
        h = jnp.concatenate([*outs, y, shares[:, -1:] * past, before], -1)
        h = self._gated("skip_gate", jnp.tanh(Linear(WIDE, name="skip")(h)))
        wave = jnp.tanh(Linear(N, name="out")(h)) * gain

        signal = jnp.concatenate([state.signal[:, N:], wave], axis=1)
        wave = wave @ RINGING + state.last[:, None] * FADING
        new = {"signal": signal, "inputs": x, "grus": tuple(grus), "last": wave[:, -1]}
        return state.replace(**new), wave

    def _gated(self, name: str, x: Array) -> Array:
        return x * jax.nn.sigmoid(Linear(x.shape[-1], name=name)(x))

    def _gru(self, i: int, x: Array, old: Array) -> Array:
        width = old.shape[-1]
        told = Linear(3 * width, bias=False, name=f"gru_{i}_input")(x)
        kept = Linear(3 * width, bias=False, name=f"gru_{i}_state")(old)
        gates = jax.nn.sigmoid(told[:, : 2 * width] + kept[:, : 2 * width])
        keep, reset = gates[:, :width], gates[:, width:]
        new = jnp.tanh(told[:, 2 * width :] + reset * kept[:, 2 * width :])
        return keep * old + (1 - keep) * new


def ago(signal: Array, period: Array) -> Array:
    """The signal [B, LONGEST] one period [B] ago, from two samples before to two after: [B, N + 4].

    Where a period is shorter than that, it is heard twice.
    """
    at = LONGEST - 2 + np.arange(N + 4) - period[:, None]
    at = jnp.where(at >= LONGEST, at - period[:, None], at)
    return jnp.take_along_axis(signal, jnp.maximum(at, 0), axis=1)


# The emphasis comes off a subframe by one product: y[i] = sum of EMPHASIS ** (i - j) * x[j].
_LAG = np.arange(N) - np.arange(N)[:, None]
RINGING = np.where(_LAG >= 0, EMPHASIS ** np.maximum(_LAG, 0), 0).astype(np.float32)
FADING = (EMPHASIS ** np.arange(1, N + 1)).astype(np.float32)


def spectra(wave: Array, past: Array) -> tuple[Array, Array]:
    """[B, F * step] -> logarithms [B, F, window / 2 + 1] of windows that end with each step."""
    full = jnp.concatenate([past, wave], axis=1)
    blocks = full.reshape(full.shape[0], -1, VOCODER_STEP)
    count, window = wave.shape[1] // VOCODER_STEP, past.shape[1] + VOCODER_STEP
    parts = [blocks[:, i : i + count] for i in range(window // VOCODER_STEP)]
    windows = jnp.concatenate(parts, axis=-1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    found = jnp.fft.rfft(windows * hann.astype(np.float32))
    power = jnp.square(found.real) + jnp.square(found.imag)
    return 0.25 * jnp.log(power + FLOOR), full[:, full.shape[1] - past.shape[1] :]


class Ear(nn.Module):
    """Spectra [B, F, bins] -> what so many of them at a time are like [B, F / steps, width]."""

    width: int
    steps: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = jax.nn.gelu(Linear(2 * self.width // self.steps, name="each")(x), approximate=True)
        return Linear(self.width, name="all")(x.reshape(x.shape[0], -1, self.steps * x.shape[-1]))
