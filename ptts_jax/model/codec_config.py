"""What a codec looks like: the parts of a config that config.py puts together with the rest."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Rules = Iterator[tuple[bool, str]]  # (holds, what to say if not), see schema.py

VOCODER_RATE, VOCODER_STEP = 16_000, 160  # Hz, and samples a step: what its weights were made for


@dataclass(frozen=True)
class SEANetConfig:
    """One side of the codec's convolutions. `ratios` are in the decoder's order."""

    dimension: int
    channels: int
    n_filters: int
    n_residual_layers: int = field(metadata={"least": 0})
    ratios: tuple[int, ...]
    kernel_size: int
    residual_kernel_size: int
    last_kernel_size: int
    dilation_base: int
    pad_mode: str
    compress: int

    @property
    def hop_length(self) -> int:
        """Samples per step of the codec's transformer."""
        return math.prod(self.ratios)

    def rules(self) -> Rules:
        yield len(self.ratios) > 0, "ratios: must not be empty"
        yield self.channels == 1, f"channels: only mono is supported, got {self.channels}"
        least, mode = self.compress, self.pad_mode
        yield self.n_filters >= least, f"n_filters: must be at least compress, {least}"
        expected = "expected constant or replicate"
        yield mode in ("constant", "replicate"), f"pad_mode: {expected}, got {mode!r}"


@dataclass(frozen=True)
class CodecTransformerConfig:
    """A windowed transformer of the codec. Shares its derived names with TransformerConfig."""

    d_model: int
    input_dimension: int
    output_dimensions: tuple[int, ...]
    num_heads: int
    num_layers: int
    layer_scale: float
    context: int
    dim_feedforward: int
    max_period: float = 10000.0

    @property
    def output_dimension(self) -> int:
        return self.output_dimensions[0]

    @property
    def attn(self) -> int:
        return self.d_model

    @property
    def head_dim(self) -> int:
        return self.d_model // self.num_heads

    @property
    def kv_heads(self) -> int:
        return self.num_heads

    @property
    def ffn_dim(self) -> int:
        return self.dim_feedforward

    def rules(self) -> Rules:
        yield from head_rules(self)
        widths = list(self.output_dimensions)
        yield len(widths) == 1, f"output_dimensions: expected one number, got {widths}"


@dataclass(frozen=True)
class QuantizerConfig:
    """Not a quantiser any more: the projection of a latent into the decoder."""

    dimension: int
    output_dimension: int


@dataclass(frozen=True)
class VocoderConfig:
    """Ends of a codec that hears spectra and speaks by a vocoder, in the place of the SEANets."""

    window: int  # samples of a spectrum

    def rules(self) -> Rules:
        fits = self.window % VOCODER_STEP == 0 and self.window > VOCODER_STEP
        must = f"must be a multiple of the vocoder's step, {VOCODER_STEP}, above it"
        yield fits, f"window: {must}, got {self.window}"


@dataclass(frozen=True)
class MimiConfig:
    """The codec. `decoder_*` are for decoders that do not mirror the encoder.

    With `vocoder`, a SEANet's section says no more than its width and the step.
    """

    dtype: str
    sample_rate: int
    channels: int
    frame_rate: float
    seanet: SEANetConfig
    transformer: CodecTransformerConfig
    quantizer: QuantizerConfig
    weights_path: str | None = None
    inner_dim: int | None = None
    outer_dim: int | None = None
    decoder_seanet: SEANetConfig | None = None
    decoder_transformer: CodecTransformerConfig | None = None
    vocoder: VocoderConfig | None = None

    @property
    def decoder_net(self) -> SEANetConfig:
        return self.decoder_seanet or self.seanet

    @property
    def decoder_tf(self) -> CodecTransformerConfig:
        return self.decoder_transformer or self.transformer

    @property
    def latent_dim(self) -> int:
        """Width of the latents that the language model makes."""
        return self.quantizer.dimension

    @property
    def voice_dim(self) -> int:
        """Width of the latents that the encoder makes of a voice."""
        return self.inner_dim or self.seanet.dimension

    @property
    def vocoder_steps(self) -> int:
        """Steps of the vocoder per step of the codec's transformer."""
        return self.seanet.hop_length // VOCODER_STEP

    @property
    def upsample_stride(self) -> int:
        """Steps of the codec's transformer per latent frame."""
        return int(self.sample_rate / self.seanet.hop_length / self.frame_rate)

    @property
    def frame_size(self) -> int:
        """Samples per latent frame."""
        return self.seanet.hop_length * self.upsample_stride

    def rules(self) -> Rules:
        """Its dtype may be anything: the codec is float32 whatever the file says."""
        yield self.channels == 1, f"channels: only mono is supported, got {self.channels}"
        rate, hop, other = self.frame_rate, self.seanet.hop_length, self.decoder_net.hop_length
        stride = self.sample_rate / hop / rate if rate > 0 else 0.0
        got = f"got {self.sample_rate} / {hop} / {rate:g} = {stride:g}"
        need = "sample_rate / (product of seanet.ratios) / frame_rate must be a whole number from 2"
        yield stride >= 2 and stride % 1 == 0, f"frame_rate: {need}, {got}"
        message = f"decoder_seanet.ratios: must multiply to the encoder's {hop}, got {other}"
        yield hop == other, message
        yield from _around("transformer", self.transformer, self.seanet.dimension)
        width = self.decoder_net.dimension
        if self.decoder_seanet or self.decoder_transformer:
            yield from _around("decoder_transformer", self.decoder_tf, width)
        must = f"must be the decoder's dimension ({width})"
        yield self.outer_dim in (None, width), f"outer_dim: {must}, got {self.outer_dim}"
        projected = self.quantizer.output_dimension
        yield projected == width, f"quantizer.output_dimension: {must}, got {projected}"
        if self.vocoder:
            rate, need = self.sample_rate, f"a sample_rate of {VOCODER_RATE} and ratios that"
            fits = rate == VOCODER_RATE and hop % VOCODER_STEP == 0
            multiply = f"multiply to so many times {VOCODER_STEP}, got {rate} and {hop}"
            yield fits, f"vocoder: needs {need} {multiply}"


def head_rules(c: Any) -> Rules:
    heads, width = c.num_heads, c.attn
    yield width % heads == 0, f"num_heads: {heads} heads do not divide a width of {width}"
    yield c.head_dim % 2 == 0, f"num_heads: RoPE needs an even width per head, got {c.head_dim}"
    yield c.max_period > 0, f"max_period: must be positive, got {c.max_period:g}"


def _around(name: str, c: CodecTransformerConfig, dimension: int) -> Rules:
    """A transformer must fit the convolutions it stands beside."""
    for field_, width in (("input", c.input_dimension), ("output", c.output_dimension)):
        must = f"must be the dimension of its convolutions ({dimension})"
        yield width == dimension, f"{name}.{field_}_dimension: {must}, got {width}"
