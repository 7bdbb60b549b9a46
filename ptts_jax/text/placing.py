"""Where the words of a chunk are: among its tokens, and in the text that the user wrote.

Tokenizers change case, spaces and signs, and numbers become words, so letters are followed: those
of the tokens, of the chunk and of the text are the same, but for a few.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptts_jax.text.chunking import Chunk
from ptts_jax.text.mapped import Mapped
from ptts_jax.text.tokenizer import Tokenizer

REACH = 40  # letters within which two texts are looked for where they agree again
ALIKE = 4  # letters that must then agree


@dataclass(frozen=True)
class Placed:
    """A word as the user wrote it, original[start:end], and its tokens [first, last) in a chunk."""

    text: str
    start: int
    end: int
    first: int
    last: int


def place(
    source: Mapped, chunks: Sequence[Chunk], tokenizer: Tokenizer, original: str
) -> list[tuple[Placed, ...]]:
    """The words of each chunk; `source` is what the chunks were made of."""
    spans: list[tuple[int, int]] = []  # in the original, for each letter of the source
    for match in re.finditer(r"\S+", source.text):
        first, last = match.span()
        span = min(source.starts[first:last]), max(source.ends[first:last])
        spans += [span] * len(_letters(match[0]))
    there = _matched(_letters(source.text), [x for c in chunks for x in _letters(c.text)])
    at, placed = 0, []
    for chunk in chunks:
        count = len(_letters(chunk.text))
        placed.append(tuple(_words(chunk, tokenizer, spans, there[at : at + count], original)))
        at += count
    return placed


def _words(
    chunk: Chunk,
    tokenizer: Tokenizer,
    spans: Sequence[tuple[int, int]],
    there: Sequence[int],
    original: str,
) -> list[Placed]:
    owners, said = [], []  # for each letter of the tokens: its token, and what it is
    for number, letters in enumerate(_token_letters(map(tokenizer.piece, chunk.tokens))):
        owners += [number] * len(letters)
        said += letters
    tokens = _matched(said, _letters(chunk.text))
    words: list[Placed] = []
    at = 0
    for match in re.finditer(r"\S+", chunk.text):
        letters = range(at, at + len(_letters(match[0])))
        at = letters.stop
        if not letters or not spans or not owners:
            continue
        parts = [spans[min(there[i], len(spans) - 1)] for i in letters]
        start, end = min(a for a, _ in parts), max(b for _, b in parts)
        mine = [owners[min(tokens[i], len(owners) - 1)] for i in letters]
        first, last = min(mine), max(mine) + 1
        if words and start < words[-1].end:  # several spoken words for one that was written
            before = words.pop()
            start, end, first = before.start, max(end, before.end), before.first
        words.append(Placed(original[start:end].strip(), start, end, first, last))
    return words


def _letters(text: str) -> list[str]:
    return [c.lower()[0] for c in text if c.isalnum()]


def _token_letters(pieces: Iterable[str]) -> Iterable[list[str]]:
    """The letters of each token. A letter in several bytes belongs to the last of them."""
    held = b""
    for piece in pieces:
        byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", piece)
        if byte is None:
            held = b""
            yield [] if re.fullmatch(r"<\w+>", piece) else _letters(piece)
            continue
        held += bytes.fromhex(byte[1])
        try:
            letters, held = _letters(held.decode()), b""
        except UnicodeDecodeError:
            letters = []
        yield letters


def _matched(one: Sequence[str], other: Sequence[str]) -> list[int]:
    """For each item of `other` its like in `one`, or about where that would be."""
    at, found, i = 0, [], 0
    while i < len(other):
        if at < len(one) and one[at] != other[i]:
            at, i, missing = _agreeing(one, other, at, i)
            found += [at] * missing
            if i == len(other):
                break
        found.append(at)
        at, i = at + 1, i + 1
    return found


def _agreeing(one: Sequence[str], other: Sequence[str], at: int, i: int) -> tuple[int, int, int]:
    """Where both go on alike: the place in each, and how many of `other` were passed over."""
    for distance in range(1, REACH):
        for over in range(distance + 1):
            a, b = at + distance - over, i + over
            size = min(ALIKE, len(one) - a, len(other) - b)
            if size > 0 and one[a : a + size] == other[b : b + size]:
                return a, b, over
    return at, i, 0
