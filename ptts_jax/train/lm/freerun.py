"""Lets a language model in training speak for itself, through generation's own code.

Gives latents and whether the end came; no audio.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptts_jax.engine import loops, voices
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.model import generate, lm
from ptts_jax.model.config import Config
from ptts_jax.train.lm.rows import Material

LONGEST = 2.5  # times what the engine took


@dataclass(frozen=True)
class Spoken:
    latents: np.ndarray  # [T, D], normalised
    ended: bool


def speak(
    params: lm.Params,
    config: Config,
    prompts: Sequence[np.ndarray],
    jobs: Sequence[Job],
) -> list[Spoken]:
    """One utterance per job, each after its own prompt [V, inner] (latents of a voice)."""
    tree, flow_lm = {"lm": params}, config.flow_lm
    own = []
    for prompt in prompts:
        x = np.asarray(lm.embed_voice(params, flow_lm, prompt[None]))
        own.append(voices.from_embeddings(tree, config, x))
    blocks = []
    for state, out in loops.side_by_side(tree, config, own, jobs):
        blocks.append(out)
        ended = np.asarray(state.eos_frame) != generate.NO_EOS
    latents = np.concatenate([out.latent for out in blocks])
    counts = np.concatenate([out.valid for out in blocks]).sum(axis=0)
    return [Spoken(latents[:n, i], bool(ended[i])) for i, n in enumerate(counts)]


def durations(
    params: lm.Params,
    config: Config,
    source: Material,
    members: Sequence[int],
    prompt: int,
    tail: int,
    sampling: Sampling,
) -> dict[str, float]:
    """How long the model takes for these utterances, against how long they took."""
    own = [source.utterances[i] for i in members]
    first = {u.speaker: u for u in reversed(source.utterances)}
    prompts = [source.clip(first[u.speaker].clips[0])[:prompt] for u in own]
    longest = max(u.frames for u in own)
    limit = int(LONGEST * longest)
    jobs = [Job(u.tokens, tail, limit, seed=i, sampling=sampling) for i, u in enumerate(own)]
    spoken = speak(params, config, prompts, jobs)
    ratio = np.array([len(s.latents) / u.frames for s, u in zip(spoken, own, strict=True)])
    ended = np.array([s.ended for s in spoken])
    wrong = ~ended | (ratio < 0.6) | (ratio > 1.6)
    return {
        "no_eos": float(np.mean(~ended)),
        "wrong_length": float(np.mean(wrong)),
        "duration_ratio": float(np.median(ratio)),
        "duration_off": float(np.median(np.abs(np.log(ratio)))),
    }
