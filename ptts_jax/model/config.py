"""What a model looks like: frozen, hashable dataclasses that mirror the reference's YAML files.

Field names and nesting are the file's own; lists become tuples, `replace_characters` a tuple of
pairs. Reads and writes YAML text and holds the released models (see released.py for their data).
Knows nothing of files, downloads, weights or JAX.
"""

import functools
from dataclasses import dataclass, field, fields
from typing import Any

from ptts_jax.model import released, schema
from ptts_jax.model.codec_config import (
    CodecTransformerConfig,
    MimiConfig,
    QuantizerConfig,
    Rules,
    SEANetConfig,
    VocoderConfig,
    head_rules,
)
from ptts_jax.model.schema import Pairs

__all__ = [
    "CodecTransformerConfig",
    "MimiConfig",
    "QuantizerConfig",
    "SEANetConfig",
    "VocoderConfig",
]

_TIMES = {"lsd": 2, "flow_matching": 1, "drifting": 0, "pointwise": 0, "plain": 0}


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
        yield from head_rules(self)
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
    input_bias: bool | None = None  # a condition added to each latent; the reference has none

    def rules(self) -> Rules:
        yield self.dtype == "float32", f"dtype: only float32 can be loaded, got {self.dtype!r}"
        width, text = self.transformer.d_model, self.lookup_table.dim
        yield width == text, f"lookup_table.dim: must be transformer.d_model ({width}), got {text}"


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


@functools.cache
def get(name: str) -> Config:
    """The config of a released model."""
    try:
        described = released.describe(name)
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
