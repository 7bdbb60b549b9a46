"""The sentence grammar and what a synthetic corpus is planned to hold."""

import itertools
import re
from random import Random

import pytest

from ptts_jax.train.data import heldout, recipe, sentences, templates, words


def made(seed: int, count: int) -> list[str]:
    return list(itertools.islice(sentences.grammar(Random(seed)), count))


def test_the_same_seed_gives_the_same_sentences():
    assert made(3, 200) == made(3, 200)
    assert made(3, 200) != made(4, 200)


def test_sentences_are_as_a_user_types_them():
    for text in made(0, 3000):
        assert text[0].isupper() or text[0].isdigit(), text
        assert text[-1] in ".?!", text
        assert not set(text) & set("{}"), text
        assert "  " not in text and len(text) <= sentences.LONGEST, text
        assert not re.search(r"\ba [aeio]", text), text


@pytest.mark.parametrize("pattern", [*templates.PATTERNS, *templates.SLOTS])
def test_every_pattern_and_slot_can_be_filled(pattern):
    pattern = "{" + pattern + "}" if pattern in templates.SLOTS else pattern
    assert "{" not in sentences._fill(pattern, Random(0))


def test_common_words_occur_in_several_contexts():
    found = [re.findall(r"[a-z']+", text.lower()) for text in made(0, 12000)]
    everywhere = {word: 0 for text in found for word in text}
    for text in found:
        for word in set(text):
            everywhere[word] += 1
    for group in (words.THINGS, words.ADJECTIVES, words.SPOTS, words.PEOPLE, words.IDEAS):
        assert all(everywhere.get(word, 0) >= 2 for word in group)
    assert len(everywhere) > 2000
    digits = [text for text in made(0, 1000) if re.search(r"\d", text)]
    assert any(re.search(r"\d:\d\d", text) for text in digits)
    assert 10 < len(digits) < 300


@pytest.mark.parametrize(
    "forms",
    [
        ("carry", "carries", "carried", "carried", "carrying"),
        ("write", "writes", "wrote", "written", "writing"),
        ("stop", "stops", "stopped", "stopped", "stopping"),
        ("watch", "watches", "watched", "watched", "watching"),
        ("enjoy", "enjoys", "enjoyed", "enjoyed", "enjoying"),
        ("control", "controls", "controlled", "controlled", "controlling"),
        ("free", "frees", "freed", "freed", "freeing"),
    ],
)
def test_verbs_are_inflected(forms):
    known = {verb[0]: verb for verb in words.VERBS}
    assert known.get(forms[0], words._verb(forms[0])) == forms


def test_intransitive_lie():
    assert ("lie", "lies", "lay", "lain", "lying") in words.INTRANSITIVE


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("it is a apple", "It is an apple."),
        ("a hour and a unusual year", "An hour and an unusual year."),
        ("a useful union", "A useful union."),
        ("is it so?", "Is it so?"),
        ("it takes a a dozen", "It takes a dozen."),
    ],
)
def test_the_last_touch(raw, text):
    assert sentences._finish(raw) == text


@pytest.fixture
def dictionary(tmp_path):
    path = tmp_path / "words"
    path.write_text("the\ncat\nsat\non\nmat\ndog\nran\nfar\naway\n")
    return path


def test_lines_of_fortunes(tmp_path, dictionary):
    folder = tmp_path / "fortunes"
    folder.mkdir()
    (folder / "cookie").write_text(
        "The cat sat\non the mat. The dog ran far away!\n\t\t-- The Cat\n%\n"
        "The cat (a dog) sat on the mat.\n%\nThe xylograph sat on the mat.\n%\nCat sat.\n%\n"
    )
    (folder / "cookie.dat").write_bytes(b"The cat sat on the dog.\n")
    (folder / "perl").write_text("The dog sat on the mat.\n")
    found = sentences.fortunes(folder, dictionary)
    assert found == ["The cat sat on the mat.", "The dog ran far away!"]
    assert sentences.fortunes(tmp_path / "none", dictionary) == []
    assert "The xylograph sat on the mat." in sentences.fortunes(folder, tmp_path / "none")


