"""How names and words are to be said: a file with a line `word = respelling` for each."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ptts_jax.text.mapped import Mapped


def read(path: str | Path) -> dict[str, str]:
    """The words of a lexicon file. Lines that begin with # are remarks."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: cannot read the lexicon: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: the lexicon is not UTF-8 text; save it as such") from None
    words: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, equals, respelling = (part.strip() for part in line.partition("="))
        column = len(line) - len(line.lstrip()) + 1
        if not (word and equals and respelling):
            wrong = "write a line as word = respelling"
        elif word in words:
            wrong = f"{word!r} stands here twice; leave one out"
        else:
            words[word] = respelling
            continue
        raise ValueError(f"{path}, line {number}, column {column}: {wrong}")
    return words


def applier(words: Mapping[str, str]) -> Callable[[Mapped], Mapped]:
    """Replace whole words. A word in small letters is found however it is written."""
    if not words:
        return lambda text: text
    exact = {word: said for word, said in words.items() if word != word.lower()}
    folded = {word: said for word, said in words.items() if word == word.lower()}
    longest = sorted(words, key=len, reverse=True)
    parts = [re.escape(w) if w in exact else f"(?i:{re.escape(w)})" for w in longest]
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)")

    def say(match: re.Match[str]) -> str:
        return exact.get(match[0]) or folded[match[0].lower()]

    return lambda text: text.sub(pattern, say)
