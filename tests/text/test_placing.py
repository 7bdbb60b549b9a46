"""Where words are, among tokens and in the text as it was written."""

import functools
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptts_jax.text import chunks
from ptts_jax.text.mapped import Mapped
from ptts_jax.text.normalize import normalize
from ptts_jax.text.placing import place
from ptts_jax.text.tokenizer import load_tokenizer
from tests.support import tiny_files, tokens


@pytest.fixture(scope="module", params=["sentencepiece", "tokenizers"])
def tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("placing")
    size = tiny_files.PIECES
    if request.param == "tokenizers":
        path = tokens.write_tokenizer_json(folder / "tokenizer.json", size)
    else:
        path = tokens.write_sentencepiece(folder / "tokenizer.model", size)
    return load_tokenizer(path, request.param, size)


@functools.cache
def plain():
    with tempfile.TemporaryDirectory() as folder:
        path = tokens.write_sentencepiece(f"{folder}/t.model", tiny_files.PIECES)
        return load_tokenizer(path, "sentencepiece", tiny_files.PIECES)


def placed(text, tokenizer, language=None, max_tokens=30):
    source = normalize(Mapped.of(text), language) if language else Mapped.of(text)
    made = chunks(source.text, tokenizer, tiny_files.CONFIG, max_tokens)
    return made, place(source, made, tokenizer, text)


def flat(words):
    return [word for chunk in words for word in chunk]


TEXT = (
    "hello there, how  are you?\nThe 'second' line; it goes on (and on) for a while. Café, naïve!"
)


def test_every_word_is_there_once_and_as_it_was_written(tokenizer):
    _, words = placed(TEXT, tokenizer)
    assert [w.text for w in flat(words)] == TEXT.split()
    assert all(TEXT[w.start : w.end] == w.text for w in flat(words))
    assert len(words) > 1


def test_tokens_of_a_word_spell_it(tokenizer):
    made, words = placed("One apple, two pears and a banana.", tokenizer)
    for chunk, some in zip(made, words, strict=True):
        for word in some:
            said = tokenizer.decode(chunk.tokens[word.first : word.last])
            letters = [c for c in said.lower() if c.isalnum()]
            assert [c for c in word.text.lower() if c.isalnum()] == letters


def test_a_number_is_one_word_however_it_is_said(tokenizer):
    made, words = placed("It costs $5.20, Dr. No.", tokenizer, "en")
    assert [w.text for w in flat(words)] == ["It", "costs", "$5.20,", "Dr.", "No."]
    _, _, price, *_ = flat(words)
    said = tokenizer.decode(made[0].tokens[price.first : price.last])
    assert said.split() == ["five", "dollars", "and", "twenty", "cents"]


@given(st.text("abcdefghij .,!?'-éß½Ⅳ一👍\n\t\"", min_size=1, max_size=120))
@settings(max_examples=80, deadline=None)
def test_whatever_the_text_words_are_in_order_and_within(text):
    tokenizer = plain()
    if not any(c.isalnum() and c.isascii() for c in text):
        return
    made, words = placed(text, tokenizer)
    end = 0
    for chunk, some in zip(made, words, strict=True):
        last = 0
        for word in some:
            assert 0 <= word.first < word.last <= len(chunk.tokens)
            assert word.first >= last - 1 and 0 <= word.start < word.end <= len(text)
            assert word.end >= end
            last, end = word.last, word.end
