"""Kokoro's voices by a tenth of the work: a small net tells a vocoder what Kokoro's generator would
have said, since that generator is nine tenths of it.

The net is a run of ptts_jax.train.light. J half steps of Kokoro's, F steps of the vocoder's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.model.codec_config import VOCODER_RATE, VOCODER_STEP
from ptts_jax.model.pytree import Params
from ptts_jax.model.vocoder import Vocoder, heights
from ptts_jax.model.vocoder_state import CEPSTRA, FEATURES, VocoderState
from ptts_jax.train.data import kokoro, script
from ptts_jax.train.data.kokoro import Inside, Kokoro
from ptts_jax.train.data.said import Said
from ptts_jax.train.run import checkpoint

STAGE = "light"
RECIPE = 2  # of what is done with what the net says; another number is another version
HIDDEN = 512
GIVEN = HIDDEN + 3  # what is inside, the pitch, whether there is a voice, the energy
HALF = kokoro.STEP / 2  # seconds
HEIGHTS = tuple(float(heights(hz)) for hz in (75, 490))
APART = 0.4  # octaves, at most, from Kokoro's own pitch
VOICED = 50.0  # Hz, above which there is a voice
WIDTH, BLOCKS, TAPS = 192, 4, 5
LOUDEST = 1.0  # Kokoro itself stays below 0.6
LENGTHS = 200  # vocoder's steps: what is computed is a multiple of it, to compile seldom


class Net(nn.Module):
    @nn.compact
    def __call__(self, given: Array, style: Array) -> Array:
        """[B, F, GIVEN], [B, STYLE] -> what the vocoder is told [B, F, FEATURES]."""
        mean = self.param("mean", nn.initializers.zeros, (GIVEN,))
        scale = self.param("scale", nn.initializers.ones, (GIVEN,))
        x = jax.lax.stop_gradient((given - mean) * scale)
        x = nn.Dense(WIDTH)(x) + nn.Dense(WIDTH)(style)[:, None]
        for _ in range(BLOCKS):
            y = nn.gelu(nn.Conv(WIDTH, (TAPS,))(nn.LayerNorm()(x)))
            x = x + nn.Dense(WIDTH)(y)
        told = nn.Dense(FEATURES, name="told")(nn.LayerNorm()(x))
        return told.at[..., CEPSTRA].add(given[..., HIDDEN])


def given(inside: Inside, count: int) -> np.ndarray:
    """What the net sees at each of `count` steps of the vocoder: [F, GIVEN]."""
    rows = [heights(np.maximum(inside.pitch, VOICED)), inside.pitch > VOICED, inside.energy]
    table = np.concatenate([inside.hidden, np.stack(rows, axis=1)], axis=1).astype(np.float32)
    at = np.clip(np.arange(count) * VOCODER_STEP / VOCODER_RATE / HALF - 0.5, 0, len(table) - 1)
    first = np.minimum(at.astype(int), len(table) - 2)
    share = (at - first)[:, None].astype(np.float32)
    return table[first] * (1 - share) + table[first + 1] * share


class Light:
    """One of Kokoro's voices. What is held out Kokoro says itself: others are measured by it."""

    def __init__(self, voice: str, folder: str | Path, run: str | Path) -> None:
        self._kokoro = Kokoro(voice, folder)
        state, step, meta = checkpoint.load(Path(run))
        if meta.get("stage") != STAGE:
            raise ValueError(f"{run}: a run of {meta.get('stage')}; give one of train.light")
        self._params = jax.tree.map(jnp.asarray, {n: state[n] for n in ("ema", "vocoder")})
        self._held = frozenset(script.held_out())
        digest = hashlib.sha256(b"".join(map(bytes, jax.tree.leaves(state["ema"])))).hexdigest()
        self.version = f"{self._kokoro.version}, light {RECIPE}, {digest[:8]} of {step} steps"

    def speak(self, text: str) -> Said:
        if text in self._held:
            return self._kokoro.speak(text)
        inside = self._kokoro.inside(text)
        samples = round(len(inside.pitch) * HALF * VOCODER_RATE)
        count = -(-samples // VOCODER_STEP) + 1  # the vocoder speaks a step late
        rows = given(inside, -(-count // LENGTHS) * LENGTHS)
        wave = np.asarray(_spoken(self._params, rows[None], inside.style[None]))[0]
        wave = wave[VOCODER_STEP : VOCODER_STEP + samples]
        if np.abs(wave).max(initial=0) > LOUDEST:  # it shrieks nevertheless
            return self._kokoro.speak(text)
        return Said(wave, VOCODER_RATE, inside.phonemes, inside.seconds)


@jax.jit
def _spoken(params: Params, rows: Array, style: Array) -> Array:
    told = Net().apply({"params": params["ema"]}, rows, style)
    # An octave below the pitch, as a creaking voice is heard, the vocoder may shriek.
    near = jnp.clip(told[..., CEPSTRA], rows[..., HIDDEN] - APART, rows[..., HIDDEN] + APART)
    told = told.at[..., CEPSTRA].set(jnp.clip(near, *HEIGHTS))
    vocoder = {"params": params["vocoder"]}
    return Vocoder().apply(vocoder, told, VocoderState.init(len(rows)))[0]
