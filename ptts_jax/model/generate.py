"""Generation as one pure step over an explicit state, and the jitted functions that drive it.

`begin` -> `prefill` (any number of blocks) -> `step` per frame, or `scan_steps` or `several` for a
block of frames; `first` is a last block and the first step in one. All about a row is its own, so
rows come (`insert`) and go (`release`) at any frame. Knows parameters, configs and arrays; no
files, text, threads or clocks.
The networks are imported where they are traced: they need Flax, which takes a while to import, and
functions that are compiled already need neither.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from ptts_jax.model import codec_state, pytree
from ptts_jax.model.caches import rows, watched
from ptts_jax.model.caches.protocol import Cache
from ptts_jax.model.codec_state import CodecState
from ptts_jax.model.config import Config
from ptts_jax.model.kept import Function
from ptts_jax.model.pytree import Params

MIN_FRAMES_BEFORE_EOS = 6  # some voices cross the threshold before they have spoken
NO_EOS = -1


@pytree.dataclass
class GenState:
    """All that generation carries from frame to frame. Rows are independent utterances."""

    cache: Cache
    latent: Array  # [B, D]: the latent to feed next, at first the BOS latent
    frame: Array  # [B] int32: frames generated so far
    eos_frame: Array  # [B] int32: the frame at which the row's EOS came, NO_EOS before
    tail: Array  # [B] int32: frames to go on after EOS
    limit: Array  # [B] int32: frames at most; 0: nobody speaks in this row
    eos_threshold: Array  # [B] logit
    times: Array  # [steps, C]: the head's embedded times, constant and the same for all rows
    mix: Array | None = None  # [B]: the rows are one voice, each frame their mean by these weights

    @property
    def ended(self) -> Array:
        """[B] bool: the row has given its last frame."""
        after = (self.eos_frame != NO_EOS) & (self.frame >= self.eos_frame + self.tail)
        return after | (self.frame >= self.limit)


@pytree.dataclass
class Frame:
    latent: Array  # [B, D], normalised as the language model sees it
    eos_logit: Array  # [B]
    valid: Array  # [B] bool: the frame belongs to the row's utterance
    seen: Array | None = None  # [B, H, N] what watched heads see of the text: caches/watched.py


def _begin(
    params: Params,
    config: Config,
    steps: int,
    cache: Cache,
    tail: Array,
    limit: Array,
    eos_threshold: Array,
) -> GenState:
    """The state before any text; `cache` holds each row's voice. All else is [B]."""
    from ptts_jax.model import head

    batch = tail.shape[0]
    return GenState(
        cache=cache,
        latent=jnp.broadcast_to(params["lm"]["bos"], (batch, config.mimi.latent_dim)),
        frame=jnp.zeros((batch,), jnp.int32),
        eos_frame=jnp.full((batch,), NO_EOS, jnp.int32),
        tail=tail,
        limit=limit,
        eos_threshold=eos_threshold,
        times=head.schedule(params["lm"]["head"], config.flow_lm.flow, steps),
    )


def _insert(state: GenState, row: GenState, slot: Array) -> GenState:
    """The only row of another state takes the place of row `slot`, at whatever frame both are."""
    if row.times.shape != state.times.shape:
        raise ValueError("rows side by side take the same number of sampling steps")
    alone = {"cache": state.cache.insert(row.cache, slot), "times": state.times}
    return rows.insert(state.replace(**_NONE), row.replace(**_NONE), slot).replace(**alone)


def _take(state: GenState, slot: Array) -> GenState:
    """A copy of one row, to be inserted again later."""
    alone = {"cache": state.cache.row(slot), "times": state.times}
    return rows.take(state.replace(**_NONE), slot, len(state.frame)).replace(**alone)


def _release(state: GenState, slot: Array) -> GenState:
    """Nobody speaks in row `slot` any more: it gives no frames and remembers nothing."""
    gone = jnp.arange(len(state.frame)) == slot
    cache = state.cache.rewind(jnp.where(gone, 0, state.cache.positions))
    return state.replace(cache=cache, limit=jnp.where(gone, 0, state.limit))


_NONE = {"cache": None, "times": None}  # what is not [B, ...]


def _prefill(params: Params, config: Config, state: GenState, x: Array, count: Array) -> GenState:
    """Append embeddings x [B, T, d], of which the first count [B] of each row are meant."""
    from ptts_jax.model import lm

    slot = jnp.arange(x.shape[1], dtype=jnp.int32)
    start = state.cache.positions
    positions = jnp.where(slot < count[:, None], start[:, None] + slot, -1)
    cache = state.cache.pin(start + count)
    _, cache = lm.backbone(params["lm"], config.flow_lm, x, cache, positions)
    return state.replace(cache=cache)


def _prefill_text(
    params: Params, config: Config, state: GenState, tokens: Array, count: Array
) -> GenState:
    from ptts_jax.model import lm

    x = lm.embed_text(params["lm"], config.flow_lm, tokens)
    return _prefill(params, config, state, x, count)


