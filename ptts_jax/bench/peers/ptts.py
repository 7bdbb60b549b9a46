"""Phonon's runtime in Rust, the package ptts: Pocket TTS in files of another form.

It takes a folder with config.json, a tokenizer.json, the weights under the original's names, and
voices as the embeddings of their prompts. Of the family it speaks the models with an `lsd` head and
one width of attention.
"""

import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.bench import models
from ptts_jax.bench.models import Subject
from ptts_jax.model import config
from ptts_jax.model.config import Config
from ptts_jax.store import safetensors

NAME = "ptts"

# It has no prompts to encode, and no place for the token before a voice, which is one more slot.
_UNUSED = ("mimi.encoder", "mimi.downsample.", "flow_lm.speaker_proj_weight")
_UNUSED += ("flow_lm.bos_before_voice",)


def missing() -> str | None:
    if importlib.util.find_spec("ptts"):
        return None
    return "not installed (pip install ptts)"


def refuses(subject: Subject) -> str | None:
    c = _config(subject)
    return next((f"it knows no {what}" for what, there in _foreign(c) if there), None)


def _foreign(c: Config) -> Iterator[tuple[str, bool]]:
    """What a model may have, and whether this one has it."""
    lm, codec = c.flow_lm, c.mimi
    t = lm.transformer
    yield f"head of the type {lm.flow.type}", lm.flow.type != "lsd"
    yield "projection before the head (z_dim)", lm.z_dim is not None
    yield "heads that share keys", t.kv_heads != t.num_heads
    yield "attention of another width than the model", t.attn != t.d_model
    yield "text table of low rank", lm.lookup_table.rank is not None
    yield "vocoder", codec.vocoder is not None
    smaller = (codec.decoder_seanet, codec.decoder_transformer) != (None, None)
    yield "decoder of another size than the encoder", smaller
    yield "SentencePiece tokenizer", lm.lookup_table.tokenizer == "sentencepiece"


def options(subject: Subject, quantized: bool) -> dict[str, Any]:
    folder = subject.yaml.parent / f"{NAME}-{subject.yaml.stem}"
    if not (folder / "config.json").is_file():
        _write(folder, subject)
    return {"folder": str(folder), "quant": "q8_0" if quantized else "f32"}


def weights(subject: Subject) -> Path:
    return Path(options(subject, False)["folder"]) / "model.safetensors"


def limits(isa: str) -> Mapping[str, str]:
    """None: the wheel (seen in 0.4.2) multiplies by AVX2 and no more, on every processor."""
    return {}


def _config(subject: Subject) -> Config:
    return config.parse(subject.yaml.read_text(encoding="utf-8"), str(subject.yaml))


def _write(folder: Path, subject: Subject) -> None:
    c = _config(subject)
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    tensors, _ = safetensors.read(subject.weights)
    kept = {name: x for name, x in tensors.items() if not name.startswith(_UNUSED)}
    safetensors.write(folder / "model.safetensors", kept)
    shutil.copy(c.flow_lm.lookup_table.tokenizer_path, folder / "tokenizer.json")
    shape = (models.VOICE_SLOTS, c.flow_lm.transformer.d_model)
    prompt = np.random.default_rng(0).standard_normal(shape, np.float32)
    safetensors.write(folder / "voices" / "voice.safetensors", {"emb": prompt})
    described = json.dumps(describe(c), indent=1)
    (folder / "config.json").write_text(described, encoding="utf-8")  # last: all is there


def describe(c: Config) -> dict[str, Any]:
    """A model as its config.json says it."""
    lm, codec = c.flow_lm, c.mimi
    t, seanet, inner = lm.transformer, codec.seanet, codec.transformer
    return {
        "flow_lm": {
            "d_model": t.d_model,
            "num_heads": t.num_heads,
            "num_layers": t.num_layers,
            "dim_feedforward": t.ffn_dim,
            "max_period": float(t.max_period),
            "n_bins": lm.lookup_table.n_bins,
            "lut_dim": lm.lookup_table.dim,
            "flow_dim": lm.flow.dim,
            "flow_depth": lm.flow.depth,
            "ldim": codec.latent_dim,
        },
        "mimi": {
            "channels": codec.channels,
            "sample_rate": codec.sample_rate,
            "frame_rate": codec.frame_rate,
            "dimension": seanet.dimension,
            "quantizer_dimension": codec.quantizer.dimension,
            "quantizer_output_dimension": codec.quantizer.output_dimension,
            "n_filters": seanet.n_filters,
            "n_residual_layers": seanet.n_residual_layers,
            "ratios": list(seanet.ratios),
            "kernel_size": seanet.kernel_size,
            "last_kernel_size": seanet.last_kernel_size,
            "residual_kernel_size": seanet.residual_kernel_size,
            "dilation_base": seanet.dilation_base,
            "compress": seanet.compress,
            "transformer_d_model": inner.d_model,
            "transformer_num_heads": inner.num_heads,
            "transformer_num_layers": inner.num_layers,
            "transformer_layer_scale": inner.layer_scale,
            "transformer_context": inner.context,
            "transformer_max_period": inner.max_period,
            "transformer_dim_feedforward": inner.dim_feedforward,
            "downsample_channel_wise": False,
        },
        "temp": c.default_temperature,
        "lsd_decode_steps": 1,
        "eos_threshold": c.default_eos_threshold,
        "fuser": {"sum": [], "streaming_sum": [], "prepend": [], "cross": []},
        "conditioners": [],
    }
