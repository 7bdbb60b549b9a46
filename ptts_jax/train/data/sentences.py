"""Sentences to train on: a small grammar of everyday English, and lines of installed texts.

A text is what a user would type. Knows words and chance; no audio, engines or models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

from ptts_jax.train.data import words
from ptts_jax.train.data.templates import PATTERNS, SLOTS

LONGEST = 90  # characters: about six seconds
HELD_OUT_WORDS = (3, 12)
FORTUNES = "/usr/share/games/fortunes"
WORDS = "/usr/share/dict/words"
# Files whose lines are not plain prose.
NOT_PROSE = ("ascii-art", "definitions", "knghtbrd", "perl", "songs-poems", "tao", "translate-me")

_SLOT = re.compile(r"\{(\w+)\}")
_FORMS = ("", "s", "ed", "en", "ing")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z' ,]*[.?!]")
_VOWEL = re.compile(r"\b([Aa]) (?=(?!(?:us|uni|eu|one\b|once\b))[aeiou]|hour|honest)")


def grammar(random: Random) -> Iterator[str]:
    """Sentences without end; the same for the same random state."""
    while True:
        roll = random.random()
        if roll < 0.03:
            yield _finish(random.choice(words.SHORT))
            continue
        text = _finish(_fill(random.choice(PATTERNS), random))
        if roll < 0.10:  # two in one breath, as chunks of a text are
            text += " " + _finish(_fill(random.choice(PATTERNS), random))
        if len(text) <= LONGEST:
            yield text


def _fill(pattern: str, random: Random) -> str:
    def slot(match: re.Match[str]) -> str:
        name = match[1]
        if name in SLOTS:
            return _fill(random.choice(SLOTS[name]), random)
        if name == "hour":
            return str(random.randint(1, 12))
        if name == "minute":
            return f"{random.choice((5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55)):02d}"
        if name == "year":
            return str(random.randint(1900, 2030))
        if name == "small":
            return str(random.randint(1, 99))
        if name == "digits":
            return str(random.randint(1, 10 ** random.randint(1, 3)))
        verbs = words.VERBS if name[0] == "v" else words.INTRANSITIVE
        return random.choice(verbs)[_FORMS.index(name[1:])]

    return _SLOT.sub(slot, pattern)


def _finish(text: str) -> str:
    """Capital letter, final mark, `an` before vowels."""
    text = _VOWEL.sub(r"\1n ", text)
    text = re.sub(r"\b(a|an) (a few|a dozen|a hundred|a thousand)\b", r"\2", text)
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


def common_words(lines: Iterable[str], dictionary: str | Path = WORDS) -> tuple[str, ...]:
    """Words of the dictionary that the lines hold at least twice, the most frequent first."""
    known = _dictionary(dictionary)
    counts = Counter(word for line in lines for word in re.findall(r"[a-z]+", line.lower()))
    return tuple(
        word
        for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if count > 1 and word in known and 2 < len(word) < 12
    )


def _dictionary(path: str | Path) -> frozenset[str]:
    path = Path(path)
    if not path.is_file():
        return frozenset()
    listed = path.read_text(encoding="utf-8").splitlines()
    return frozenset(word for word in listed if re.fullmatch(r"[a-z]+", word))


def drill(common: Sequence[str], random: Random) -> Iterator[str]:
    """Every word in turn, in frames that fit words of any kind."""
    frames = (
        "{0}, {1} and {2}.",
        "{0} is not {1}, and {1} is not {2}.",
        "Say {0}, then {1}, then {2}.",
        "The words are {0}, {1} and {2}.",
        "Not {0} but {1}, and sometimes {2}.",
        "What do {0}, {1} and {2} mean?",
        "Is it {0}, {1} or {2}?",
        "She wrote {0}, {1} and {2} in the book.",
    )
    while len(common) >= 3:
        order = random.sample(common, len(common))
        for at in range(0, len(order) - 2, 3):
            yield _finish(random.choice(frames).format(*order[at : at + 3]))


def fortunes(folder: str | Path = FORTUNES, dictionary: str | Path = WORDS) -> list[str]:
    """Whole plain sentences of the fortunes that are installed; none where there are none."""
    folder, known = Path(folder), _dictionary(dictionary)
    if not folder.is_dir():
        return []
    found: dict[str, None] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix or path.name in NOT_PROSE:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for entry in re.split(r"^%\s*$", text, flags=re.MULTILINE):
            entry = " ".join(re.split(r"\n\s+--", entry)[0].split())
            for sentence in re.split(r"(?<=[.?!])\s+", entry):
                if _usable(sentence, known):
                    found[sentence] = None
    return list(found)


def bible(run: Iterable[str], dictionary: str | Path = WORDS) -> list[str]:
    """Short sentences out of the lines that the `bible` command prints."""
    known = _dictionary(dictionary)
    prose = " ".join(re.sub(r"^\s*\d+\s", "", line).strip() for line in run)
    parts = re.split(r"(?<=[.?!:;])\s+", prose)
    clean = (_finish(part.rstrip(":;,")) for part in parts if part.rstrip(":;,"))
    return list(dict.fromkeys(part for part in clean if _usable(part, known)))


def _usable(sentence: str, known: frozenset[str]) -> bool:
    tokens = re.findall(r"[A-Za-z']+", sentence)
    return (
        3 <= len(tokens) <= 15
        and 12 <= len(sentence) <= LONGEST
        and sentence[0].isupper()
        and _PLAIN.fullmatch(sentence) is not None
        and (not known or all(t in ("I", "O") or t.lower().split("'")[0] in known for t in tokens))
    )


def everyday(text: str) -> bool:
    """Whether a recogniser can judge it: 3 to 12 words, none of them digits."""
    low, high = HELD_OUT_WORDS
    return low <= len(text.split()) <= high and not any(c.isdigit() for c in text)
