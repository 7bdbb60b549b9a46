"""The plan of the codec's convolutions, and what each side of it keeps between two blocks.

codec.py computes by it.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import Array

from ptts_jax.model import pytree
from ptts_jax.model.caches.window import WindowCache
from ptts_jax.model.config import CodecTransformerConfig, MimiConfig, SEANetConfig
from ptts_jax.model.conv_spec import ConvSpec, ConvState
from ptts_jax.model.vocoder_state import VocoderState, spectra_past

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


def decoder_plan(m: MimiConfig) -> Plan:
    c = m.decoder_net
    replicate = c.pad_mode == "replicate"
    width = c.n_filters * 2 ** len(c.ratios)
    stages = [(ConvSpec("first", c.dimension, width, c.kernel_size, replicate=replicate),)]
    for i, ratio in enumerate(c.ratios):
        up = ConvSpec(f"up_{i}", width, width // 2, 2 * ratio, stride=ratio, transposed=True)
        width //= 2
        stages += [(up,), *_residual(c, width, i)]
    last = ConvSpec("last", c.n_filters, c.channels, c.last_kernel_size, replicate=replicate)
    stages.append((last,))
    return tuple(tuple(_filtered(spec, m.upsample_stride) for spec in stage) for stage in stages)


def _filtered(spec: ConvSpec, places: int) -> ConvSpec:
    """By filters where any number of frames, each of `places` or a multiple, is whole fours."""
    return replace(spec, filtered=places % 4 == 0 and spec.dilation == 1)


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


@pytree.dataclass
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
    ends = VocoderState.init(batch) if c.vocoder else _conv_states(decoder_plan(c), batch)
    return _state(ends, upsample_spec(c), c.decoder_tf, batch)


def encoder_state(c: MimiConfig, batch: int) -> CodecState:
    if c.vocoder:
        ends = spectra_past(c.vocoder, batch)
    else:
        ends = _conv_states(encoder_plan(c.seanet), batch)
    return _state(ends, downsample_spec(c), c.transformer, batch)
