"""python -m ptts_jax.train.evaluate.faults: how many faults of speech the checks find.

Sentences of the grammar are spoken once; where the check complains, Whisper decides whether it was
right. Then the same attention is spoiled at random places, and other runs end early or never.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
from absl import flags

import ptts_jax
from ptts_jax.engine import checks
from ptts_jax.engine.parts import plan
from ptts_jax.engine.request import Job, Options
from ptts_jax.engine.rows import Chunk, Rows
from ptts_jax.messages import say
from ptts_jax.text import following
from ptts_jax.text.reading import Manner
from ptts_jax.train.data.sentences import grammar
from ptts_jax.train.evaluate import spelling, whisper
from ptts_jax.train.run import command

USAGE = """Count the faults that checks find: python -m ptts_jax.train.evaluate.faults [FLAGS]"""
OPTIONS = {"ends early": {"eos_threshold": -12.0}, "never ends": {"eos_threshold": 1e9}}
LETTERS = 4  # at least, of a word that is left out or said twice

Look = tuple[Job, np.ndarray]  # what is said, and the weights of its frames [F, N]


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("model", "bundled", "what speaks")
    add.whole("sentences", 300, "how many", 1)
    add.whole("seed", 1, "of the sentences and of where they are spoiled")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _run(options: flags.FlagValues) -> int:
    whisper.check()
    tts = ptts_jax.load(options.model)
    sentences = list(itertools.islice(grammar(Random(options.seed)), options.sentences))
    rng = np.random.default_rng(options.seed)
    looks, alarms, real = [], 0, 0
    for number, text in enumerate(sentences, 1):
        said = _looks(tts, text)
        looks += said
        if any(_found(look, tts) for look in said):
            alarms += 1
            [heard] = whisper.hear([tts.generate(text, seed=0)], tts.sample_rate)
            real += spelling.words(heard) != spelling.words(text)
        if number % 50 == 0:
            say(f"{number} of {len(sentences)} sentences")
    lines = [f"{tts.name}: {alarms} of {len(sentences)} sentences called wrong; "
             f"Whisper hears {real} of them wrong too"]  # fmt: skip
    spoiled = {name: [x for look in looks if (x := spoil(look, rng))] for name, spoil in SPOILS}
    for name, how in OPTIONS.items():
        some = (_looks(tts, text, **how) for text in sentences[: max(1, len(sentences) // 5)])
        spoiled[name] = [look for said in some for look in said]
    for name, wrong in spoiled.items():
        found = sum(_found(look, tts) for look in wrong)
        lines.append(f"{name}: {found} of {len(wrong)} found")
    return command.print_lines(lines)


def _looks(tts: ptts_jax.TTS, text: str, **options: float) -> list[Look]:
    """A sentence as the model speaks it, chunk by chunk."""
    of = tts.name, tts.tokenizer, tts.config
    chosen = Options(seed=0, **options)
    [part] = planned = plan(text, Manner(), chosen, lambda _: tts.voice(), *of, words=True)
    follow, looks = tts.heads(planned), []
    rows = Rows(tts.weights, tts.config, tts.caches, part.jobs)
    for job in part.jobs:
        frames = rows.whole(Chunk(job, part.voice, follow.heads))
        seen = [following.weights(frame.seen[:, : len(job.tokens)]) for frame in frames]
        looks.append((job, np.stack(seen)))
    return looks


def _found(look: Look, tts: ptts_jax.TTS) -> bool:
    job, seen = look
    path = following.path(list(seen))
    return bool(checks.faults(job, list(seen), path, tts.config.mimi.frame_rate))


def _word(look: Look, rng: np.random.Generator) -> np.ndarray | None:
    """The frames of a word somewhere inside."""
    job, seen = look
    inner = [w for w in job.words[1:-1] if sum(map(str.isalnum, w.text)) >= LETTERS]
    if not inner:
        return None
    word, path = inner[rng.integers(len(inner))], np.array(following.path(list(seen)))
    frames = np.flatnonzero((path >= word.first) & (path < word.last))
    return frames if frames.size >= LETTERS else None


def _left_out(look: Look, rng: np.random.Generator) -> Look | None:
    frames = _word(look, rng)
    return None if frames is None else (look[0], np.delete(look[1], frames, axis=0))


def _twice(look: Look, rng: np.random.Generator) -> Look | None:
    frames = _word(look, rng)
    if frames is None:
        return None
    seen, end = look[1], frames[-1] + 1
    return look[0], np.concatenate([seen[:end], seen[frames[0] : end], seen[end:]])


def _stuck(look: Look, rng: np.random.Generator) -> Look | None:
    at, times = int(rng.integers(3, len(look[1]) - 3)), int(rng.integers(15, 40))
    seen = np.insert(look[1], at, np.repeat(look[1][at : at + 1], times, axis=0), axis=0)
    return replace(look[0], limit=len(seen) + 1), seen


def _broken_off(look: Look, rng: np.random.Generator) -> Look | None:
    job, seen = look
    if len(job.words) < 3:
        return None
    word, path = job.words[rng.integers(1, len(job.words) - 1)], following.path(list(seen))
    return job, seen[: max(1, int(np.searchsorted(path, word.first)))]


Spoil = Callable[[Look, np.random.Generator], Look | None]
SPOILS: list[tuple[str, Spoil]] = [
    ("a word left out", _left_out),
    ("a word said twice", _twice),
    ("stuck at a sound", _stuck),
    ("broken off", _broken_off),
]

if __name__ == "__main__":
    command.start(main)
