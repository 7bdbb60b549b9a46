"""Tries of a chunk as rows of the scheduler, against a model computed by hand."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptts_jax.engine import checks
from ptts_jax.engine.checked import CheckedRows
from ptts_jax.engine.checks import Checked, Fault, Trying
from ptts_jax.engine.loops import Latent
from ptts_jax.engine.request import Job
from ptts_jax.engine.rows import Chunk
from ptts_jax.engine.scheduler import HUNGRY, Made, Request, Scheduler
from ptts_jax.text.placing import Placed

WRONG = Fault("skipped", "boat", (4, 8))
LENGTH = 5  # frames of the first try of a chunk; each later one has a frame more


class Rows:
    """Implements scheduler.Model: frame n of try t is (t, n)."""

    def __init__(self) -> None:
        self.open_rows, self.widths = [], []

    def open(self, chunk: Chunk) -> SimpleNamespace:
        number = chunk.job.seed // checks.NEXT_SEED
        row = SimpleNamespace(number=number, length=LENGTH + number, blocks=2, made=0)
        self.open_rows.append(row)
        return row

    def read(self, row: SimpleNamespace) -> Made | None:
        row.blocks -= 1
        return None if row.blocks else self._speak(row, 1)

    def step(self, rows: list[SimpleNamespace], count: int) -> list[Made]:
        self.widths.append(len(rows))
        return [self._speak(row, count) for row in rows]

    def close(self, row: SimpleNamespace) -> None:
        self.open_rows.remove(row)

    def _speak(self, row: SimpleNamespace, count: int) -> Made:
        assert row in self.open_rows and not row.blocks and row.made < row.length
        begin, row.made = row.made, min(row.made + count, row.length)
        made = [Latent((row.number, n), np.zeros((1, 20))) for n in range(begin, row.made)]
        return Made(made, row.made == row.length)


def whole(number: int) -> list[tuple[int, int]]:
    return [(number, n) for n in range(LENGTH + number)]


def said(
    verdicts: list[int], trying: Trying, neighbours: int = 0, words: tuple[Placed, ...] = ()
) -> tuple[list, Rows]:
    """What the listener to a chunk has at last, if its tries have so many faults."""
    turns = iter(verdicts)
    rows = Rows()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "faults", lambda *_: [WRONG] * next(turns))
        work, heard = Scheduler(CheckedRows(rows, 12.5), slots=4), defaultdict(list)
        tokens = list(range(max(3, len(words) + 1)))
        chunk = Chunk(Job(tokens, 2, 50, words=words), voice=None, trying=trying)
        asked = Request([chunk], checked=True)
        others = [Request([Chunk(chunk.job, voice=None)]) for _ in range(neighbours)]
        for request in (asked, *others):
            work.submit(request, 0.0)
        while (events := work.round(0.0)) is not None:
            for event in events:
                assert event.error is None
                if event.anew:
                    heard[event.request].clear()
                heard[event.request] += [frame.latent for frame in event.frames]
    assert rows.open_rows == [], "every row is freed"
    assert asked.made == len(heard[asked]), "what was forgotten does not count"
    assert all(heard[other] == whole(0) for other in others)
    return heard[asked], rows


@given(st.lists(st.integers(0, 3), min_size=11, max_size=11), st.integers(1, 8), st.booleans(),
       st.integers(0, 3))  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_the_best_try_is_heard_and_no_more_are_made_than_needed(faults, at_once, again, others):
    trying = Trying([], at_once, checks.AGAIN_VARIED * again)
    frames, _ = said(faults, trying, others)
    tries = at_once
    while min(faults[:tries]) and tries < at_once + len(trying.again):
        tries += 1
    fewest = min(faults[:tries])
    assert trying.told == [Checked((WRONG,) * fewest, tries)]
    assert frames == whole(frames[0][0]) and faults[frames[0][0]] == fewest
    if at_once == 1:  # of equals the first
        assert frames == whole(faults.index(fewest))


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_who_knows_one_way_alone_says_it_in_pieces(faults, count):
    """As many as there are words for; the frames of a try's pieces follow each other."""
    words = tuple(Placed("word", 5 * i, 5 * i + 4, i, i + 1) for i in range(count))
    trying = Trying([], again=checks.AGAIN_ALIKE)
    frames, _ = said(faults, trying, words=words)
    ways = [(), *((parts,) for parts in checks.AGAIN_ALIKE if parts <= count)]
    tries = next((n for n, x in enumerate(faults[: len(ways)], 1) if x == 0), len(ways))
    fewest = min(faults[:tries])
    best = frames[0][0]
    assert trying.told == [Checked((WRONG,) * fewest, tries)] and faults[best] == fewest
    assert frames == whole(best) * (best and checks.AGAIN_ALIKE[best - 1] or 1)


class Ear:
    """Doubts what it is told to doubt; each token is a letter."""

    def __init__(self, doubts) -> None:
        self._doubts = doubts

    def letters(self, tokens):
        return tokens

    def doubt(self, tokens, latents):
        return self._doubts(tokens, latents)


