"""Generation as one pure step over an explicit state, and the jitted functions that drive it.

`begin` -> `prefill` (any number of blocks) -> `step` per frame, or `scan_steps` or `several` for a
block of frames; `first` is a last block and the first step in one. Knows parameters, configs and
arrays; no files, text, threads or clocks.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from ptts_jax import codec, head, lm
from ptts_jax.attention import KVCache
from ptts_jax.codec import CodecState
from ptts_jax.config import Config

Params = dict[str, Any]

MIN_FRAMES_BEFORE_EOS = 6  # some voices cross the threshold before they have spoken
NO_EOS = -1


@struct.dataclass
class GenState:
    """All that generation carries from frame to frame. Rows are independent utterances."""

    cache: KVCache
    position: Array  # [B] int32: next position in the sequence
    latent: Array  # [B, D]: the latent to feed next, at first the BOS latent
    frame: Array  # [] int32: frames generated so far
    eos_frame: Array  # [B] int32: the frame at which the row's EOS came, NO_EOS before
    tail: Array  # [B] int32: frames to go on after EOS
    limit: Array  # [B] int32: frames at most
    eos_threshold: Array  # [] logit
    times: Array  # [steps, C]: the head's embedded times, constant

    @property
    def ended(self) -> Array:
        """[B] bool: the row has given its last frame."""
        after = (self.eos_frame != NO_EOS) & (self.frame >= self.eos_frame + self.tail)
        return after | (self.frame >= self.limit)


@struct.dataclass
class Frame:
    latent: Array  # [B, D], normalised as the language model sees it
    eos_logit: Array  # [B]
    valid: Array  # [B] bool: the frame belongs to the row's utterance


def _begin(
    params: Params,
    config: Config,
    steps: int,
    cache: KVCache,
    tail: Array,
    limit: Array,
    eos_threshold: Array,
) -> GenState:
    """The state before any text; `cache` holds each row's voice and its positions from 0 on."""
    batch = tail.shape[0]
    latent = jnp.broadcast_to(params["lm"]["bos"], (batch, config.mimi.latent_dim))
    return GenState(
        cache=cache,
        position=jnp.max(cache.pos, axis=1) + 1,
        latent=latent,
        frame=jnp.zeros((), jnp.int32),
        eos_frame=jnp.full((batch,), NO_EOS, jnp.int32),
        tail=tail,
        limit=limit,
        eos_threshold=eos_threshold,
        times=head.schedule(params["lm"]["head"], config.flow_lm.flow, steps),
    )


def _prefill(params: Params, config: Config, state: GenState, x: Array, count: Array) -> GenState:
    """Append embeddings x [B, T, d], of which the first count [B] of each row are meant."""
    slot = jnp.arange(x.shape[1], dtype=jnp.int32)
    positions = jnp.where(slot < count[:, None], state.position[:, None] + slot, -1)
    _, cache = lm.backbone(params["lm"], config.flow_lm, x, state.cache, positions)
    return state.replace(cache=cache, position=state.position + count)


def _prefill_text(
    params: Params, config: Config, state: GenState, tokens: Array, count: Array
) -> GenState:
    x = lm.embed_text(params["lm"], config.flow_lm, tokens)
    return _prefill(params, config, state, x, count)


def _step(params: Params, config: Config, state: GenState, noise: Array) -> tuple[GenState, Frame]:
    """One frame for every row; noise [B, D] is already scaled to the temperature."""
    p, c = params["lm"], config.flow_lm
    x = lm.embed_latent(p, state.latent[:, None])  # [B, 1, d]
    z, cache = lm.backbone(p, c, x, state.cache, state.position[:, None])
    return _framed(params, config, state.replace(cache=cache), z[:, 0], noise)