def _step(params: Params, config: Config, state: GenState, noise: Array) -> tuple[GenState, Frame]:
    """One frame for every row; noise [B, D] is already scaled to the temperature."""
    from ptts_jax.model import lm

    p, c = params["lm"], config.flow_lm
    x = lm.embed_latent(p, state.latent[:, None])  # [B, 1, d]
    # A row that has ended costs no attention and stays as it is.
    positions = jnp.where(state.ended, -1, state.cache.positions)[:, None]
    z, cache = lm.backbone(p, c, x, state.cache, positions)
    return _framed(params, config, state, cache, z[:, 0], noise)


def _first(
    params: Params, config: Config, state: GenState, tokens: Array, count: Array, noise: Array
) -> tuple[GenState, Frame]:
    """The end of the texts, tokens [B, T] of which count < T are meant, and the first frame.

    The first latent stands in the slot behind the tokens, so that the weights are read once.
    """
    from ptts_jax.model import lm

    p, c = params["lm"], config.flow_lm
    slot, last = jnp.arange(tokens.shape[1], dtype=jnp.int32), count[:, None]
    x = lm.embed_text(p, c, tokens)  # [B, T, d]
    x = jnp.where((slot == last)[..., None], lm.embed_latent(p, state.latent[:, None]), x)
    start = state.cache.positions
    positions = jnp.where(slot <= last, start[:, None] + slot, -1)
    z, cache = lm.backbone(p, c, x, state.cache.pin(start + count), positions)
    z = jnp.take_along_axis(z, last[..., None], axis=1)[:, 0]
    return _framed(params, config, state, cache, z, noise)


def _framed(
    params: Params, config: Config, state: GenState, cache: Cache, z: Array, noise: Array
) -> tuple[GenState, Frame]:
    """A frame from the backbone's output z [B, Z] in the slot of the latent before it."""
    from ptts_jax.model import head, lm

    p, c = params["lm"], config.flow_lm
    logit = lm.eos_logit(p, z)
    latent = head.sample(p["head"], c.flow, z, noise, state.times)
    if state.mix is not None:
        exactly = lax.Precision.HIGHEST
        logit = jnp.broadcast_to(jnp.dot(state.mix, logit, precision=exactly), logit.shape)
        latent = jnp.broadcast_to(jnp.dot(state.mix, latent, precision=exactly), latent.shape)

    speaks = ~state.ended
    fires = (logit > state.eos_threshold) & (state.frame >= MIN_FRAMES_BEFORE_EOS) & speaks
    eos_frame = jnp.where((state.eos_frame == NO_EOS) & fires, state.frame, state.eos_frame)
    state = state.replace(cache=cache, eos_frame=eos_frame)
    frame = Frame(latent, logit, ~state.ended, watched.seen(cache))
    fed = head.fed(c.flow, latent, noise)
    return state.replace(latent=fed, frame=state.frame + speaks), frame


def _scan_steps(
    params: Params, config: Config, state: GenState, noise: Array
) -> tuple[GenState, Frame]:
    """noise [N, B, D] -> N frames, stacked in front."""
    return lax.scan(lambda carry, n: _step(params, config, carry, n), state, noise)


def some_frames(
    params: Params, config: Config, state: GenState, noise: Array, count: Array
) -> tuple[GenState, Frame]:
    """The first `count` frames of the N that noise [N, B, D] has room for: one function to compile
    and keep for frames one by one and for several at a time."""
    made = noise.shape[:2]
    seen = watched.seen(state.cache)
    if seen is not None:
        seen = jnp.zeros((len(noise), *seen.shape))
    frames = Frame(jnp.zeros_like(noise), jnp.zeros(made), jnp.zeros(made, bool), seen)

    def one(i: Array, carry: tuple[GenState, Frame]) -> tuple[GenState, Frame]:
        state, frame = _step(params, config, carry[0], noise[i])
        return state, jax.tree.map(lambda all, new: all.at[i].set(new), carry[1], frame)

    return lax.fori_loop(0, count, one, (state, frames))


def _decode(
    params: Params, config: Config, state: CodecState, latents: Array
) -> tuple[CodecState, Array]:
    """Normalised latents [B, T, D] -> waveform [B, T * frame_size]."""
    from ptts_jax.model import codec

    latents = latents * params["lm"]["std"] + params["lm"]["mean"]
    wave, state = codec.decode(params["codec"], config.mimi, latents, state)
    return state, wave


def _encode(
    params: Params, config: Config, state: CodecState, wave: Array
) -> tuple[CodecState, Array]:
    """Waveform [B, T * frame_size] -> voice latents [B, T, inner]."""
    from ptts_jax.model import codec

    latents, state = codec.encode(params["codec"], config.mimi, wave, state)
    return state, latents


def _rewound(cache: Cache, length: Array) -> Cache:
    return cache.rewind(length)


# The state is donated: caches are updated in place, and a state is used once.
_driver = partial(Function, static=("config",), donate=("state",))
begin = Function(_begin, static=("config", "steps"), donate=("cache",))
insert = Function(_insert, donate=("state",))
take = Function(_take)
release = Function(_release, donate=("state",))
rewound = Function(_rewound, donate=("cache",))
prefill = _driver(_prefill)
prefill_text = _driver(_prefill_text)
first = _driver(_first)
step = _driver(_step)
scan_steps = _driver(_scan_steps)
several = _driver(some_frames)
decode = _driver(_decode)
new_decoder = Function(codec_state.decoder_state, static=("c", "batch"))
encode = _driver(_encode)