@given(
    st.lists(st.integers(0, 1), min_size=4, max_size=4),
    st.lists(st.sampled_from([-6.0, 0.2, 0.8, 1.0, 1.5, 3.0, 4.0, 8.0]), min_size=4, max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_an_ear_says_what_is_worth_another_try_and_which_is_clearest(faults, doubts):
    trying = Trying([], again=(1, 1, 1), ear=Ear(lambda _, latents: doubts[latents[0, 0]]))
    frames, _ = said(faults, trying)
    doubts = [d + checks.FAULT * f for f, d in zip(faults, doubts, strict=True)]
    clear = [d <= 3 * checks.DOUBTFUL for d in doubts]  # of three tokens
    ranks = [d + later for d, later in zip(doubts, [0, *[checks.CLEARER] * 3], strict=True)]
    tries = 1
    while tries < 4 and not clear[ranks.index(min(ranks[:tries]))]:
        tries += 1
    best = ranks.index(min(ranks[:tries]))
    assert frames == whole(best)
    assert trying.told == [Checked((WRONG,) * faults[best], tries)]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_what_is_in_doubt_is_said_in_two_and_the_rest_stays(count, most, hard):
    """A model that says so many words at a time, and always stumbles over one of them."""
    words = tuple(Placed("word,", 5 * i, 5 * i + 4, i, i + 1) for i in range(count))

    def doubt(tokens, latents):
        said = [token for token in tokens if token < count]
        return 10.0 * (len(said) > most) * len(said) + 3.0 * (hard in said)

    trying = Trying([], again=checks.AGAIN_ALIKE, ear=Ear(doubt))
    frames, rows = said([0] * 60, trying, words=words)
    tries = trying.told[0].tries
    assert trying.told == [Checked((), tries)] and tries <= 1 + checks.HALVED
    numbers = {number for number, _ in frames}
    assert all(number < tries for number in numbers)
    assert (numbers == {0}) == (count <= most), "it is cut where that spares doubt, and only there"
    if tries <= checks.HALVED:  # every doubtful piece was tried in two
        assert len(frames) >= -(-count // most) * LENGTH


@given(st.lists(st.sampled_from([0.0, 2.0, 5.0, 9.0]), min_size=30, max_size=30), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_what_cannot_be_cut_is_said_otherwise(doubts, otherwise):
    """Two words without a mark between them: cut only where they are lost however they are said."""
    words = (Placed("one", 0, 3, 0, 1), Placed("two", 4, 7, 1, 2))
    trying = Trying(
        [],
        again=checks.AGAIN_ALIKE,
        ear=Ear(lambda _, latents: doubts[latents[0, 0]]),
        otherwise=otherwise,
    )
    frames, _ = said([0] * 60, trying, words=words)
    costs = [doubts[0], *(doubt + checks.CLEARER for doubt in doubts[1 : 1 + otherwise])]
    clear = 3 * checks.DOUBTFUL  # of the three tokens
    tries = 1
    while tries < len(costs) and doubts[costs.index(min(costs[:tries]))] > clear:
        tries += 1
    best = costs.index(min(costs[:tries]))
    lost = doubts[best] > 3 * checks.LOST
    if not lost:
        assert trying.told == [Checked((), tries)] and frames == whole(best)
    else:
        assert trying.told[0].tries > tries, "nothing else is left than to cut it"


def test_tries_at_once_share_their_steps():
    frames, rows = said([1, 0, 2], Trying(at_once=3))
    assert frames == whole(1)
    assert rows.widths == [3, 2], "a frame is read with the text, then come 4 in a step"


def test_who_leaves_frees_all_tries():
    rows = Rows()
    work = Scheduler(CheckedRows(rows, 12.5))
    request = Request([Chunk(Job([1, 2, 3], 2, 50), None, trying=Trying(at_once=3))], checked=True)
    work.submit(request, 0.0)
    for _ in range(6):
        work.round(0.0)
    assert len(rows.open_rows) == 3
    work.cancel(request)
    assert rows.open_rows == []


class Undecided:
    """Implements scheduler.Model: three frames, then two instead of them, and an end."""

    def open(self, chunk):
        return iter([Made([0], False), Made([1, 2], False), Made([3, 4], False, True)])

    def read(self, row):
        return next(row)

    def step(self, rows, count):
        return [next(row, Made([], True)) for row in rows]

    def close(self, row): ...


def test_what_may_begin_again_counts_once_it_is_whole():
    work = Scheduler(Undecided())
    request = Request(["one", "two"], checked=True)
    work.submit(request, 0.0)
    events = []
    while request.made == 0:
        events += work.round(9.0)
        assert request.lead(99.0) == HUNGRY and not work.hungry(99.0)
    assert request.made == 2 and request.until == pytest.approx(9.16)
    assert [event.anew for event in events] == [False, False, True, False]
    assert [event.chunk_ended for event in events] == [False, False, False, True]
