"""python -m ptts_jax.train.data: a corpus folder, spoken by teachers or from a user's recordings.

A run that was killed goes on where it was: the clips are made in parts, each a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from absl import flags

from ptts_jax.messages import on_terminal, say
from ptts_jax.store.paths import atomic_write
from ptts_jax.train.data import corpus, flite, pairs, synthesis, teachers
from ptts_jax.train.data.recipe import Item, plan
from ptts_jax.train.run import command

PART = 200  # clips of one file
USAGE = "python -m ptts_jax.train.data --out=FOLDER [flags]\n\nMakes a corpus to train on."


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _define(options: flags.FlagValues) -> None:
    add = command.definers(options)
    add.text("out", None, "the corpus folder to write")
    add.items("voices", ["rms", "slt"], "of flite; or as kokoro:af_heart,piper:joe")
    add.choice("engine", "flite", teachers.ENGINES, "of voices that name none")
    words = "clips to train on; of each voice, if other engines than flite speak: as 8000,2000"
    add.items("sentences", ["8000"], words)
    about = "lists, letters, repeats and single words behind them, of each voice of other engines"
    add.whole("drills", 0, about, 0)
    add.switch("keep_parts", False, "so that a run with more --sentences goes on")
    add.text("kokoro_voices", "node_modules/kokoro-js/voices", "the folder of kokoro's voices")
    add.text("light", "", "a run of train.light: kokoro's voices by a tenth of the work")
    add.whole("workers", 0, "threads that speak; 0: a thread a processor", 0)
    add.whole("seed", 0, "chooses sentences and manners")
    add.text("source", None, "a folder of wav + txt pairs, instead of flite")
    add.whole("sample_rate", None, "Hz: 16000, or 24000 if other engines than flite speak", 2000)


def _run(options: flags.FlagValues) -> None:
    if not options.out:
        raise ValueError("--out is missing: name the corpus folder to write")
    if options.source:
        rate = options.sample_rate or flite.RATE
        made = from_pairs(options.source, options.out, rate, options.seed)
    else:
        made = _spoken(options, teachers.parse(options.voices, options.engine))
    hours = len(made.pcm) / made.sample_rate / 3600
    held = len(made.select(split="heldout"))
    print(f"{made.path}: {len(made.clips)} clips ({held} held out), {hours:.2f} hours")


def _spoken(options: flags.FlagValues, voices: Sequence[teachers.Voice]) -> corpus.Corpus:
    """By flite alone from its own recipe; by others, or several engines, from scripts."""
    if all(voice.engine == "flite" for voice in voices):
        if options.sample_rate not in (None, flite.RATE):
            raise ValueError(f"--sample_rate: flite speaks at {flite.RATE} Hz; leave it out")
        names = [voice.name for voice in voices]
        (count,) = _sentences(options, 1)
        return synthesise(options.out, names, count, options.seed)
    wanted = synthesis.Wanted(
        voices,
        _sentences(options, len(voices)),
        options.sample_rate or 24_000,
        options.drills,
        options.seed,
        options.keep_parts,
        options.kokoro_voices,
        options.light,
        options.workers,
    )
    return synthesis.synthesise(options.out, wanted)


def _sentences(options: flags.FlagValues, voices: int) -> list[int]:
    """How many each voice says: one number for all of them, or one for each."""
    given = options.sentences
    if not all(text.isdecimal() and int(text) for text in given) or len(given) not in (1, voices):
        raise ValueError(
            f"--sentences={','.join(given)}: give a whole number from 1 on"
            + (", or one for each voice" if voices > 1 else "")
        )
    counts = [int(text) for text in given]
    return counts * voices if len(counts) == 1 else counts


def from_pairs(
    source: str | Path, out: str | Path, sample_rate: int, seed: int = 0
) -> corpus.Corpus:
    """A corpus of a user's recordings."""
    found = pairs.find(source)
    recipe = {"source": Path(source).name, "pairs": len(found), "seed": seed}
    return corpus.write_corpus(
        out, pairs.clips(source, found, sample_rate, seed), sample_rate, recipe
    )


def synthesise(out: str | Path, voices: Sequence[str], count: int, seed: int = 0) -> corpus.Corpus:
    """A corpus spoken by flite."""
    if not voices or len(set(voices)) != len(voices):
        raise ValueError("--voices: name one or more different voices, as --voices=rms,slt")
    for voice in voices:
        flite.check_voice(voice)
    items = plan(list(voices), count, seed)
    recipe = {"engine": "flite", "voices": list(voices), "sentences": count, "seed": seed}
    digest = hashlib.sha256(json.dumps([asdict(i) for i in items], default=str).encode())
    recipe["digest"] = digest.hexdigest()[:16]  # of every text and manner: which texts were at hand
    folder = Path(out) / "parts"
    _fresh(folder, recipe)
    for at in range(0, len(items), PART):
        _make_part(folder / f"{at // PART:05d}.npz", items[at : at + PART])
        _progress(min(at + PART, len(items)), len(items))
    made = corpus.write_corpus(out, _read_parts(folder, items), flite.RATE, recipe)
    shutil.rmtree(folder)
    return made


def _fresh(folder: Path, recipe: dict) -> None:
    """The folder of parts; those of another recipe are removed."""
    note, text = folder / "recipe.json", json.dumps(recipe)
    if folder.is_dir() and not (note.is_file() and note.read_text() == text):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not note.is_file():
        with atomic_write(note) as beside:
            beside.write_text(text)


def _make_part(path: Path, items: Sequence[Item]) -> None:
    if path.is_file():
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the work is in other processes
        waves = list(pool.map(lambda i: flite.speak(i.text, i.speaker, i.manner), items))
    clips = [corpus.to_pcm(wave) for wave in waves]
    with atomic_write(path) as beside:
        np.savez(beside, pcm=np.concatenate(clips), lengths=[len(clip) for clip in clips])


def _read_parts(folder: Path, items: Sequence[Item]) -> Iterator[tuple[str, str, str, np.ndarray]]:
    for at in range(0, len(items), PART):
        with np.load(folder / f"{at // PART:05d}.npz", allow_pickle=False) as part:
            clips = np.split(part["pcm"], np.cumsum(part["lengths"])[:-1])
        for item, pcm in zip(items[at : at + PART], clips, strict=True):
            yield item.text, item.speaker, item.split, pcm


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total or not on_terminal() else "\r"
    say(f"spoken: {done} of {total} clips", end)
