"""Tokenizer files of both kinds: what they give, and which are refused."""

import pytest

from ptts_jax import text
from tests.support.tokens import write_sentencepiece, write_tokenizer_json


def test_both_kinds_of_file_give_the_same_ids(both):
    ordinary = (
        "It's 3.14, or so?  \"Quoted\" she said; l'été est là. Zürich (Ö): 1,000.50 你好 🙂 a\tb"
    )
    for words in (ordinary, "", " ", "\0", "Hello", "a" * 3000):
        ids = [tokenizer.encode(words) for tokenizer in both]
        assert ids[0] == ids[1] and all(0 <= i < 4000 for i in ids[0])
        assert [tokenizer.decode(ids[0]) for tokenizer in both] == [words, words]


def test_a_tokenizer_goes_through_bytes(both):
    for tokenizer in both:
        kind, payload = tokenizer.serialized
        again = text.tokenizer_from_bytes(kind, payload, 4000, "inside.safetensors")
        assert again.encode("Hello world. Ωmega") == tokenizer.encode("Hello world. Ωmega")
        assert (again.n_bins, again.serialized) == (4000, tokenizer.serialized)


@pytest.mark.parametrize(
    "path, kind, expected",
    [
        ("x/tokenizer.json", "sentencepiece", "tokenizers"),
        ("hf://a/b/tokenizer.json@4e1e0a3e", "sentencepiece", "tokenizers"),
        ("x/me@home/tokenizer.json", "sentencepiece", "tokenizers"),
        ("x/tokenizer.model", "tokenizers", "tokenizers"),
        ("x/tokenizer", "json", "tokenizers"),
        ("x/tokenizer.model", "sentencepiece", "sentencepiece"),
        ("x/tokenizer.json.model", "anything", "sentencepiece"),
    ],
)
def test_the_library_is_chosen_by_kind_then_by_suffix(path, kind, expected):
    assert text.tokenizer_kind(path, kind) == expected


def test_a_wrong_tokenizer_file_is_refused_in_one_line_that_names_it(tmp_path):
    model, table = (
        write_sentencepiece(tmp_path / "b.model", 600),
        write_tokenizer_json(tmp_path / "b.json", 600),
    )
    for path, kind in ((model, "sentencepiece"), (table, "tokenizers")):
        with pytest.raises(
            ValueError, match=r"b\.\w+: the tokenizer has 600 tokens but .* is 4000"
        ):
            text.load_tokenizer(path, kind, 4000)
        for name, payload in (("cut", path.read_bytes()[:900]), ("empty", b""), ("none", b"hello")):
            bad = tmp_path / f"{name}{path.suffix}"
            bad.write_bytes(payload)
            with pytest.raises(ValueError, match=rf"{bad.name}: not a valid ") as caught:
                text.load_tokenizer(bad, kind, 600)
            assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"missing: cannot read the tokenizer: No such file"):
            text.load_tokenizer(tmp_path / "missing", kind, 600)
        with pytest.raises(ValueError, match=r"cannot read the tokenizer: Is a directory"):
            text.load_tokenizer(tmp_path, kind, 600)
    with pytest.raises(ValueError, match=r"b\.json: not a valid SentencePiece model"):
        text.tokenizer_from_bytes("sentencepiece", table.read_bytes(), 600, "b.json")
    with pytest.raises(ValueError, match=r"file: unknown kind of tokenizer 'words'"):
        text.tokenizer_from_bytes("words", b"", 600, "file")


def test_ids_that_the_text_table_does_not_have_are_refused():
    from tokenizers import Tokenizer, models

    gap = Tokenizer(models.WordLevel({"a": 0, "b": 999}, unk_token="a")).to_str().encode()
    with pytest.raises(ValueError, match="file: the tokenizer has ids up to 999, beyond its 2"):
        text.tokenizer_from_bytes("tokenizers", gap, 2, "file")


def test_half_a_surrogate_pair_is_named(both):
    for tokenizer in both:
        with pytest.raises(
            ValueError, match="not valid Unicode: character 4 is half of a surrogate"
        ):
            tokenizer.encode("abc\ud800d")
