"""Characters that a model's tokenizer does not know: mapped, or named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptts_jax.text.characters import fold, knows
from ptts_jax.text.mapped import Mapped
from ptts_jax.text.tokenizer import load_tokenizer
from tests.support import tokens


def in_letters(text):
    """Known are the letters a to z, digits and a little punctuation."""
    return fold(Mapped.of(text), lambda c: c in "abcdefghijklmnopqrstuvwxyz0123456789.,?!'-")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I don’t know", "i don't know"),
        ("“Well” — no…", "well - no..."),
        ("café, señor", "cafe, senor"),
        ("Straße", "strasse"),
        ("Œuvre æther Ødegård Łódź", "oeuvre aether odegard lodz"),
        ("ａｂｃ", "abc"),
        ("ﬁn", "fin"),
        ("(so) [it] {is}", ",so, ,it, ,is,"),
        ("¿qué?", "que?"),
    ],
)
def test_what_sounds_alike(text, said):
    folded, lost = in_letters(text)
    assert (folded.text, lost) == (said, [])


def test_what_is_lost_is_named():
    folded, lost = in_letters("ok 中文 🎉 да 中")
    assert folded.text.split() == ["ok"]
    assert lost == ["中", "文", "🎉", "д", "а"]


def test_places_stay():
    folded, _ = in_letters("Straße da")
    assert [(w.text, w.start, w.end) for w in folded.words()] == [("strasse", 0, 6), ("da", 7, 9)]


@given(st.text())
def test_only_known_characters_remain(text):
    folded, lost = in_letters(text)
    assert all(
        c.isspace() or c in "abcdefghijklmnopqrstuvwxyz0123456789.,?!'-" for c in folded.text
    )
    assert set(lost) <= set(text)
    assert fold(folded, lambda c: True)[0] is folded


@pytest.mark.parametrize("kind", ["sentencepiece", "tokenizers"])
def test_what_a_tokenizer_knows(tmp_path, kind):
    if kind == "sentencepiece":
        path = tokens.write_sentencepiece(tmp_path / "t.model", 4000)
    else:
        path = tokens.write_tokenizer_json(tmp_path / "t.json", 4000)
    known = knows(load_tokenizer(path, kind, 4000))
    assert all(map(known, "aZé,.’"))
    assert not any(map(known, "中д🎉"))  # they have bytes, which say nothing
