"""Voices: what the language model remembers of a prompt, as reusable keys and values.

Read and written in the reference's voice-state safetensors, made from audio by encoding it.
A voice lives on the host and is never donated: every utterance grows it into a fresh cache.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from convert import files
from ptts_jax import generate, lm
from ptts_jax.attention import EMPTY, KVCache, bucket
from ptts_jax.codec import encoder_state
from ptts_jax.config import Config, FlowLMConfig

Params = dict[str, Any]

ENCODE_FRAMES = 16  # latent frames per call of the encoder: one shape, bounded memory
PROMPT_BLOCK = 64  # latents per call of the language model


@dataclass(frozen=True)
class Voice:
    k: tuple[np.ndarray, ...]  # per layer [Hkv, L, D]
    v: tuple[np.ndarray, ...]  # per layer [Hkv, L, D]

    @property
    def length(self) -> int:
        return self.k[0].shape[1]

    def save(self, path: str | Path) -> None:
        """Write the reference's voice-state file."""
        tensors = {}
        for i, (k, v) in enumerate(zip(self.k, self.v, strict=True)):
            name = f"transformer.layers.{i}.self_attn"
            cache = np.stack([k, v]).transpose(0, 2, 1, 3)[:, None]  # [2, 1, L, Hkv, D]
            tensors[f"{name}/cache"] = np.ascontiguousarray(cache)
            tensors[f"{name}/offset"] = np.array([self.length], np.int64)
            tensors[f"{name}/pad"] = np.zeros(1, np.int64)
        files.write(path, tensors, {})


def read(path: str | Path, config: FlowLMConfig) -> Voice:
    """A voice state of the reference, in today's form or the older `current_end` one."""
    tensors, _ = files.read(path)
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


def clone(params: Params, config: Config, wave: np.ndarray) -> Voice:
    """A voice from a prepared prompt [T] at the model's rate (see audio.prepare_prompt)."""
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
    cache = lm.new_cache(config.flow_lm, 1, bucket(x.shape[1]))
    zero = np.zeros(1, np.int32)
    state = generate.begin(params, config, 1, cache, zero, zero, np.float32(0))
    for at in range(0, length, PROMPT_BLOCK):
        count = np.array([min(PROMPT_BLOCK, length - at)], np.int32)
        state = generate.prefill(params, config, state, x[:, at : at + PROMPT_BLOCK], count)

    def kept(layers: Sequence[Array]) -> tuple[np.ndarray, ...]:
        return tuple(np.array(np.asarray(layer)[:, :length]) for layer in layers)

    return Voice(kept(state.cache.k), kept(state.cache.v))


class WarmCaches:
    """Caches of finished utterances, for the next one in the same voice to start at once.

    The voice is still in their first slots, so nothing is copied. Safe between threads.
    """

    KEPT = 2  # a few ten megabytes each

    def __init__(self) -> None:
        self._kept: list[tuple[Voice, KVCache]] = []  # the latest last
        self._lock = threading.Lock()

    def take(self, voice: Voice, slots: int, dtype: Any) -> KVCache:
        """A cache that begins with the voice and holds `slots` entries or more; the caller's alone.

        One of twice the size still serves: a new one costs as much as several steps.
        """
        with self._lock:
            own = [
                (cache.slots, i)
                for i, (owner, cache) in enumerate(self._kept)
                if owner is voice and cache.dtype == dtype and slots <= cache.slots <= 2 * slots
            ]
            if own:
                return self._kept.pop(min(own)[1])[1]
        return open_cache([voice], slots, dtype)

    def give(self, voice: Voice, cache: KVCache) -> None:
        """Back from an utterance, wherever that ended."""
        if cache.cursor.is_deleted():
            return  # an error came while the step had it
        cache = cache.rewind(voice.length)
        with self._lock:
            self._kept = [*self._kept, (voice, cache)][-self.KEPT :]


def open_cache(voices: Sequence[Voice], slots: int, dtype: Any = np.float32) -> KVCache:
    """A fresh cache whose rows begin with the given voices."""
    lengths = np.array([v.length for v in voices])

    def grown(layers: Sequence[tuple[np.ndarray, ...]]) -> tuple:
        out = []
        for rows in zip(*layers, strict=True):  # one layer of every voice
            heads, _, width = rows[0].shape
            buffer = np.zeros((len(rows), heads, slots, width), dtype)
            for i, row in enumerate(rows):
                buffer[i, :, : row.shape[1]] = row
            out.append(jnp.asarray(buffer.reshape(-1, slots, width)))
        return tuple(out)

    slot = np.arange(slots)
    pos = np.where(slot < lengths[:, None], slot, EMPTY).astype(np.int32)
    return KVCache(
        grown([v.k for v in voices]),
        grown([v.v for v in voices]),
        jnp.asarray(pos),
        jnp.asarray(lengths.max(), jnp.int32),
    )
