"""Voices: what the language model remembers of a prompt, as reusable keys and values.

Read and written in the reference's voice-state safetensors, made from audio by encoding it.
A voice lives on the host and is never donated: every utterance grows it into a fresh cache.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.model import generate
from ptts_jax.model.caches import rows, shapes
from ptts_jax.model.codec_state import encoder_state
from ptts_jax.model.config import Config, FlowLMConfig
from ptts_jax.model.pytree import Params
from ptts_jax.store import safetensors

ENCODE_FRAMES = 16  # latent frames per call of the encoder: one shape, bounded memory
MOST_MIXED = 4  # voices: each costs a row
PROMPT_BLOCK = 64  # latents per call of the language model


@dataclass(frozen=True)
class Voice:
    k: tuple[np.ndarray, ...]  # per layer [Hkv, L, D]
    v: tuple[np.ndarray, ...]  # per layer [Hkv, L, D]

    @property
    def rows(self) -> tuple["Voice", ...]:
        """The voices that speak side by side."""
        return (self,)

    @property
    def weights(self) -> None:
        """Of the rows; one alone needs none."""
        return

    @property
    def length(self) -> int:
        return self.k[0].shape[1]

    def save(self, path: str | Path) -> None:
        """Write the reference's voice-state file."""
        safetensors.write(path, self.tensors(), {})

    def tensors(self) -> dict[str, np.ndarray]:
        """What the reference's voice-state file holds."""
        tensors = {}
        for i, (k, v) in enumerate(zip(self.k, self.v, strict=True)):
            name = f"transformer.layers.{i}.self_attn"
            cache = np.stack([k, v]).transpose(0, 2, 1, 3)[:, None]  # [2, 1, L, Hkv, D]
            tensors[f"{name}/cache"] = np.ascontiguousarray(cache)
            tensors[f"{name}/offset"] = np.array([self.length], np.int64)
            tensors[f"{name}/pad"] = np.zeros(1, np.int64)
        return tensors


@dataclass(frozen=True, eq=False)
class Mixture:
    """Voices that say the same text side by side; what is heard is their mean in each frame."""

    rows: tuple[Voice, ...]
    weights: tuple[float, ...]  # they add up to 1

    @property
    def length(self) -> int:
        return max(voice.length for voice in self.rows)

    def save(self, path: str | Path) -> None:
        raise ValueError(f"{path}: a mixture of voices has no state of its own; save one voice")


def check_fits(voice: Voice | Mixture, config: FlowLMConfig, model: str) -> None:
    """Refuse a voice that was made with another model."""
    t = config.transformer
    for row in voice.rows:
        layers, shape = len(row.k), row.k[0].shape
        if (layers, shape[0], shape[2]) != (t.num_layers, t.kv_heads, t.head_dim):
            raise ValueError(
                f"the voice was made with another model than {model}: it has {layers} layers of "
                f"{shape[0]} heads; make it with this model"
            )


def mixture(name: str, find: Callable[[str], Any]) -> Any:
    """The voice that `alba:0.6,marius:0.4` describes; None where a name describes no mixture."""
    parts = [re.fullmatch(r"\s*(.+?)\s*:\s*(\d*\.?\d+)\s*", part) for part in name.split(",")]
    if not any(parts) or Path(name).exists() or ("://" in name and len(parts) == 1):
        return None
    if not all(parts):
        raise ValueError(f"voice {name!r}: give every voice a weight, as alba:0.6,marius:0.4")
    weights = [float(part[2]) for part in parts]
    if not all(weights) or abs(sum(weights) - 1) > 0.011:
        words = f"the weights add up to {sum(weights):g}"
        raise ValueError(f"voice {name!r}: {words}; make them 1 in all, and each more than 0")
    if len(parts) > MOST_MIXED:
        raise ValueError(f"voice {name!r}: {len(parts)} voices; at most {MOST_MIXED} can be mixed")
    voices = [find(part[1]) for part in parts]
    if len(voices) == 1:
        return voices[0]
    return Mixture(tuple(voices), tuple(weight / sum(weights) for weight in weights))


def read(path: str | Path, config: FlowLMConfig) -> Voice:
    """A voice state of the reference, in today's form or the older `current_end` one."""
    return from_tensors(path, safetensors.read(path)[0], config)


