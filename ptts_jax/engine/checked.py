"""Chunks that may be said several times: side by side, and again where words were said wrong, with
another seed or in pieces. The best try is heard."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ptts_jax.engine import checks, pieces
from ptts_jax.engine.checks import Checked, Fault, Trying
from ptts_jax.engine.loops import Latent
from ptts_jax.engine.pieces import Piece
from ptts_jax.engine.request import Job
from ptts_jax.engine.rows import Chunk
from ptts_jax.engine.scheduler import Made, Model
from ptts_jax.text import following


@dataclass(eq=False)
class Try:
    """A chunk as it is said once."""

    job: Job
    pieces: Sequence[Piece]  # the present one, and those that follow it
    row: Any = None  # of the present one, once it is begun
    frames: list[Latent] = field(default_factory=list)
    count: int = 0  # of them, those of the present piece
    read: bool = False  # the text of the present piece
    whole: bool = False
    endless: bool = False  # a piece of it did not come to its end
    second: bool = False  # not among those that are said first
    faults: Sequence[Fault] = ()
    unclear: bool = False  # to who hears it
    rank: tuple[float, float] = (0, 0)  # of a whole one: the smallest is the best


@dataclass(eq=False)
class Tries:
    """The state of a chunk that may be said several times."""

    chunk: Chunk
    open: list[Try] = field(default_factory=list)  # under way
    begun: int = 0
    best: Try | None = None  # of those that are whole
    given: Try | None = None  # whose frames the listener has
    count: int = 0  # of these frames

    @property
    def speaking(self) -> list[Try]:
        return [one for one in self.open if one.read and not one.whole]


class CheckedRows:
    """Implements scheduler.Model around another one, whose rows all tries are.

    The first try is what would be heard without a check. Its frames are given as they come, and
    those of a better one anew; of tries side by side only the best is given. Chunks that are not to
    be checked pass through.
    """

    def __init__(self, rows: Model, rate: float) -> None:
        self._rows = rows
        self._rate = rate  # frames a second

    def open(self, chunk: Chunk) -> Any:
        return self._rows.open(chunk) if chunk.trying is None else Tries(chunk)

    def read(self, row: Any) -> Made | None:
        if not isinstance(row, Tries):
            return self._rows.read(row)
        self._read(row)
        missing = row.begun < row.chunk.trying.at_once or any(not one.read for one in row.open)
        return None if missing else self._news(row)

    def step(self, rows: Sequence[Any], count: int) -> list[Made | Exception]:
        """One step of all rows, those of tries among them."""
        failed = {id(row): error for row in rows if (error := self._read_on(row))}
        groups = [
            [one.row for one in row.speaking] if isinstance(row, Tries) else [row] for row in rows
        ]
        stepped = [row for group in groups for row in group]
        made = iter(self._rows.step(stepped, count) if stepped else ())
        parts = [[next(made) for _ in group] for group in groups]
        return [
            failed.get(id(row)) or self._stepped(row, some)
            for row, some in zip(rows, parts, strict=True)
        ]

    def _stepped(self, row: Any, parts: Sequence[Made | Exception]) -> Made | Exception:
        if not isinstance(row, Tries):
            return parts[0]
        for one, part in zip(row.speaking, parts, strict=True):
            if isinstance(part, Exception):
                return part
            self._add(one, part)
        return self._news(row)

    def close(self, row: Any) -> None:
        if not isinstance(row, Tries):
            self._rows.close(row)
            return
        for one in row.open:
            if not one.whole and one.row is not None:
                self._rows.close(one.row)
        row.open = []

    def _read_on(self, row: Any) -> Exception | None:
        """A block of the text of a try that has begun again; what went wrong is this chunk's."""
        try:
            if isinstance(row, Tries) and not (row.open and all(one.read for one in row.open)):
                self._read(row)
        except Exception as error:
            return error
        return None

    def _read(self, tries: Tries) -> None:
        """One block of the text of the first try that has not read it, or of one that begins."""
        one = next((one for one in tries.open if not one.read), None)
        one = one or self._begin(tries)
        if one.row is None:
            one.row = self._rows.open(replace(tries.chunk, job=one.pieces[0].job))
        made = self._rows.read(one.row)
        if made is not None:
            one.read = True
            self._add(one, made)

    def _begin(self, tries: Tries) -> Try:
        job, number = tries.chunk.job, tries.begun - tries.chunk.trying.at_once
        job = replace(job, seed=job.seed + tries.begun * checks.NEXT_SEED)
        parts = [Piece(job)]
        if number >= 0:
            parts = pieces.cut(job, tries.chunk.trying.again[number], self._rate)
        one = Try(job, parts, second=number >= 0)
        tries.open.append(one)
        tries.begun += 1
        return one

    def _add(self, one: Try, made: Made) -> None:
        piece, *rest = one.pieces
        one.frames += [
            frame._replace(seen=pieces.in_whole(frame.seen, piece, len(one.job.tokens)))
            for frame in made.frames
        ]
        one.count += len(made.frames)
        if not made.last:
            return
        one.endless |= one.count >= piece.job.limit
        self._rows.close(one.row)
        one.whole = not rest
        if rest:
            one.row, one.pieces, one.count, one.read = None, rest, 0, False

    def _news(self, tries: Tries) -> Made:
        """What has come for the listener."""
        trying = tries.chunk.trying
        if not all(one.whole for one in tries.open):
            return self._given(tries, tries.open[0]) if trying.at_once == 1 else Made((), False)
        tries.best = self._best(tries)
        tries.open = []
        wrong = tries.best.faults or tries.best.unclear
        if wrong and trying.more(tries.begun, len(tries.chunk.job.words)):
            return Made((), False)  # the next one begins with the next step
        trying.told.append(Checked(tuple(tries.best.faults), tries.begun))
        return self._given(tries, tries.best)._replace(last=True)

    def _best(self, tries: Tries) -> Try:
        for one in tries.open:
            self._judge(one, tries.chunk.trying)
        return min([tries.best] * (tries.best is not None) + tries.open, key=lambda one: one.rank)

    def _judge(self, one: Try, trying: Trying) -> None:
        tokens = one.job.tokens
        seen = [following.weights(frame.seen[:, : len(tokens)]) for frame in one.frames]
        job = replace(one.job, limit=len(seen)) if one.endless else one.job
        one.faults = checks.faults(job, seen, following.path(seen), self._rate)
        if trying.ear is None:
            one.rank = len(one.faults), -following.sureness([seen])
            return
        doubt = trying.ear.doubt(tokens, np.stack([frame.latent for frame in one.frames]))
        one.unclear = doubt > checks.DOUBTFUL
        one.rank = len(one.faults), doubt + checks.CLEARER * one.second

    def _given(self, tries: Tries, one: Try) -> Made:
        """The frames of a try that the listener has not got; all of them if it got another's."""
        anew = tries.given not in (None, one)
        start = tries.count if tries.given is one else 0
        tries.given, tries.count = one, len(one.frames)
        return Made(one.frames[start:], False, anew)
