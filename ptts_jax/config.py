"""What a model looks like: frozen, hashable dataclasses that mirror the reference's YAML files.

Field names and nesting are the file's own; lists become tuples, `replace_characters` a tuple of
pairs. Reads and writes YAML text and holds the released models (see released.py for their data).
Knows nothing of files, downloads, weights or JAX.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from ptts_jax import released as _released
from ptts_jax import schema
from ptts_jax.schema import Pairs

Rules = Iterator[tuple[bool, str]]  # (holds, what to say if not), see schema.py

_TIMES = {"lsd": 2, "flow_matching": 1, "drifting": 0, "pointwise": 0}


class ConfigError(ValueError):
    """A config that cannot be used: one line per problem, each naming the file and the field."""


@dataclass(frozen=True)
class FlowConfig:
    """The sampler head."""

    dim: int
    depth: int
    type: str = "lsd"

    @property
    def num_times(self) -> int:
        """Time conditions of the head."""
        return _TIMES[self.type]

    def rules(self) -> Rules:
        hint = schema.near(self.type, _TIMES) or f"; there are {', '.join(_TIMES)}"
        yield self.type in _TIMES, f"type: unknown flow type {self.type!r}{hint}"


@dataclass(frozen=True)
class TransformerConfig:
    """The backbone of the language model. Shares its derived names with CodecTransformerConfig."""

    hidden_scale: int
    max_period: int
    d_model: int
    num_heads: int
    num_layers: int
    attn_dim: int | None = None
    num_kv_heads: int | None = None
    dim_feedforward: int | None = None

    @property
    def attn(self) -> int:
        """Width of the queries and of the attention's output."""
        return self.attn_dim or self.d_model

    @property
    def head_dim(self) -> int:
        return self.attn // self.num_heads

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def ffn_dim(self) -> int:
        return self.dim_feedforward or self.d_model * self.hidden_scale

    @property
    def context(self) -> None:
        return None

    @property
    def layer_scale(self) -> None:
        return None

    def rules(self) -> Rules:
        yield from _head_rules(self)
        groups, heads = self.kv_heads, self.num_heads
        yield heads % groups == 0, f"num_kv_heads: {groups} do not divide {heads} heads"


@dataclass(frozen=True)
class LookupTable:
    """The text table and its tokenizer."""

    dim: int
    n_bins: int
    tokenizer: str
    tokenizer_path: str
    rank: int | None = None


@dataclass(frozen=True)
class FlowLMConfig:
    dtype: str
    flow: FlowConfig
    transformer: TransformerConfig
    lookup_table: LookupTable
    z_dim: int | None = None
    weights_path: str | None = None
    insert_bos_before_voice: bool = False

    def rules(self) -> Rules:
        yield self.dtype == "float32", f"dtype: only float32 can be loaded, got {self.dtype!r}"
        width, text = self.transformer.d_model, self.lookup_table.dim
        yield width == text, f"lookup_table.dim: must be transformer.d_model ({width}), got {text}"


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
        yield from _head_rules(self)
        widths = list(self.output_dimensions)
        yield len(widths) == 1, f"output_dimensions: expected one number, got {widths}"


@dataclass(frozen=True)
class QuantizerConfig:
    """Not a quantiser any more: the projection of a latent into the decoder."""

    dimension: int
    output_dimension: int


@dataclass(frozen=True)
class MimiConfig:
    """The codec. `decoder_*` are for decoders that do not mirror the encoder."""

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


@dataclass(frozen=True)
class TextRules:
    """How text is made ready for the tokenizer."""

    pad_with_spaces_for_short_inputs: bool = False
    remove_semicolons: bool = False
    append_terminal_punctuation: bool = True
    capitalize_first_letter: bool = True
    replace_characters: Pairs = ()


@dataclass(frozen=True)
class Config:
    """A whole model."""

    flow_lm: FlowLMConfig
    mimi: MimiConfig
    weights_path: str | None = None
    weights_path_without_voice_cloning: str | None = None
    pad_with_spaces_for_short_inputs: bool = False
    remove_semicolons: bool = False
    append_terminal_punctuation: bool = True
    capitalize_first_letter: bool = True
    replace_characters: Pairs = ()
    model_recommended_frames_after_eos: int | None = field(default=None, metadata={"least": 0})
    default_temperature: float = 0.3
    default_eos_threshold: float = -4.0

    @property
    def text_rules(self) -> TextRules:
        return TextRules(**{f.name: getattr(self, f.name) for f in fields(TextRules)})

    def rules(self) -> Rules:
        lm, codec = self.flow_lm.weights_path, self.mimi.weights_path
        yield bool(codec or not lm), "mimi.weights_path: missing, flow_lm.weights_path needs it"
        alone = "mimi.weights_path: needs flow_lm.weights_path or weights_path beside it"
        yield bool(lm or self.weights_path or not codec), alone
        least = self.default_temperature
        yield least >= 0, f"default_temperature: must not be negative, got {least:g}"


def _head_rules(c: TransformerConfig | CodecTransformerConfig) -> Rules:
    heads, width = c.num_heads, c.attn
    yield width % heads == 0, f"num_heads: {heads} heads do not divide a width of {width}"
    yield c.head_dim % 2 == 0, f"num_heads: RoPE needs an even width per head, got {c.head_dim}"
    yield c.max_period > 0, f"max_period: must be positive, got {c.max_period:g}"


def _around(name: str, c: CodecTransformerConfig, dimension: int) -> Rules:
    """A transformer must fit the convolutions it stands beside."""
    for field_, width in (("input", c.input_dimension), ("output", c.output_dimension)):
        must = f"must be the dimension of its convolutions ({dimension})"
        yield width == dimension, f"{name}.{field_}_dimension: {must}, got {width}"


def released() -> tuple[str, ...]:
    """Names of the released models, the default one first."""
    return _released.names()


@functools.cache
def get(name: str) -> Config:
    """The config of a released model."""
    try:
        described = _released.describe(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return build(described, name)


def parse(text: str, name: str) -> Config:
    """The config that a YAML text describes; `name` is what error messages call it."""
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    return build(data, name)


def build(data: Any, name: str) -> Config:
    """As `parse`, from the nested dict that a YAML text gives."""
    problems: list[str] = []
    config = schema.read(Config, data, "", problems)
    if problems:
        raise ConfigError("\n".join(f"{name}: {problem}" for problem in problems))
    return config


def to_yaml(config: Config) -> str:
    """YAML text that `parse` (and the reference) turns back into the same config."""
    import yaml

    return yaml.safe_dump(schema.write(config), sort_keys=False, allow_unicode=True)
