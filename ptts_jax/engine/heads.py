"""Which attention heads of a model follow the text: published ones, or found by listening to it.

A head follows the text if a path through it that never goes back is likely; and it is on time if
its tokens say how the frames sound: the same letters, alike frames.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ptts_jax.engine.caches import Caches
from ptts_jax.engine.request import Options, jobs
from ptts_jax.engine.rows import Chunk, Rows
from ptts_jax.engine.voices import Voice
from ptts_jax.model import config as configs
from ptts_jax.model import released
from ptts_jax.model.caches.watched import Head
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params
from ptts_jax.store.paths import cache_dir, remember
from ptts_jax.text import following
from ptts_jax.text.tokenizer import Tokenizer

NEAR = 0.7  # nats for each frame that a head may be less sure than the surest one
LEADS = range(-2, 6)  # frames by which a head may be behind (above 0) or before what is heard
UNSURE = -1.6  # nats for each frame: a head less sure than this one hardly follows the text
BETTER = 0.03  # of the variance: with less, what a frame's tokens explain is no reason

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_warned: set[str] = set()  # the models whose users know that no head follows the text


@dataclass(frozen=True)
class Heads:
    """Heads that follow the text."""

    heads: tuple[Head, ...]
    late: int = 0  # frames by which they look at a token later than it is heard
    sure: float = 0.0  # mean log weight of the path that they follow


NO_HEADS = Heads(())


def find(
    name: str, params: Params, config: Config, tokenizer: Tokenizer, voice: Voice, caches: Caches
) -> Heads:
    """The heads of a model of which nobody knows them: found once, and noted."""
    note = cache_dir() / "heads" / f"{_digest(params, config)}.json"
    with _lock:
        try:
            heads = read(note.read_text())
        except (OSError, ValueError):
            _log.info("listening to %s, once, for which of its heads follow the text", name)
            heads = calibrated(name, params, config, tokenizer, voice, caches)
            remember(note, written(heads))
    if heads.sure < UNSURE and note.stem not in _warned:
        _warned.add(note.stem)
        _log.warning("no head of %s follows the text: times and checks of words are guesses", name)
    return heads


def known(name: str, config: Config, noted: str | None = None) -> Heads | None:
    """The heads that are noted in a model's file, or that somebody has published."""
    try:
        heads = read(noted) if noted else Heads(released.heads(name))
    except ValueError:
        return None
    t = config.flow_lm.transformer
    fit = all(0 <= a < t.num_layers and 0 <= b < t.num_heads for a, b in heads.heads)
    return heads if heads.heads and fit else None


def written(heads: Heads) -> str:
    """Heads as a note."""
    return json.dumps(asdict(heads))


def noted(*of: Any) -> str | None:
    """A note of the heads that `calibrated` finds, if they follow the text."""
    found = calibrated(*of)
    return written(found) if found.sure >= UNSURE else None


def read(note: str) -> Heads:
    """What a note of `written` says; a ValueError where it is none."""
    try:
        found = json.loads(note)
        heads = tuple((int(a), int(b)) for a, b in found["heads"])
        return Heads(heads, int(found["late"]), float(found["sure"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no note of heads: {error!r}") from None


def calibrated(
    name: str, params: Params, config: Config, tokenizer: Tokenizer, voice: Voice, caches: Caches
) -> Heads:
    """The head of a model that follows the text best, by a few sentences that it speaks."""
    t = config.flow_lm.transformer
    every = tuple((layer, head) for layer in range(t.num_layers) for head in range(t.num_heads))
    spoken = []
    for number, text in enumerate(released.sentences(name if name in released.names() else None)):
        for job in jobs(text, tokenizer, config, Options(seed=number)):
            frames = Rows([params], config, caches, [job]).whole(Chunk(job, voice, every))
            seen = np.stack([frame.seen[:, : len(job.tokens)] for frame in frames])  # [F, H, N]
            classes = [_sound(tokenizer.piece(token)) for token in job.tokens]
            spoken.append((seen, np.stack([frame.latent for frame in frames]), classes))
    by_head = ([_weights(seen[:, h]) for seen, *_ in spoken] for h in range(len(every)))
    sure = np.array(list(map(following.sureness, by_head)))
    found: list[tuple[float, int, int]] = []
    for head in np.flatnonzero(sure > sure.max() - NEAR):
        paths = [following.path(_weights(seen[:, head])) for seen, *_ in spoken]
        for late in LEADS:
            told = _told(paths, spoken, late)
            found.append((told - BETTER * abs(late), int(head), late))
    _, head, late = max(found)
    return Heads((every[head],), late, float(sure[head]))


def _weights(seen: np.ndarray) -> list[np.ndarray]:
    return [following.weights(frame[None]) for frame in seen]


def _sound(piece: str) -> str:
    """What tokens of about the same sound have in common: the first letter."""
    letters = [c.lower() for c in piece if c.isalnum()]
    return letters[0] if letters else piece[-1:]


def _told(
    paths: Sequence[Sequence[int]],
    spoken: Sequence[tuple[np.ndarray, np.ndarray, list[str]]],
    late: int,
) -> float:
    """How much of the latents' variance is told by the tokens `late` frames behind them."""
    groups: dict[str, list[np.ndarray]] = {}
    for path, (_, latents, classes) in zip(paths, spoken, strict=True):
        for frame, latent in enumerate(latents):
            if 0 <= frame + late < len(path):
                groups.setdefault(classes[path[frame + late]], []).append(latent)
    every = np.concatenate(list(groups.values()))
    mean = every.mean(axis=0)
    between = sum(len(g) * np.square(np.mean(g, axis=0) - mean).sum() for g in groups.values())
    return float(between / np.square(every - mean).sum())


def _digest(params: Params, config: Config) -> str:
    """Names a model, alike in float and in 8 bits: small weights that are never quantised."""
    digest = hashlib.sha256(configs.to_yaml(config).encode())
    for leaf in (params["lm"]["bos"], params["lm"]["std"], params["lm"]["eos"]["w"]):
        digest.update(np.asarray(leaf, np.float32).tobytes())
    return digest.hexdigest()[:32]
