"""Chunks that may be said several times: side by side, and again where words were said wrong, with
another seed or in pieces. The best try is heard.

A model that knows a single way says a chunk in two, three and four pieces. If it has an ear, it
says in two the piece that is most in doubt, or otherwise, and so on; the other pieces stay as they
were said.
"""

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
from ptts_jax.model.ear import Ear
from ptts_jax.text import following


@dataclass(eq=False)
class Part:
    """A piece of a chunk as it is said once."""

    piece: Piece
    frames: list[Latent] = field(default_factory=list)
    whole: bool = False
    doubt: float | None = None  # of who hears it, once it is whole
    halves: Sequence["Part"] = ()  # the same words in two pieces
    others: list["Part"] = field(default_factory=list)  # the same words, said otherwise

    @property
    def leaves(self) -> list["Part"]:
        """The smallest pieces of it that there are."""
        return [leaf for half in self.halves for leaf in half.leaves] or [self]

    @property
    def clearest(self) -> tuple[float, list["Part"]]:
        """The pieces that say it with the least doubt, and what they cost."""
        ways = [(self.doubt, [self])]
        ways += [(other.doubt + checks.CLEARER, [other]) for other in self.others]
        if self.halves:
            costs, parts = zip(*(half.clearest for half in self.halves), strict=True)
            ways.append((sum(costs) + checks.CLEARER, [part for some in parts for part in some]))
        return min(ways, key=lambda way: way[0])


@dataclass(eq=False)
class Try:
    """A chunk as it is said once: its pieces in turn, some of which were said before."""

    job: Job
    parts: Sequence[Part]
    second: bool = False  # not among those that are said first
    row: Any = None  # of the present piece, once it is begun
    read: bool = False  # the text of the present piece
    faults: Sequence[Fault] = ()  # of a whole one
    doubt: float = 0.0  # of a whole one: of who hears it, faults included
    rank: tuple[float, float] = (0, 0)  # of a whole one: the smallest is the best

    @property
    def present(self) -> Part | None:
        """The piece that is being said; None of a whole try."""
        return next((part for part in self.parts if not part.whole), None)

    @property
    def whole(self) -> bool:
        return self.present is None

    @property
    def frames(self) -> list[Latent]:
        """Of the pieces up to the present one."""
        said = next((n for n, part in enumerate(self.parts, 1) if not part.whole), len(self.parts))
        return [frame for part in self.parts[:said] for frame in part.frames]


