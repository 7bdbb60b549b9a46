"""Text that arrives piece by piece: what is spoken when, and that nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptts_jax.text.arriving import LONGEST, Arriving


def spoken(*pieces: str) -> list[list[str]]:
    arriving = Arriving()
    return [*(arriving.add(piece) for piece in pieces), arriving.rest()]


def test_a_sentence_goes_out_when_the_next_begins():
    assert spoken("Hello", " there", ".", " How", " are you?") == [
        [],
        [],
        [],
        ["Hello there."],
        [],
        ["How are you?"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "It costs 3.14 dollars",
        "Dr. Smith and J. Doe agree",
        "We met at 5 p.m. on Monday",
        "See e.g. the map",
        "Nos. 1. and 2. are here",
        "Short, isn't it, yes",
    ],
)
def test_numbers_and_abbreviations_stay_whole(text):
    arriving = Arriving()
    early = [part for letter in text for part in arriving.add(letter)]
    assert [*early, *arriving.rest()] in ([text], ["Nos.", "1. and 2. are here"])


def test_a_long_clause_does_not_wait_for_the_sentence():
    words = " ".join(["word"] * 12)
    assert spoken(f"{words}, and more") == [[f"{words},"], ["and more"]]


def test_lines_and_other_scripts_end_sentences():
    assert spoken("one\ntwo。three") == [["one", "two。"], ["three"]]


def test_marks_alone_are_not_spoken():
    assert spoken("... ", "!? ", "-") == [[], [], [], []]


def test_text_without_marks_is_not_held_for_ever():
    parts = Arriving().add("word " * 300)
    assert parts and all(len(part) <= LONGEST for part in parts)


@given(st.text(max_size=300), st.integers(1, 7))
def test_no_letter_is_lost_however_the_text_is_cut(text, size):
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    parts = [part for group in spoken(*pieces) for part in group]

    def letters(s: str) -> list[str]:
        return [c for c in s if c.isalnum()]

    assert letters("".join(parts)) == letters(text)
