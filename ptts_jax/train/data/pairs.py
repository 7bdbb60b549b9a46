"""A user's recordings as clips: a folder of NAME.wav and NAME.txt, a sub-folder for each speaker.

Finds everything that is wrong before any work begins. Knows nothing of engines or training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from ptts_jax import audio
from ptts_jax.train.data import corpus, flite
from ptts_jax.train.data.recipe import plain

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
SHOWN = 5  # problems named in one message
HELD_OUT = 0.05  # of the sentences, at most
HELD_OUT_MOST = 120
FEWEST = 4  # sentences, of which one is held out
RATES = (1.0, 40.0)  # characters per second of sound that a text can have


@dataclass(frozen=True)
class Pair:
    audio: Path
    text: str
    speaker: str


def find(folder: str | Path) -> list[Pair]:
    """All pairs; audio without text, text without audio and empty texts are refused together."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give one of wav + txt pairs")
    pairs: list[Pair] = []
    problems: list[str] = []
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sounds = {path.with_suffix(""): path for path in files if path.suffix.lower() in SOUNDS}
    texts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    for stem in sorted(sounds.keys() | texts.keys()):
        if stem not in texts:
            problems.append(f"{sounds[stem]} has no text ({stem.name}.txt is missing)")
        elif stem not in sounds:
            problems.append(f"{texts[stem]} has no audio ({stem.name}.wav is missing)")
        else:
            try:
                text = " ".join(texts[stem].read_text(encoding="utf-8-sig").split())
            except (OSError, UnicodeDecodeError):
                problems.append(f"{texts[stem]} is not readable as UTF-8 text")
                continue
            if not any(c.isalnum() for c in text):
                problems.append(f"{texts[stem]} holds no words")
            speaker = stem.parent.relative_to(folder).as_posix()
            pairs.append(Pair(sounds[stem], text, folder.name if speaker == "." else speaker))
    _refuse(folder, problems)
    if len({plain(pair.text) for pair in pairs}) < FEWEST:
        raise ValueError(f"{folder}: give at least {FEWEST} different sentences as wav + txt pairs")
    return pairs


def clips(
    folder: str | Path, pairs: list[Pair], sample_rate: int, seed: int
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """(text, speaker, split, int16 [T]) of every pair; bad audio is reported together, at the end.

    The corpus is then not written, since this raises.
    """
    held = _held_out(pairs, seed)
    problems: list[str] = []
    for pair in pairs:
        try:
            pcm = _read(pair, sample_rate)
        except ValueError as error:
            problems.append(str(error))
            continue
        yield pair.text, pair.speaker, "heldout" if plain(pair.text) in held else "train", pcm
    _refuse(folder, problems)


def _read(pair: Pair, sample_rate: int) -> np.ndarray:
    wave, rate = audio.read(pair.audio)
    wave = audio.resample(wave, rate, sample_rate)
    try:
        wave = flite.level(flite.trim(wave, sample_rate))
    except ValueError as error:
        raise ValueError(f"{pair.audio}: {error}; record it again or remove the pair") from None
    seconds = len(wave) / sample_rate - flite.LEAD - flite.TAIL
    speed = len(pair.text) / max(seconds, 1e-3)
    if not RATES[0] <= speed <= RATES[1]:
        raise ValueError(
            f"{pair.audio}: {seconds:.1f} s of sound cannot be the {len(pair.text)} characters of "
            "its text; check that they belong together"
        )
    return corpus.to_pcm(wave)


def _held_out(pairs: list[Pair], seed: int) -> set[str]:
    """Sentences kept from training in every voice."""
    texts = sorted({plain(pair.text) for pair in pairs})
    count = min(HELD_OUT_MOST, max(1, int(HELD_OUT * len(texts))))
    return set(Random(f"held out {seed}").sample(texts, count))


def _refuse(folder: str | Path, problems: list[str]) -> None:
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise ValueError(f"{folder}: {count}: {'; '.join(problems[:SHOWN])}{more}")