@dataclass(eq=False)
class Tries:
    """The state of a chunk that may be said several times."""

    chunk: Chunk
    open: list[Try] = field(default_factory=list)  # under way
    begun: int = 0
    best: Try | None = None  # of those that are whole
    next: Sequence[Part] = ()  # of the try that comes next
    first: Part | None = None  # all of the chunk, where what is in doubt is said in two
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
            one.row = self._rows.open(replace(tries.chunk, job=one.present.piece.job))
        made = self._rows.read(one.row)
        if made is not None:
            one.read = True
            self._add(one, made)

    def _begin(self, tries: Tries) -> Try:
        job = self._job(tries)
        one = Try(job, tries.next or [Part(pieces.whole(job))], second=bool(tries.next))
        tries.open.append(one)
        tries.begun += 1
        return one

    def _job(self, tries: Tries) -> Job:
        """The chunk as its next try says it."""
        job = tries.chunk.job
        return replace(job, seed=job.seed + tries.begun * checks.NEXT_SEED)

    def _add(self, one: Try, made: Made) -> None:
        part = one.present
        part.frames += [
            frame._replace(seen=pieces.in_whole(frame.seen, part.piece, len(one.job.tokens)))
            for frame in made.frames
        ]
        if made.last:
            self._rows.close(one.row)
            part.whole = True
            one.row, one.read = None, one.whole

    def _news(self, tries: Tries) -> Made:
        """What has come for the listener."""
        trying = tries.chunk.trying
        if not all(one.whole for one in tries.open):
            return self._given(tries, tries.open[0]) if trying.at_once == 1 else Made((), False)
        tries.best = self._best(tries)
        tries.open = []
        tries.next = self._next(tries)
        if tries.next:
            return Made((), False)  # it begins with the next step
        trying.told.append(Checked(tuple(tries.best.faults), tries.begun))
        return self._given(tries, tries.best)._replace(last=True)

    def _best(self, tries: Tries) -> Try:
        whole, trying = [*tries.open], tries.chunk.trying
        for one in tries.open:
            self._judge(one, trying)
        if trying.halves:
            tries.first = tries.first or tries.open[0].parts[0]
        if tries.first and (tries.first.halves or tries.first.others):  # the clearest of all
            whole.append(Try(tries.open[0].job, tries.first.clearest[1], second=True))
            self._judge(whole[-1], trying)
        return min([tries.best] * (tries.best is not None) + whole, key=lambda one: one.rank)

    def _judge(self, one: Try, trying: Trying) -> None:
        frames, count = one.frames, len(one.job.tokens)
        seen = [following.weights(frame.seen[:, :count]) for frame in frames]
        endless = any(len(part.frames) >= part.piece.job.limit for part in one.parts)
        job = replace(one.job, limit=len(seen)) if endless else one.job
        one.faults = checks.faults(job, seen, following.path(seen), self._rate)
        one.rank = len(one.faults), -following.sureness([seen])
        if trying.ear:
            for part in one.parts:
                if part.doubt is None:
                    latents = np.array([frame.latent for frame in part.frames])
                    part.doubt = trying.ear.doubt(part.piece.job.tokens, latents)
            cuts = max(len(one.parts) - 1, int(one.second))
            one.doubt = sum(part.doubt for part in one.parts) + checks.FAULT * len(one.faults)
            one.rank = 0, one.doubt + checks.CLEARER * cuts

    def _next(self, tries: Tries) -> Sequence[Part]:
        """The pieces of the next try; none where the best one does, or no other way is known."""
        trying, best, job = tries.chunk.trying, tries.best, self._job(tries)
        number = tries.begun - trying.at_once
        if not trying.again or not _is_wrong(best, trying.ear):
            return ()
        if trying.halves:
            most = checks.HALVED + trying.otherwise
            return self._otherwise(tries, job) if number < most else ()
        for parts in trying.again[number : number + 1]:
            found = pieces.cut(job, parts, self._rate)
            if trying.varied or len(found) == parts:  # it has not been said in as many pieces
                return [Part(piece) for piece in found]
        return ()

    def _otherwise(self, tries: Tries, job: Job) -> Sequence[Part]:
        """All words in the smallest pieces that there are, of which the most doubtful is said anew.

        At a mark, where speech rests anyway, it is said in two. Elsewhere that sounds worse, which
        only what is lost is worth; first it is said otherwise, if the model knows how.
        """
        trying, faulty = tries.chunk.trying, bool(tries.best.faults)
        leaves = [leaf.clearest[1][0] for leaf in tries.first.leaves]
        for leaf, said in sorted(zip(tries.first.leaves, leaves, strict=True), key=_most_doubtful):
            own = leaf.piece.job
            if not faulty and not _doubts(trying.ear, own, said.doubt):
                continue
            found = pieces.halves(job, leaf.piece, self._rate, anywhere=False)
            if not found and len(leaf.others) < trying.otherwise:
                sampling = replace(own.sampling, temperature=checks.WARMTH)
                warm = replace(own, seed=job.seed, sampling=sampling)
                leaf.others.append(Part(replace(leaf.piece, job=warm)))
                return [leaf.others[-1] if one is said else one for one in leaves]
            if not found and (faulty or _doubts(trying.ear, own, said.doubt, checks.LOST)):
                found = pieces.halves(job, leaf.piece, self._rate, anywhere=True)
            if found:
                leaf.halves = [Part(piece) for piece in found]
                at = leaves.index(said)
                return [*leaves[:at], *leaf.halves, *leaves[at + 1 :]]
        return ()

    def _given(self, tries: Tries, one: Try) -> Made:
        """The frames of a try that the listener has not got; all of them if it got another's."""
        anew = tries.given not in (None, one)
        start = tries.count if tries.given is one else 0
        tries.given, tries.count = one, len(one.frames)
        return Made(one.frames[start:], False, anew)


def _most_doubtful(leaf: tuple[Part, Part]) -> float:
    """What to sort by, of a leaf and the way in which it is said best."""
    return -leaf[1].doubt


def _is_wrong(one: Try, ear: Ear | None) -> bool:
    """Whether what was said is worth another try: an ear that hears all of it clears a fault."""
    if not ear:
        return bool(one.faults)
    in_parts = (_doubts(ear, part.piece.job, part.doubt) for part in one.parts)
    return _doubts(ear, one.job, one.doubt) or any(in_parts)


def _doubts(ear: Ear, job: Job, nats: float, share: float = checks.DOUBTFUL) -> bool:
    return nats > share * len(ear.letters(job.tokens))