def _first(
    params: Params, config: Config, state: GenState, tokens: Array, count: Array, noise: Array
) -> tuple[GenState, Frame]:
    """The end of the texts, tokens [B, T] of which count < T are meant, and the first frame.

    The first latent stands in the slot behind the tokens, so that the weights are read once.
    """
    p, c = params["lm"], config.flow_lm
    slot, last = jnp.arange(tokens.shape[1], dtype=jnp.int32), count[:, None]
    x = lm.embed_text(p, c, tokens)  # [B, T, d]
    x = jnp.where((slot == last)[..., None], lm.embed_latent(p, state.latent[:, None]), x)
    positions = jnp.where(slot <= last, state.position[:, None] + slot, -1)
    z, cache = lm.backbone(p, c, x, state.cache, positions)
    z = jnp.take_along_axis(z, last[..., None], axis=1)[:, 0]
    state = state.replace(cache=cache, position=state.position + count)
    return _framed(params, config, state, z, noise)


def _framed(
    params: Params, config: Config, state: GenState, z: Array, noise: Array
) -> tuple[GenState, Frame]:
    """A frame from the backbone's output z [B, Z] in the slot of the latent before it."""
    p, c = params["lm"], config.flow_lm
    logit = lm.eos_logit(p, z)
    latent = head.sample(p["head"], c.flow, z, noise, state.times)

    fires = (logit > state.eos_threshold) & (state.frame >= MIN_FRAMES_BEFORE_EOS)
    eos_frame = jnp.where((state.eos_frame == NO_EOS) & fires, state.frame, state.eos_frame)
    state = state.replace(eos_frame=eos_frame)
    frame = Frame(latent, logit, ~state.ended)
    state = state.replace(position=state.position + 1, latent=latent, frame=state.frame + 1)
    return state, frame


def _scan_steps(
    params: Params, config: Config, state: GenState, noise: Array
) -> tuple[GenState, Frame]:
    """noise [N, B, D] -> N frames, stacked in front."""
    return lax.scan(lambda carry, n: _step(params, config, carry, n), state, noise)


def _several(
    params: Params, config: Config, state: GenState, noise: Array, count: Array
) -> tuple[GenState, Frame]:
    """The first `count` frames of the N that noise [N, B, D] has room for: one function to compile
    and keep for frames one by one and for several at a time."""
    made = noise.shape[:2]
    frames = Frame(jnp.zeros_like(noise), jnp.zeros(made), jnp.zeros(made, bool))

    def one(i: Array, carry: tuple[GenState, Frame]) -> tuple[GenState, Frame]:
        state, frame = _step(params, config, carry[0], noise[i])
        return state, jax.tree.map(lambda all, new: all.at[i].set(new), carry[1], frame)

    return lax.fori_loop(0, count, one, (state, frames))


def _decode(
    params: Params, config: Config, state: CodecState, latents: Array
) -> tuple[CodecState, Array]:
    """Normalised latents [B, T, D] -> waveform [B, T * frame_size]."""
    latents = latents * params["lm"]["std"] + params["lm"]["mean"]
    wave, state = codec.decode(params["codec"], config.mimi, latents, state)
    return state, wave


def _encode(
    params: Params, config: Config, state: CodecState, wave: Array
) -> tuple[CodecState, Array]:
    """Waveform [B, T * frame_size] -> voice latents [B, T, inner]."""
    latents, state = codec.encode(params["codec"], config.mimi, wave, state)
    return state, latents


# The state is donated: caches are updated in place, and a state is used once.
begin = partial(jax.jit, static_argnames=("config", "steps"), donate_argnames="cache")(_begin)
prefill = partial(jax.jit, static_argnames="config", donate_argnames="state")(_prefill)
prefill_text = partial(jax.jit, static_argnames="config", donate_argnames="state")(_prefill_text)
first = partial(jax.jit, static_argnames="config", donate_argnames="state")(_first)
step = partial(jax.jit, static_argnames="config", donate_argnames="state")(_step)
scan_steps = partial(jax.jit, static_argnames="config", donate_argnames="state")(_scan_steps)
several = partial(jax.jit, static_argnames="config", donate_argnames="state")(_several)
decode = partial(jax.jit, static_argnames="config", donate_argnames="state")(_decode)
new_decoder = partial(jax.jit, static_argnums=(0, 1))(codec.decoder_state)
encode = partial(jax.jit, static_argnames="config", donate_argnames="state")(_encode)