def from_tensors(path: str | Path, tensors: dict[str, np.ndarray], config: FlowLMConfig) -> Voice:
    """A voice from what such a file holds; `path` is what errors call it."""
    t = config.transformer
    k, v = [], []
    for i in range(t.num_layers):
        name = f"transformer.layers.{i}.self_attn"
        cache = tensors.get(f"{name}/cache")
        if cache is None:
            raise ValueError(
                f"{path}: not a voice for this model: {name}/cache is missing; "
                f"the model has {t.num_layers} layers (pick a voice made with the same model)"
            )
        length = _length(path, tensors, name)
        want = (2, 1, cache.shape[2] if cache.ndim == 5 else -1, t.kv_heads, t.head_dim)
        if cache.shape != want or not 0 < length <= cache.shape[2]:
            raise ValueError(
                f"{path}: not a voice for this model: {name}/cache has shape "
                f"{list(cache.shape)} holding {length} positions, the model needs "
                f"[2, 1, T, {t.kv_heads}, {t.head_dim}] (pick a voice made with the same model)"
            )
        pair = cache[:, 0, :length].transpose(0, 2, 1, 3).astype(np.float32)  # [2, Hkv, L, D]
        if not np.isfinite(pair).all():
            raise ValueError(f"{path}: {name}/cache holds NaN or infinity; export the voice again")
        k.append(pair[0])
        v.append(pair[1])
    if f"transformer.layers.{t.num_layers}.self_attn/cache" in tensors:
        raise ValueError(
            f"{path}: not a voice for this model: it has more than {t.num_layers} layers "
            "(pick a voice made with the same model)"
        )
    if len({layer.shape[1] for layer in k}) != 1:
        raise ValueError(f"{path}: its layers hold different lengths; export the voice again")
    return Voice(tuple(k), tuple(v))


def _length(path: str | Path, tensors: dict[str, np.ndarray], name: str) -> int:
    if f"{name}/current_end" in tensors:  # the older form: its length is the offset
        return tensors[f"{name}/current_end"].shape[0]
    offset, pad = tensors.get(f"{name}/offset"), tensors.get(f"{name}/pad")
    if offset is None or offset.size < 1:
        raise ValueError(f"{path}: {name}/offset is missing; export the voice again")
    if pad is not None and pad.any():
        raise ValueError(f"{path}: a row of a batch, not a voice; export it from a single prompt")
    return int(offset.reshape(-1)[0])


def samples(source: Any) -> np.ndarray:
    """A recording that a caller has at hand."""
    try:
        return np.asarray(source)
    except ValueError:
        raise ValueError(
            f"a voice is a name, a path, a URL or an array of samples, not {type(source).__name__}"
        ) from None


def clone(params: Params, config: Config, wave: np.ndarray) -> Voice:
    """A voice from a prepared prompt [T] at the model's rate (see audio.prepare_prompt)."""
    from ptts_jax.model import lm  # Flax, which takes a while to import

    latents = encode(params, config, wave)
    padding = -latents.shape[1] % PROMPT_BLOCK  # not another compilation for every length
    latents = np.pad(latents, ((0, 0), (0, padding), (0, 0)))
    x = np.asarray(lm.embed_voice(params["lm"], config.flow_lm, latents))
    return from_embeddings(params, config, x[:, : x.shape[1] - padding])


def encode(params: Params, config: Config, wave: np.ndarray) -> np.ndarray:
    """A waveform [T] as the codec's latents [1, T / frame_size, inner], block by block."""
    frame = config.mimi.frame_size
    count = -(-wave.size // frame)
    blocks = np.zeros((-(-count // ENCODE_FRAMES), 1, ENCODE_FRAMES * frame), np.float32)
    blocks.reshape(-1)[: wave.size] = wave
    state, latents = encoder_state(config.mimi, 1), []
    for block in blocks:  # causal: what pads the last block changes nothing before it
        state, out = generate.encode(params, config, state, block)
        latents.append(np.asarray(out))
    return np.concatenate(latents, axis=1)[:, :count]


def from_embeddings(params: Params, config: Config, x: np.ndarray) -> Voice:
    """A voice from the embeddings of its prompt, [1, L, d]."""
    length = x.shape[1]
    x = np.pad(x, ((0, 0), (0, -length % PROMPT_BLOCK), (0, 0)))
    cache = shapes.new_cache(config.flow_lm, 1, rows.bucket(length))
    zero = np.zeros(1, np.int32)
    state = generate.begin(params, config, 1, cache, zero, zero, np.zeros(1, np.float32))
    for at in range(0, length, PROMPT_BLOCK):
        count = np.array([min(PROMPT_BLOCK, length - at)], np.int32)
        state = generate.prefill(params, config, state, x[:, at : at + PROMPT_BLOCK], count)
    k, v = state.cache.entries()
    return Voice(tuple(k), tuple(v))