def test_lines_of_the_bible(dictionary):
    lines = ["Genesis 1", "", "  1 The cat sat on the mat; and the", "dog ran far away:"]
    found = sentences.bible(["  1 The cat sat on the mat:", "the dog ran far", "away."], dictionary)
    assert found == ["The cat sat on the mat.", "The dog ran far away."]
    assert sentences.bible(lines, dictionary) == []  # a word that is not in the dictionary


def test_common_words_by_frequency(dictionary):
    found = sentences.common_words(["The cat, the dog.", "The dog the Zebra zebra ran"], dictionary)
    assert found == ("the", "dog")


def test_the_drill_goes_through_all_words():
    listed = tuple(f"w{c}" for c in "abcdefghi")
    text = " ".join(itertools.islice(sentences.drill(listed, Random(0)), 3)).lower()
    assert all(word in text for word in listed)
    assert list(sentences.drill((), Random(0))) == []


def test_which_sentences_can_be_judged():
    assert sentences.everyday("He had a dog.")
    assert not sentences.everyday("He had.")
    assert not sentences.everyday("He had 2 dogs.")
    assert not sentences.everyday("a " * 13)


@pytest.fixture
def no_texts(monkeypatch):
    """A machine without installed texts."""
    monkeypatch.setattr(recipe, "_bible_lines", list)
    monkeypatch.setattr(sentences, "fortunes", list)


def test_the_written_held_out_sentences():
    assert len(heldout.SENTENCES) == len(set(map(recipe.plain, heldout.SENTENCES))) >= 60
    assert all(sentences.everyday(text) for text in heldout.SENTENCES)


def test_a_plan(no_texts):
    items = recipe.plan(["one", "two"], 500, seed=1)
    assert items == recipe.plan(["one", "two"], 500, seed=1)
    assert items != recipe.plan(["one", "two"], 500, seed=2)
    train = [item for item in items if item.split == "train"]
    held = [item for item in items if item.split == "heldout"]
    assert len(train) == 500
    spoken = {v: {recipe.plain(i.text) for i in train if i.speaker == v} for v in ("one", "two")}
    assert min(map(len, spoken.values())) > 200
    assert 0 < len(spoken["one"] & spoken["two"]) < 60
    texts = {v: [i.text for i in held if i.speaker == v] for v in ("one", "two")}
    assert texts["one"] == texts["two"] and len(texts["one"]) >= 60
    assert not {recipe.plain(t) for t in texts["one"]} & (spoken["one"] | spoken["two"])
    assert all(item.manner == recipe.Manner() for item in held)
    assert len({item.manner for item in train}) > 50


def test_a_plan_takes_from_every_source(monkeypatch, dictionary):
    prose = [f"The cat sat on the mat {n * 'far '}away." for n in range(30)]
    monkeypatch.setattr(sentences, "fortunes", lambda: prose.copy())
    monkeypatch.setattr(recipe, "_bible_lines", lambda: ["  1 The dog ran far away."])
    monkeypatch.setattr(sentences, "common_words", lambda lines: ("far", "away", "mat"))
    texts = [i.text for i in recipe.plan(["one"], 100, seed=0) if i.split == "train"]
    assert sum(text in prose for text in texts) == 22
    assert sum({"far", "away", "mat"} <= set(recipe.plain(t).split()) for t in texts) >= 5
    assert len(set(map(recipe.plain, texts))) == 100


def test_a_held_out_sentence_in_an_installed_text_is_left_out(no_texts, monkeypatch):
    held = [text.upper() for text in heldout.SENTENCES]
    monkeypatch.setattr(sentences, "fortunes", lambda: [*held, "This one is fine."])
    texts = [i.text for i in recipe.plan(["one"], 400, seed=0) if i.split == "train"]
    assert "This one is fine." in texts
    assert not set(texts) & set(held)
