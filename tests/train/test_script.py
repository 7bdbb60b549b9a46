"""What voices are given to say: prose that is installed, names, numbers; held-out sentences."""

import gzip
from itertools import islice

import pytest

from ptts_jax.train.data import prose, recipe, script
from ptts_jax.train.data.heldout_prose import PROSE

WORDS = "the a dog ran over bridge what is this Alice it clear sky"
KNOWN = frozenset(WORDS.split())


@pytest.fixture
def texts(monkeypatch):
    """A machine with few texts installed."""
    found = {name: [] for name in ("definitions", "jargon", "handbook", "fortunes", "bible")}
    found["examples"] = ["The dog ran.", PROSE[0]]
    names = ["Alice", "Bob", "Carol", "Dave"]
    monkeypatch.setattr(script, "_installed", lambda: (found, ("dog", "sky", "clear"), names))


def test_sentences_that_can_be_read():
    assert prose.readable("The dog ran over the bridge.", KNOWN)
    assert prose.readable("What is this, Alice?", KNOWN)
    for wrong in (
        "The dog ran",  # no end
        "The dog.",  # too short
        "The cat ran over the bridge.",  # an unknown word
        "The dog ran over b the bridge.",
        "The dog (a) ran over the bridge.",
        "The dog ran 9 times over the bridge.",
        "the dog ran, " * 20 + "over.",
    ):
        assert not prose.readable(wrong, KNOWN)


def test_wordnet(tmp_path):
    (tmp_path / "data.verb").write_text(
        "  1 a licence\n"
        '0001 29 v 01 run 0 000 | the dog (or cat) ran over; clear; "the dog ran"; "dog"\n'
        '0002 29 v 01 clear 0 000 | clear the bridge; "what is this over the sky?"\n'
    )
    assert prose.examples(KNOWN, tmp_path) == ["The dog ran.", "What is this over the sky?"]
    assert prose.definitions(KNOWN, tmp_path) == ["The dog ran over.", "Clear the bridge."]
    assert prose.examples(KNOWN, tmp_path / "none") == []


def test_the_jargon_file(tmp_path):
    path = tmp_path / "jargon.txt.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("   :dog: n.\n\n   The {dog} ran\n   over the bridge. It’s clear sky. Xyzzy.\n")
    assert prose.jargon(KNOWN, path) == ["The dog ran over the bridge.", "It's clear sky."]
    assert prose.jargon(KNOWN, tmp_path / "none") == []


def test_the_handbook(tmp_path):
    page = (
        '<div class="para">\n The <b>dog</b> ran\n over the bridge. </div><p>Not this dog ran.</p>'
    )
    (tmp_path / "a.html").write_text(page)
    assert prose.handbook(KNOWN, tmp_path) == ["The dog ran over the bridge."]
    assert prose.handbook(KNOWN, tmp_path / "none") == []


def test_a_dictionary_and_its_names(tmp_path):
    (tmp_path / "words").write_text("Alice\nBob\nbob\nit's\ndog\n")
    known = prose.dictionary(tmp_path / "words")
    assert known == {"Alice", "Bob", "bob", "dog"}
    assert prose.names(known) == ["Alice"]
    assert prose.dictionary(tmp_path / "none") == frozenset()


def test_more_sentences_change_nothing_before_them(texts):
    few, many = script.lines("joe", 20), script.lines("joe", 60)
    assert many[: len(few)] == few
    assert script.lines("heart", 20) != few and script.lines("joe", 20, seed=1) != few


def test_drills_come_behind_and_change_nothing_before_them(texts):
    plain, drilled = script.lines("joe", 5), script.lines("joe", 5, 0, 7)
    assert drilled[: len(plain)] == plain and len(drilled) == len(plain) + 7
    assert len({line.text for line in drilled}) == len(drilled)
    assert script.lines("joe", 5, 0, 3) == drilled[: len(plain) + 3]


def test_held_out_sentences_are_not_trained_on(texts):
    said = script.lines("joe", 200)
    held = {recipe.plain(line.text) for line in said if line.split == "heldout"}
    train = [recipe.plain(line.text) for line in said if line.split == "train"]
    assert len(held) == len(script.held_out()) >= 100
    assert len(train) == len(set(train)) == 200 and not held & set(train)
    assert any("alice" in text for text in train)


def test_the_first_sentences_are_those_to_judge_by():
    assert len(PROSE) == 40
    assert all(6 <= len(text.split()) <= 25 and text[-1] in ".?!" for text in PROSE)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (342, "three hundred forty-two"),
        (12_005, "twelve thousand five"),
    ],
)
def test_numbers_in_words(number, words):
    assert script.spelled(number) == words


def test_numbers_come_in_words_and_digits():
    from random import Random

    said = list(islice(script._numbered(Random(0)), 50))
    assert any(any(c.isdigit() for c in text) for text in said)
    assert any(not any(c.isdigit() for c in text) for text in said)
    assert all(text[0].isupper() or text[0].isdigit() for text in said)
