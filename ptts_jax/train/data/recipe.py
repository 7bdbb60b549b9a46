"""What a synthetic corpus shall hold: which voice says which sentence, and how.

A pure function of its arguments and of the texts that are installed. Makes no audio.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from random import Random

from ptts_jax.train.data import sentences
from ptts_jax.train.data.flite import Manner
from ptts_jax.train.data.heldout import SENTENCES

HELD_OUT_MADE = 56  # of the grammar's, besides the written ones
SHARES = {"fortunes": 0.22, "bible": 0.03, "drill": 0.10}  # the grammar makes the rest
BY_ALL = 0.05  # of the sentences are spoken by every voice
STRETCH = (0.95, 1.06)
PITCHES = (Fraction(39, 40), Fraction(1), Fraction(1), Fraction(41, 40))


@dataclass(frozen=True)
class Item:
    text: str
    speaker: str
    split: str
    manner: Manner


def plan(voices: Sequence[str], count: int, seed: int) -> list[Item]:
    """`count` training items, then the held-out sentences in every voice, unvaried."""
    held = held_out(seed)
    refused = {plain(text) for text in held}
    random = Random(f"voices {seed}")
    items: list[Item] = []
    for number, text in enumerate(_training_texts(count, seed, refused)):
        speakers = voices if random.random() < BY_ALL else [voices[number % len(voices)]]
        for speaker in speakers:
            manner = Manner(round(random.uniform(*STRETCH), 3), random.choice(PITCHES))
            items.append(Item(text, speaker, "train", manner))
        if len(items) >= count:
            break
    items = items[:count]
    return items + [Item(text, voice, "heldout", Manner()) for voice in voices for text in held]


def held_out(seed: int) -> tuple[str, ...]:
    """Sentences to judge by: the written ones first, then some of the grammar's."""
    found = dict.fromkeys(SENTENCES)
    made = (s for s in sentences.grammar(Random(f"held out {seed}")) if sentences.everyday(s))
    found.update(dict.fromkeys(islice(made, HELD_OUT_MADE)))
    return tuple(found)


def plain(text: str) -> str:
    """What two spellings of one sentence share."""
    return " ".join(re.findall(r"[\w']+", text.lower()))


def _training_texts(count: int, seed: int, refused: set[str]) -> list[str]:
    random = Random(f"texts {seed}")
    lines, verses = sentences.fortunes(), sentences.bible(_bible_lines())
    common = sentences.common_words(lines + verses)
    for part in (lines, verses):
        random.shuffle(part)
    sources: dict[str, Iterator[str]] = {
        "fortunes": iter(lines),
        "bible": iter(verses),
        "drill": sentences.drill(common, random),
    }
    seen = set(refused)
    texts: list[str] = []

    def take(source: Iterator[str], wanted: int) -> None:
        for text in source:
            if wanted <= 0:
                return
            key = plain(text)
            if key not in seen:
                seen.add(key)
                texts.append(text)
                wanted -= 1

    for name, source in sources.items():
        take(source, int(count * SHARES[name]))
    take(sentences.grammar(Random(f"grammar {seed}")), count - len(texts))
    random.shuffle(texts)
    return texts


def _bible_lines() -> list[str]:
    if shutil.which("bible") is None:
        return []
    done = subprocess.run(["bible", "gen1:1-rev22:21"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
