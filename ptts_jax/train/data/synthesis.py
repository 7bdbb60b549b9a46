"""A corpus that teachers speak, each of them its own script.

The clips are made in parts, each a file. A part stays valid as long as its sentences and its
teacher's version do: a run that was killed goes on, and one with more sentences begins after the
last part that is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptts_jax.messages import on_terminal, say
from ptts_jax.store.paths import atomic_write
from ptts_jax.train.data import corpus, script, teachers, timings
from ptts_jax.train.data.said import Said
from ptts_jax.train.data.script import Line
from ptts_jax.train.data.teachers import Teacher, Voice

PART = 100  # clips of one file


@dataclass(frozen=True)
class Wanted:
    """What shall be made."""

    voices: Sequence[Voice]
    sentences: Sequence[int]  # to train on, of each of the voices
    rate: int  # Hz
    drills: int = 0  # behind them, of each voice
    seed: int = 0
    keep: bool = False  # the parts, so that a later run with more sentences goes on from them
    kokoro_voices: str = ""
    light: str = ""  # a run of train.light, by which kokoro's voices speak
    workers: int = 0  # 0: as many as there are processors


def synthesise(out: str | Path, wanted: Wanted) -> corpus.Corpus:
    """Speak every script, then write the corpus and its timings."""
    folder = Path(out) / "parts"
    digest, versions, files = hashlib.sha256(), {}, []
    for voice, count in zip(wanted.voices, wanted.sentences, strict=True):
        teacher = teachers.start(voice, wanted.kokoro_voices, wanted.light)
        versions[str(voice)] = teacher.version
        said = script.lines(voice.name, count, wanted.seed, wanted.drills)
        digest.update(json.dumps([str(voice), teacher.version, [s.text for s in said]]).encode())
        files += [(voice, *part) for part in _speak(folder, voice, teacher, said, wanted)]
    recipe = {
        "voices": versions,
        "sentences": list(wanted.sentences),
        "drills": wanted.drills,
        "seed": wanted.seed,
        "digest": digest.hexdigest()[:16],
    }
    spoken = corpus.write_corpus(out, _clips(files), wanted.rate, recipe)
    timings.write(spoken, (one for _, path, _ in files for one in _read(path)[1]))
    if not wanted.keep:
        shutil.rmtree(folder)
    return spoken


def _speak(
    folder: Path, voice: Voice, teacher: Teacher, said: Sequence[Line], wanted: Wanted
) -> list[tuple[Path, Sequence[Line]]]:
    """(file, its lines) of every part of a voice; those that are missing are spoken."""
    place = folder / str(voice).replace(":", "-")
    place.mkdir(parents=True, exist_ok=True)
    parts = [said[at : at + PART] for at in range(0, len(said), PART)]
    files = [
        place / f"{number:05d}-{_key(p, teacher, wanted)}.npz" for number, p in enumerate(parts)
    ]
    missing = [(path, part) for path, part in zip(files, parts, strict=True) if not path.is_file()]
    progress = _Progress(str(voice), sum(len(part) for _, part in missing))
    workers = wanted.workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for path, part in missing:
            clips = list(pool.map(lambda line: _ready(teacher, line, wanted.rate), part))
            _write(path, clips)
            progress.add(len(clips), sum(len(clip.wave) for clip in clips) / wanted.rate)
    for path in set(place.glob("*.npz")) - set(files):
        if int(path.stem.split("-")[0]) < len(files):  # of another script; longer ones may stay
            path.unlink()
    return list(zip(files, parts, strict=True))


def _key(part: Sequence[Line], teacher: Teacher, wanted: Wanted) -> str:
    """What a part was made of, in few letters."""
    about = [teacher.version, wanted.rate, [line.text for line in part]]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]


def _ready(teacher: Teacher, line: Line, rate: int) -> Said:
    try:
        return teachers.ready(teacher.speak(line.text), rate)
    except ValueError as error:
        raise ValueError(f"{line.text!r}: {error}") from None


def _write(path: Path, clips: Sequence[Said]) -> None:
    waves = [corpus.to_pcm(clip.wave) for clip in clips]
    times = [timings.pack(clip) for clip in clips]
    with atomic_write(path) as new, new.open("wb") as file:
        np.savez(
            file,
            pcm=np.concatenate(waves),
            lengths=[len(wave) for wave in waves],
            times=json.dumps(times),
        )


def _read(path: Path) -> tuple[list[np.ndarray], list[dict]]:
    """(samples, timings) of each clip of a part."""
    with np.load(path, allow_pickle=False) as part:
        clips = np.split(part["pcm"], np.cumsum(part["lengths"])[:-1])
        return clips, json.loads(str(part["times"]))


def _clips(
    files: Sequence[tuple[Voice, Path, Sequence[Line]]],
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    for voice, path, part in files:
        for line, pcm in zip(part, _read(path)[0], strict=True):
            yield line.text, voice.name, line.split, pcm


class _Progress:
    """Says how fast a voice is spoken and how long it will take."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.done, self.seconds, self.start = 0, 0.0, time.monotonic()

    def add(self, clips: int, seconds: float) -> None:
        self.done += clips
        self.seconds += seconds
        passed = max(time.monotonic() - self.start, 1e-9)
        left = passed / self.done * (self.total - self.done) / 60
        end = "\r" if on_terminal() and self.done < self.total else "\n"
        say(
            f"{self.name}: {self.done} of {self.total} clips, {self.seconds / 3600:.2f} hours, "
            f"{self.seconds / passed:.1f} seconds of speech a second, {left:.0f} minutes left",
            end,
        )
