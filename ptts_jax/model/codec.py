"""The causal VAE codec: waveform <-> latent frames, each side streaming.

Encoder: SEANet -> windowed transformer -> strided convolution. Decoder: the mirror image. Where a
config has a `vocoder`, spectra and that vocoder stand in the place of the SEANets.
Latents here are the codec's own; the language model's normalisation is not its business.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax import Array

from ptts_jax.model import vocoder
from ptts_jax.model.caches.window import WindowCache
from ptts_jax.model.config import CodecTransformerConfig, MimiConfig, SEANetConfig
from ptts_jax.model.conv import Conv, ConvSpec, ConvState
from ptts_jax.model.layers import LayerNorm, Linear, Params
from ptts_jax.model.transformer import Transformer

Plan = tuple[tuple[ConvSpec, ...], ...]  # stages: one convolution, or a residual pair


def _residual(c: SEANetConfig, width: int, stage: int) -> list[tuple[ConvSpec, ...]]:
    hidden, replicate = width // c.compress, c.pad_mode == "replicate"
    return [
        (
            ConvSpec(
                f"res_{stage}_{j}_in",
                width,
                hidden,
                c.residual_kernel_size,
                dilation=c.dilation_base**j,
                replicate=replicate,
            ),
            ConvSpec(f"res_{stage}_{j}_out", hidden, width, 1),
        )
        for j in range(c.n_residual_layers)
    ]


def decoder_plan(c: SEANetConfig) -> Plan:
    replicate = c.pad_mode == "replicate"
    width = c.n_filters * 2 ** len(c.ratios)
    stages = [(ConvSpec("first", c.dimension, width, c.kernel_size, replicate=replicate),)]
    for i, ratio in enumerate(c.ratios):
        up = ConvSpec(f"up_{i}", width, width // 2, 2 * ratio, stride=ratio, transposed=True)
        width //= 2
        stages += [(up,), *_residual(c, width, i)]
    last = ConvSpec("last", c.n_filters, c.channels, c.last_kernel_size, replicate=replicate)
    return (*stages, (last,))


def encoder_plan(c: SEANetConfig) -> Plan:
    replicate = c.pad_mode == "replicate"
    width = c.n_filters
    stages = [(ConvSpec("first", c.channels, width, c.kernel_size, replicate=replicate),)]
    for i, ratio in enumerate(reversed(c.ratios)):
        down = ConvSpec(f"down_{i}", width, 2 * width, 2 * ratio, stride=ratio, replicate=replicate)
        stages += [*_residual(c, width, i), (down,)]
        width *= 2
    last = ConvSpec("last", width, c.dimension, c.last_kernel_size, replicate=replicate)
    return (*stages, (last,))


def upsample_spec(c: MimiConfig) -> ConvSpec:
    width = c.decoder_net.dimension
    return ConvSpec(
        "upsample",
        width,
        width,
        2 * c.upsample_stride,
        stride=c.upsample_stride,
        bias=False,
        transposed=True,
        depthwise=True,
    )


def downsample_spec(c: MimiConfig) -> ConvSpec:
    return ConvSpec(
        "downsample",
        c.seanet.dimension,
        c.inner_dim or c.seanet.dimension,
        2 * c.upsample_stride,
        stride=c.upsample_stride,
        bias=False,
        replicate=True,
    )


@struct.dataclass
class CodecState:
    """The state of one side of the codec between two blocks."""

    resample: ConvState
    window: WindowCache
    position: Array  # [B] int32: the transformer's next position
    ends: Any  # of the convolutions, as the plan; or what the vocoder or the spectra need


def _state(ends: Any, resample: ConvSpec, c: CodecTransformerConfig, batch: int) -> CodecState:
    return CodecState(
        resample.state(batch),
        WindowCache.init(c.num_layers, batch, c.kv_heads, c.context, c.head_dim),
        jnp.zeros((batch,), jnp.int32),
        ends,
    )


def _conv_states(plan: Plan, batch: int) -> tuple[tuple[ConvState, ...], ...]:
    return tuple(tuple(spec.state(batch) for spec in stage) for stage in plan)


def decoder_state(c: MimiConfig, batch: int) -> CodecState:
    if c.vocoder:
        ends = vocoder.VocoderState.init(batch)
    else:
        ends = _conv_states(decoder_plan(c.decoder_net), batch)
    return _state(ends, upsample_spec(c), c.decoder_tf, batch)


def encoder_state(c: MimiConfig, batch: int) -> CodecState:
    if c.vocoder:
        ends = vocoder.spectra_past(c.vocoder, batch)
    else:
        ends = _conv_states(encoder_plan(c.seanet), batch)
    return _state(ends, downsample_spec(c), c.transformer, batch)


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
            told = Linear(c.vocoder_steps * vocoder.FEATURES, name="features")
            x = told(LayerNorm(name="norm")(x)).reshape(x.shape[0], -1, vocoder.FEATURES)
            x, ends = vocoder.Vocoder(name="vocoder")(x, state.ends) if self.audible else (x, None)
        else:
            x, ends = SEANet(decoder_plan(c.decoder_net), name="seanet")(x, state.ends)
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
