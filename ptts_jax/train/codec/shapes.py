"""The shapes of codecs that are trained where no config says another."""

from dataclasses import replace

from ptts_jax.model.config import (
    CodecTransformerConfig,
    MimiConfig,
    QuantizerConfig,
    SEANetConfig,
    VocoderConfig,
)

_SEANET = SEANetConfig(
    dimension=128,
    channels=1,
    n_filters=16,
    n_residual_layers=1,
    ratios=(5, 4, 4),
    kernel_size=7,
    residual_kernel_size=3,
    last_kernel_size=3,
    dilation_base=2,
    pad_mode="constant",
    compress=2,
)


def transformer(
    width: int, heads: int, layers: int, context: int, scale: float
) -> CodecTransformerConfig:
    """One between convolutions of the same width."""
    return CodecTransformerConfig(
        d_model=width,
        input_dimension=width,
        output_dimensions=(width,),
        num_heads=heads,
        num_layers=layers,
        layer_scale=scale,
        context=context,
        dim_feedforward=4 * width,
    )


_TRANSFORMER = transformer(width=128, heads=4, layers=1, context=64, scale=0.1)
SMALL = MimiConfig(
    dtype="float32",
    sample_rate=16000,
    channels=1,
    frame_rate=12.5,
    seanet=_SEANET,
    transformer=_TRANSFORMER,
    quantizer=QuantizerConfig(dimension=32, output_dimension=128),
    inner_dim=32,
    outer_dim=128,
    decoder_seanet=_SEANET,
    decoder_transformer=replace(_TRANSFORMER, num_layers=4),
)

# What a vocoder makes audible: 16 kHz in steps of 40 ms, two a frame.
_STEPS = replace(
    _SEANET,
    dimension=192,
    n_filters=1,
    n_residual_layers=0,
    ratios=(640,),
    kernel_size=1,
    last_kernel_size=1,
    compress=1,
)
_WIDE = transformer(width=192, heads=4, layers=2, context=24, scale=0.3)
VOICED = replace(
    SMALL,
    seanet=_STEPS,
    transformer=_WIDE,
    quantizer=QuantizerConfig(dimension=32, output_dimension=192),
    outer_dim=192,
    decoder_seanet=_STEPS,
    decoder_transformer=replace(_WIDE, num_layers=4),
    vocoder=VocoderConfig(window=960),
)
