"""A chunk in pieces: a voice that loses its place in a long one may keep it in shorter ones.

A piece is cut between words, where a mark is if possible, and has the end of the whole. What a
piece looks at is told in the tokens of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptts_jax.engine.request import Job
from ptts_jax.text import max_frames
from ptts_jax.text.placing import Placed

UNMARKED = 0.25  # of the tokens: so much farther from the middle may a cut be that has a mark
UNSEEN = -1e9  # the logit of a token that a piece does not have


@dataclass(frozen=True)
class Piece:
    job: Job
    words: tuple[Placed, ...]  # of the whole, those that it says
    tokens: tuple[int, ...] | None = None  # of the whole, for each of its own; None: as they are


def whole(job: Job) -> Piece:
    """All of a chunk as one piece."""
    return Piece(job, tuple(job.words))


def halves(job: Job, piece: Piece, rate: float, anywhere: bool) -> list[Piece]:
    """A piece of the job in two, cut anywhere or at a mark alone; none where that cannot be."""
    if not _length(piece.words):
        return []
    first, second = _halved(piece.words, anywhere)
    return [_piece(job, words, rate) for words in (first, second)] if first else []


def cut(job: Job, parts: int, rate: float) -> list[Piece]:
    """The job in so many pieces, or as many as it has words; `rate` frames a second."""
    groups: list[Sequence[Placed]] = [list(job.words)]
    while len(groups) < parts:
        longest = max(groups, key=_length)
        if not _length(longest):
            break
        at = groups.index(longest)
        groups[at : at + 1] = _halved(longest)
    if len(groups) == 1:
        return [whole(job)]
    return [_piece(job, words, rate) for words in groups]


def in_whole(seen: np.ndarray, piece: Piece, count: int) -> np.ndarray:
    """What is seen of a piece's tokens [H, n] as logits of all `count` tokens [H, N]."""
    if piece.tokens is None:
        return seen
    whole = np.full((len(seen), count), UNSEEN, np.float32)
    np.logaddexp.at(whole, (slice(None), list(piece.tokens)), seen[:, : len(piece.tokens)])
    return whole


def _length(words: Sequence[Placed]) -> int:
    """Tokens of words that can be parted; 0 of a single one, and of none."""
    return words[-1].last - words[0].first if len(words) > 1 else 0


def _halved(
    words: Sequence[Placed], anywhere: bool = True
) -> tuple[Sequence[Placed], Sequence[Placed]]:
    """Cut near the middle, at a mark if there is one; the first half is none if there has to be."""
    middle = (words[0].first + words[-1].last) / 2

    def badness(at: int) -> float:
        return abs(words[at].first - middle) + UNMARKED * _length(words) * (not marked(at))

    def marked(at: int) -> bool:
        return not words[at - 1].text[-1:].isalnum()

    at = min(
        filter(lambda at: anywhere or marked(at), range(1, len(words))), key=badness, default=0
    )
    return words[:at], words[at:]


def _piece(job: Job, words: Sequence[Placed], rate: float) -> Piece:
    first, last, count = words[0].first, words[-1].last, len(job.tokens)
    head, tail = range(job.words[0].first), range(job.words[-1].last, count)
    tokens = [job.tokens[i] for i in (*head, *range(first, last), *tail)]
    # What stands before the whole and behind it counts as what stands there in the whole.
    least = max((w.last for w in job.words if w.last <= first), default=0)
    most = min((w.first for w in job.words if w.first >= last), default=count) - 1
    before = [min(first, max(least, first - len(head) + i)) for i in range(len(head))]
    after = [max(last - 1, min(most, last + i)) for i in range(len(tail))]
    limit = min(job.limit, max_frames(len(tokens), rate))
    own = replace(job, tokens=tokens, limit=limit, words=())
    return Piece(own, tuple(words), (*before, *range(first, last), *after))
