"""The causal VAE codec: waveform <-> latent frames, each side streaming.

Encoder: SEANet -> windowed transformer -> strided convolution. Decoder: the mirror image. Where a
config has a `vocoder`, spectra and that vocoder stand in the place of the SEANets.
Latents here are the codec's own; the language model's normalisation is not its business.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ptts_jax.model import vocoder
from ptts_jax.model.caches.window import WindowCache
from ptts_jax.model.codec_state import (
    CodecState,
    Plan,
    decoder_plan,
    downsample_spec,
    encoder_plan,
    upsample_spec,
)
from ptts_jax.model.codec_state import decoder_state as decoder_state  # what `decode` begins with
from ptts_jax.model.codec_state import encoder_state as encoder_state  # what `encode` begins with
from ptts_jax.model.config import CodecTransformerConfig, MimiConfig
from ptts_jax.model.conv import Conv
from ptts_jax.model.layers import LayerNorm, Linear
from ptts_jax.model.pytree import Params
from ptts_jax.model.transformer import Transformer
from ptts_jax.model.vocoder_state import FEATURES


class SEANet(nn.Module):
    plan: Plan

    @nn.compact
    def __call__(self, x: Array, states: tuple) -> tuple[Array, tuple]:
        new = []
        for i, stage in enumerate(self.plan):
            y, after = x, []
            for spec, state in zip(stage, states[i], strict=True):
                residual = x if after else None  # a pair goes back to its input
                y, state = Conv(spec, name=spec.name)(
                    y, state, activate=spec.name != "first", add=residual
                )
                after.append(state)
            x = y
            new.append(tuple(after))
        return x, tuple(new)


class ProjectedTransformer(nn.Module):
    config: CodecTransformerConfig

    @nn.compact
    def __call__(
        self, x: Array, cache: WindowCache, position: Array
    ) -> tuple[Array, WindowCache, Array]:
        c = self.config
        time = x.shape[1]
        if c.input_dimension != c.d_model:
            x = Linear(c.d_model, bias=False, name="input")(x)
        positions = position[:, None] + jnp.arange(time, dtype=jnp.int32)
        x, cache = Transformer(c, name="layers")(x, cache, positions)
        if c.output_dimension != c.d_model:
            x = Linear(c.output_dimension, bias=False, name="output")(x)
        return x, cache, position + time


class Decoder(nn.Module):
    config: MimiConfig
    audible: bool = True  # False: what a vocoder would be given, in the place of its waveform

    @nn.compact
    def __call__(self, latents: Array, state: CodecState) -> tuple[Array, CodecState]:
        """[B, T, latent] -> waveform [B, T * frame_size]."""
        c = self.config
        x = Linear(c.quantizer.output_dimension, bias=False, name="quantizer")(latents)
        x, resample = Conv(upsample_spec(c), name="upsample")(x, state.resample)
        x, window, position = ProjectedTransformer(c.decoder_tf, name="transformer")(
            x, state.window, state.position
        )
        if c.vocoder:
            told = Linear(c.vocoder_steps * FEATURES, name="features")
            x = told(LayerNorm(name="norm")(x)).reshape(x.shape[0], -1, FEATURES)
            x, ends = vocoder.Vocoder(name="vocoder")(x, state.ends) if self.audible else (x, None)
        else:
            x, ends = SEANet(decoder_plan(c), name="seanet")(x, state.ends)
            x = x[..., 0]
        return x, CodecState(resample, window, position, ends)


class Encoder(nn.Module):
    config: MimiConfig

    @nn.compact
    def __call__(self, wave: Array, state: CodecState) -> tuple[Array, CodecState]:
        """Waveform [B, T * frame_size] -> [B, T, inner]."""
        c = self.config
        if c.vocoder:
            x, ends = vocoder.spectra(wave, state.ends)
            x = vocoder.Ear(c.seanet.dimension, c.vocoder_steps, name="ear")(x)
        else:
            x, ends = SEANet(encoder_plan(c.seanet), name="seanet")(wave[..., None], state.ends)
        x, window, position = ProjectedTransformer(c.transformer, name="transformer")(
            x, state.window, state.position
        )
        x, resample = Conv(downsample_spec(c), name="downsample")(x, state.resample)
        return x, CodecState(resample, window, position, ends)


def decode(
    params: Params, c: MimiConfig, latents: Array, state: CodecState
) -> tuple[Array, CodecState]:
    return Decoder(c).apply({"params": params["decoder"]}, latents, state)


def encode(
    params: Params, c: MimiConfig, wave: Array, state: CodecState
) -> tuple[Array, CodecState]:
    return Encoder(c).apply({"params": params["encoder"]}, wave, state)
