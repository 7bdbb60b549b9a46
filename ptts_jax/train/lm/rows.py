"""Rows for the language model, laid out as generation feeds it, from latents and tokenized texts.

[voice BOS] [voice latents] [text] [BOS latent, x_0 .. x_{T-1}]; each part is padded for itself and
its positions say what is padding, so that nothing has to be packed. Knows arrays and token ids; no
files, no losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ptts_jax.model import lm
from ptts_jax.model.config import FlowLMConfig
from ptts_jax.model.pytree import Params
from ptts_jax.train.lm.alignment import RowCache


@struct.dataclass
class Rows:
    """A batch, in numpy as it is made and on the device as it is used."""

    voice: Array  # [B, V, inner] latents of another utterance of the speaker, as the codec gives
    voice_count: Array  # [B] int32
    tokens: Array  # [B, N] int32
    token_count: Array  # [B] int32, 0 where the text is dropped
    latents: Array  # [B, T, D], normalised
    frame_count: Array  # [B] int32


@dataclass(frozen=True)
class Utterance:
    """A text and the clips that say it, one after the other."""

    clips: tuple[int, ...]
    tokens: tuple[int, ...]
    frames: int
    speaker: str


@dataclass(frozen=True)
class Material:
    """All that batches are made of."""

    latents: np.ndarray  # [F, D] of all clips, as the codec gives them
    starts: np.ndarray  # [clips] first frame
    counts: np.ndarray  # [clips] frames
    mean: np.ndarray  # [D]
    std: np.ndarray  # [D]
    utterances: tuple[Utterance, ...]

    def clip(self, index: int) -> np.ndarray:
        return self.latents[self.starts[index] : self.starts[index] + self.counts[index]]


@dataclass(frozen=True)
class Bucket:
    """Utterances of about one length: batches of them have one shape."""

    members: tuple[int, ...]  # indices of utterances
    tokens: int
    frames: int


def buckets(utterances: Sequence[Utterance], number: int, step: int = 4) -> tuple[Bucket, ...]:
    """Up to `number` buckets of about equally many utterances, short ones first.

    Each utterance is in the first one that it fits. A few with much text for their frames are left
    for a later one, so that they do not make a whole bucket wide.
    """
    order = sorted(range(len(utterances)), key=lambda i: utterances[i].frames)
    shapes = []
    for part in np.array_split(np.array(order), min(number, len(order))):
        widest = np.quantile([len(utterances[i].tokens) for i in part], 0.9, method="higher")
        frames = max(utterances[i].frames for i in part)
        shapes.append((-(-int(widest) // step) * step, -(-frames // step) * step))
    most = -(-max(len(u.tokens) for u in utterances) // step) * step
    shapes[-1] = most, shapes[-1][1]
    members: list[list[int]] = [[] for _ in shapes]
    for i in order:
        own = utterances[i]
        fits = (own.frames <= frames and len(own.tokens) <= tokens for tokens, frames in shapes)
        members[next(k for k, fit in enumerate(fits) if fit)].append(i)
    return tuple(
        Bucket(tuple(found), *shape) for found, shape in zip(members, shapes, strict=True) if found
    )


def make(
    material: Material,
    bucket: Bucket,
    members: Sequence[int],
    voices: tuple[int, int],
    rng: np.random.Generator,
) -> Rows:
    """A batch of these members; each is given `voices` (least, most) frames of another clip."""
    size, width = len(members), material.latents.shape[1]
    voice = np.zeros((size, voices[1], width), np.float32)
    tokens = np.zeros((size, bucket.tokens), np.int32)
    latents = np.zeros((size, bucket.frames, width), np.float32)
    counts = np.zeros((3, size), np.int32)
    for row, member in enumerate(members):
        own = material.utterances[member]
        prompt = _prompt(material, own, rng)[: rng.integers(*voices, endpoint=True)]
        said = np.concatenate([material.clip(i) for i in own.clips])
        voice[row, : len(prompt)] = prompt
        tokens[row, : len(own.tokens)] = own.tokens
        latents[row, : len(said)] = (said - material.mean) / material.std
        counts[:, row] = len(prompt), len(own.tokens), len(said)
    return Rows(voice, counts[0], tokens, counts[1], latents, counts[2])


def _prompt(material: Material, own: Utterance, rng: np.random.Generator) -> np.ndarray:
    """The latents of another clip of the speaker, or, where there is none, of the own one."""
    for _ in range(100):
        other = material.utterances[rng.integers(len(material.utterances))]
        if other.speaker == own.speaker and other.clips[0] not in own.clips:
            return material.clip(other.clips[0])
    return material.clip(own.clips[0])


def drop(rows: Rows, text: Array, voice: Array) -> Rows:
    """Rows without the text or without the voice where the masks [B] say so."""
    return rows.replace(
        token_count=jnp.where(text, 0, rows.token_count),
        voice_count=jnp.where(voice, 0, rows.voice_count),
    )


def noisy_history(key: Array, latents: Array, noise: float, dropout: float) -> Array:
    """What is fed back: frames mixed with noise, k ~ U(0, noise) of it, and some dropped."""
    keys = jax.random.split(key, 3)
    share = jax.random.uniform(keys[0], (*latents.shape[:2], 1), maxval=noise)
    draw = jax.random.normal(keys[1], latents.shape)
    mixed = jnp.sqrt(share) * draw + jnp.sqrt(1 - share) * latents
    dropped = jax.random.bernoulli(keys[2], dropout, share.shape)
    return jnp.where(dropped, 0.0, mixed)


def forward(
    params: Params, c: FlowLMConfig, rows: Rows, history: Array, guided: tuple[int, ...] = ()
) -> tuple[Array, tuple[Array, ...]]:
    """The backbone's output at every audio slot [B, T + 1, Z], and the maps of guided layers.

    `history` [B, T, D] is what is fed back: the rows' latents, or those with noise.
    """
    batch, frames, _ = history.shape
    first = jnp.broadcast_to(params["bos"], (batch, 1, history.shape[2]))
    parts = [
        lm.embed_voice(params, c, rows.voice),
        lm.embed_text(params, c, rows.tokens),
        lm.embed_latent(params, jnp.concatenate([first, history], axis=1)),
    ]
    counts = [
        rows.voice_count + (parts[0].shape[1] - rows.voice.shape[1]),  # and the voice BOS
        rows.token_count,
        rows.frame_count + 1,
    ]
    before, positions = jnp.zeros_like(counts[0]), []
    for part, count in zip(parts, counts, strict=True):
        slot = jnp.arange(part.shape[1], dtype=jnp.int32)
        at = jnp.where(slot < count[:, None], before[:, None] + slot, -1)
        positions.append(at)
        before = before + count
    x = jnp.concatenate(parts, axis=1)  # [B, S, d]
    positions = jnp.concatenate(positions, axis=1)
    audio = x.shape[1] - frames - 1
    cache = RowCache(
        positions,
        guided=guided,
        queries=(audio, x.shape[1] - 1),
        keys=(parts[0].shape[1], audio),
    )
    z, cache = lm.backbone(params, c, x, cache, positions)
    return z[:, audio:], cache.maps
