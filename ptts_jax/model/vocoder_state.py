"""The sizes of the vocoder, and what it keeps between two steps; vocoder.py computes it.

B batch, N samples of a subframe.
"""

import jax.numpy as jnp
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.codec_config import VOCODER_STEP, VocoderConfig

CEPSTRA, FEATURES = 18, 20
SUBFRAMES, N = 4, VOCODER_STEP // 4
CONDITION = 80  # numbers that a subframe is told
LONGEST, SHORTEST = 256, 32  # samples of a pitch period
LOWEST = 66.0  # Hz: told of a lower pitch, near its longest period, the vocoder shrieks
PITCHES, PITCH_WIDTH = 224, 12  # of the table of periods
TAPS, NARROW, WIDE = 3, 64, 128  # of the convolution over steps, and its widths
INPUT = CONDITION + N + 4 + N  # what the first layer of a subframe sees
FIRST = 192
GRUS = (160, 128, 128)


@pytree.dataclass
class VocoderState:
    """What is kept between two steps."""

    steps: Array  # [B, TAPS - 1, NARROW]: of the convolution
    period: Array  # [B] int32 samples, of the last step; 0 before the first
    signal: Array  # [B, LONGEST]: before the emphasis is taken off
    inputs: Array  # [B, INPUT]: of the last subframe
    grus: tuple[Array, ...]  # [B, width] each
    last: Array  # [B]: the last sample

    @staticmethod
    def init(batch: int) -> "VocoderState":
        return VocoderState(
            jnp.zeros((batch, TAPS - 1, NARROW)),
            jnp.zeros((batch,), jnp.int32),
            jnp.zeros((batch, LONGEST)),
            jnp.zeros((batch, INPUT)),
            tuple(jnp.zeros((batch, width)) for width in GRUS),
            jnp.zeros((batch,)),
        )


def spectra_past(c: VocoderConfig, batch: int) -> Array:
    """[B, window - step]: the samples that the next spectrum still needs."""
    return jnp.zeros((batch, c.window - VOCODER_STEP))
