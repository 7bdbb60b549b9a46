"""A chunk is cut between words, and what its pieces look at is told in its own tokens."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ptts_jax.engine import pieces
from ptts_jax.engine.request import Job
from ptts_jax.text import following, max_frames
from ptts_jax.text.placing import Placed

RATE = 12.5
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=9)


def job(lengths: list[int], marks: tuple[int, ...] = (), head: int = 1, tail: int = 1) -> Job:
    """Words of so many tokens with a token between them; a mark belongs to the word before."""
    words, at = [], head
    for number, length in enumerate(lengths):
        text = f"word{number}" + "," * (number in marks)
        words.append(Placed(text, 10 * number, 10 * number + 9, at, at + length))
        at += length + 1
    count = at - 1 + tail
    return Job([100 + i for i in range(count)], 2, max_frames(count, RATE), words=tuple(words))


@given(lengths, st.integers(1, 6), st.integers(0, 3), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_all_words_are_said_once_and_in_order(lengths, parts, head, tail):
    whole = job(lengths, head=head, tail=tail)
    found = pieces.cut(whole, parts, RATE)
    assert len(found) == min(parts, len(lengths))
    said = [token for piece in found for token in piece.job.tokens]
    for word in whole.words:
        mine = list(whole.tokens[word.first : word.last])
        assert [token for token in said if token in mine] == mine
    for piece in found:
        tokens = list(piece.job.tokens)
        assert tokens[:head] == whole.tokens[:head]
        assert tokens[len(tokens) - tail :] == whole.tokens[len(whole.tokens) - tail :]
        assert piece.job.limit <= whole.limit


def test_a_single_piece_is_the_chunk_itself():
    whole = job([4])
    assert pieces.cut(whole, 3, RATE) == [pieces.whole(whole)]
    seen = np.ones((1, 6))
    assert pieces.in_whole(seen, pieces.whole(whole), 6) is seen


@given(lengths, st.integers(0, 3), st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_halves_of_halves_say_what_the_whole_says(lengths, head, tail):
    whole = job(lengths, head=head, tail=tail)
    found = [pieces.whole(whole)]
    while halves := pieces.halves(
        whole, first := max(found, key=lambda p: len(p.words)), RATE, anywhere=True
    ):
        assert len(halves) == 2 and halves[0].words + halves[1].words == first.words
        at = found.index(first)
        found[at : at + 1] = halves
    assert [piece.words for piece in found] == [(word,) for word in whole.words]
    assert found == pieces.cut(whole, len(lengths), RATE)


def test_a_cut_is_at_a_mark_if_one_is_near():
    ends = lambda *marks: len(pieces.cut(job([3] * 8, marks), 2, RATE)[0].job.tokens)  # noqa: E731
    words = 4
    assert ends() == words * 4 + 1, "in the middle"
    assert ends(2) == 3 * 4 + 1, "after the third word, not after the fourth"
    assert ends(0) == words * 4 + 1, "the first word alone would be too little"


def test_halves_at_marks_alone():
    whole = pieces.whole(job([3] * 8, (0, 5)))
    halves = lambda piece: pieces.halves(whole.job, piece, RATE, anywhere=False)  # noqa: E731
    first, second = halves(whole)
    assert first.words[-1].text == "word5," and len(second.words) == 2
    assert [len(piece.words) for piece in halves(first)] == [1, 5]
    assert halves(second) == halves(halves(first)[1]) == []


@given(lengths.filter(lambda x: len(x) > 1), st.integers(0, 3), st.integers(0, 2), st.integers(0))
@settings(max_examples=100, deadline=None)
def test_what_is_seen_of_a_piece_is_seen_of_the_chunk(lengths, head, tail, seed):
    whole, rng = job(lengths, head=head, tail=tail), np.random.default_rng(seed)
    for piece in pieces.cut(whole, 3, RATE):
        count = len(piece.job.tokens)
        seen = rng.normal(0, 3, (2, count + 5)).astype(np.float32)  # with room behind the text
        there = following.weights(pieces.in_whole(seen, piece, len(whole.tokens)))
        here = following.weights(seen[:, :count])
        assert there.shape == (len(whole.tokens),) and np.isclose(there.sum(), 1, atol=1e-5)
        wanted = np.zeros(len(whole.tokens))
        np.add.at(wanted, list(piece.tokens), here)
        np.testing.assert_allclose(there, wanted, atol=1e-5)
        for word in whole.words:  # a word that is in the piece has its own attention, others none
            mine = whole.tokens[word.first : word.last]
            if mine[0] in piece.job.tokens:
                at = list(piece.job.tokens).index(mine[0])
                assert there[word.first] >= here[at] - 1e-5
