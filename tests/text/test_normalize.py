"""Texts as they are to be said, in seven languages, and where each word comes from."""

import re
import string
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptts_jax.text.mapped import Mapped
from ptts_jax.text.normalize import LANGUAGES, language_of, normalize
from ptts_jax.text.normalize.numbers import roman

CASES = Path(__file__).parent / "cases"
KINDS = sorted({line.split("\t")[0] for line in (CASES / "en.tsv").read_text("utf-8").splitlines()})
# What people type, and what breaks rules: pieces that meet in any order.
PIECES = st.sampled_from(
    [
        " ",
        "\n",
        *"1$€%-–/:h.,*_`#@[)éß😀½٣²ae+=№中|()",
        "23",
        "007",
        "1.5",
        "1,000",
        "°C",
        "km",
        "**",
    ]
    + ["](", "http://a.b", "Dr.", "XIV", "&amp;", "<b>", "word", "U.S.", "st", " 5 ", "12:30", "–7"]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join))


def cases(code):
    lines = (CASES / f"{code}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said(code, kind):
    rows = [(text, said) for row_kind, text, said in cases(code) if row_kind == kind]
    assert len(rows) >= 2
    assert {text: normalize(text, code).text for text, _ in rows} == dict(rows)


@pytest.mark.parametrize("code", LANGUAGES)
def test_there_are_many_cases(code):
    assert len({text for _, text, _ in cases(code)}) >= 150


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_was_said_is_said_again(code):
    """Normalising twice is normalising once, and nothing is left that has to be spelled."""
    for _, text, said in cases(code):
        assert normalize(said, code).text == said, text
        assert not re.search(r"[0-9$€%&@=°]", said)


@pytest.mark.parametrize("code", LANGUAGES)
@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_any_text_is_normalised(code, text):
    once = normalize(text, code)
    assert normalize(once.text, code).text == once.text
    assert not re.search("[0-9]", once.text)
    assert len(once.text) == len(once.starts) == len(once.ends)
    for start, end in zip(once.starts, once.ends, strict=True):
        assert 0 <= start <= end <= len(text)


@given(st.text(alphabet="abcdefgh éß中,?'", max_size=80))
def test_what_is_not_understood_stays(text):
    """Words of any script, and their punctuation, stay as they were."""
    text = " ".join(text.split())
    assert normalize(text, "en").text == text


@given(st.lists(st.sampled_from(["word", "12", "$5", "Dr.", "x"]), max_size=8))
def test_a_word_knows_its_place(parts):
    """All words said for a number point at that number."""
    text = " ".join(f"w {part}" for part in parts)
    for word in normalize(text, "en").words():
        source = text[word.start : word.end]
        assert source == source.strip() != ""
        if word.text in parts:
            assert source == word.text


def test_places_in_the_original():
    text = "Pay $5.20 by 3 May, Dr. No!"
    places = [(w.text, text[w.start : w.end]) for w in normalize(text, "en").words()]
    assert ("five", "$5.20") in places
    assert ("cents", "$5.20") in places
    assert ("Doctor", "Dr.") in places
    assert ("No!", "No!") in places


def test_places_behind_an_offset():
    word = normalize(Mapped.of("is 12", 100), "en").words()[1]
    assert (word.text, word.start, word.end) == ("twelve", 103, 105)


def test_roman_numerals():
    numerals = {"I": 1, "IV": 4, "IX": 9, "XIV": 14, "XL": 40, "XC": 90, "CD": 400, "MCMXC": 1990}
    assert {text: roman(text) for text in numerals} == numerals
    assert [roman(text) for text in ("", "IIII", "VX", "IC", "MIX!")] == [0] * 5


def test_lines_stay_lines():
    assert normalize("One.\n\n2.\n3 km", "en").text == "One.\n\ntwo.\nthree kilometers"


def test_threads_spell_at_the_same_time():
    said = {}

    def work(code):
        said[code] = [normalize(f"{n * 7919}", code).text for n in range(200)]

    workers = [threading.Thread(target=work, args=(code,)) for code in LANGUAGES]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    again = {code: [normalize(f"{n * 7919}", code).text for n in range(200)] for code in LANGUAGES}
    assert said == again


def test_languages():
    assert language_of("french_24l") == "fr"
    assert language_of("english_2m_2026-10") == "en"
    assert language_of("bundled") == "en"
    assert language_of("mine") is None
    with pytest.raises(ValueError, match="language 'xx': give one of en, fr"):
        normalize("Hi", "xx")


def test_plain_words_are_left_alone():
    letters = string.ascii_letters
    assert normalize(letters, "de").text == letters
