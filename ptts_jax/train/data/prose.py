"""Prose that is installed: whole sentences that people wrote, of texts that anybody may use.

WordNet's examples and definitions, the Jargon File, the Debian handbook; each a Debian package
(wordnet-base, jargon-text, debian-handbook). What is not installed gives nothing.
"""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ptts_jax.train.data.sentences import WORDS

WORDNET = "/usr/share/wordnet"
JARGON = "/usr/share/doc/jargon-text/jargon.txt.gz"
HANDBOOK = "/usr/share/doc/debian-handbook/html/en-US"
SHORTEST, LONGEST = 12, 170  # characters
WORDIEST = 30

_MARKS = re.compile(r"[A-Za-z][A-Za-z',;: -]*[.?!]")
_SENTENCES = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
_HINTS = re.compile(r"\bas in\b|\bie\b|\beg\b|\betc\b|\bvs\b|\bi\.e|\be\.g", re.IGNORECASE)


def dictionary(path: str | Path = WORDS) -> frozenset[str]:
    """Every word that is listed, names with their capital letter; empty if none is installed."""
    path = Path(path)
    if not path.is_file():
        return frozenset()
    listed = path.read_text(encoding="utf-8").splitlines()
    return frozenset(word for word in listed if re.fullmatch(r"[A-Za-z]+", word))


def names(known: frozenset[str]) -> list[str]:
    """Words that are written with a capital letter only."""
    capital = (word for word in known if re.fullmatch(r"[A-Z][a-z]{2,10}", word))
    return sorted(word for word in capital if word.lower() not in known)


def readable(sentence: str, known: frozenset[str]) -> bool:
    """Plain words that the dictionary knows, and no abbreviation."""
    tokens = re.findall(r"[A-Za-z]+(?:'[a-z]+)?", sentence)
    return (
        SHORTEST <= len(sentence) <= LONGEST
        and 3 <= len(tokens) <= WORDIEST
        and _MARKS.fullmatch(sentence) is not None
        and _HINTS.search(sentence) is None
        and all(_known(token.split("'")[0], known) for token in tokens)
    )


def _known(word: str, known: frozenset[str]) -> bool:
    if len(word) == 1:
        return word in "aAIO"
    return not known or word in known or word.lower() in known


def examples(known: frozenset[str], folder: str | Path = WORDNET) -> list[str]:
    """Sentences that show how a word is used."""
    quoted = (
        example
        for gloss in _glosses(Path(folder))
        for example in re.findall(r'"([^"]+)"', gloss)
        if len(example.split()) > 2
    )
    return _whole(quoted, known)


def definitions(known: frozenset[str], folder: str | Path = WORDNET) -> list[str]:
    """What words mean."""
    plain = (re.sub(r'"[^"]*"|\([^)]*\)', "", gloss) for gloss in _glosses(Path(folder)))
    return _whole((text.split(";")[0] for text in plain), known)


def _glosses(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("data.*")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.startswith(" ") and "|" in line:
                yield line.split("|", 1)[1].strip()


def _whole(parts: Iterable[str], known: frozenset[str]) -> list[str]:
    sentences: dict[str, None] = {}
    for part in parts:
        text = " ".join(part.split()).strip(" ,;:-")
        if not text:
            continue
        text = text[0].upper() + text[1:]
        text = text if text[-1] in ".?!" else text + "."
        if readable(text, known):
            sentences[text] = None
    return list(sentences)


def jargon(known: frozenset[str], path: str | Path = JARGON) -> list[str]:
    """Sentences of the Jargon File."""
    path = Path(path)
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        text = file.read()
    return _prose(re.split(r"\n\s*\n", text), known)


def handbook(known: frozenset[str], folder: str | Path = HANDBOOK) -> list[str]:
    """Sentences of the Debian Administrator's Handbook."""
    paragraphs = []
    for path in sorted(Path(folder).glob("*.html")):
        page = path.read_text(encoding="utf-8", errors="replace")
        for inside in re.findall(r'<div class="para">(.*?)</div>', page, re.DOTALL):
            paragraphs.append(html.unescape(re.sub(r"<[^>]+>", "", inside)))
    return _prose(paragraphs, known)


def _prose(paragraphs: Iterable[str], known: frozenset[str]) -> list[str]:
    sentences: dict[str, None] = {}
    for paragraph in paragraphs:
        plain = re.sub(r"[{}“”\"]|\([^)]*\)", "", paragraph.replace("’", "'").replace("—", ", "))
        for sentence in _SENTENCES.split(" ".join(plain.split())):
            sentence = re.sub(r"\s+([,.;:?!])", r"\1", sentence)
            if readable(sentence, known):
                sentences[sentence] = None
    return list(sentences)
