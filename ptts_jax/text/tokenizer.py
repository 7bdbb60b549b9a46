"""Tokenizer files of both kinds, SentencePiece and tokenizer.json: text to ids and back.

Gives the reference's ids on any input. Knows nothing of downloads or models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Text to ids and back. `serialized` and `tokenizer_from_bytes` carry it inside other files."""

    serialized: tuple[str, bytes] = field(repr=False)  # (sentencepiece or tokenizers, file's bytes)
    n_bins: int
    decode: Callable[[Sequence[int]], str]
    piece: Callable[[int], str]
    _encode: Callable[[str], list[int]]

    def encode(self, text: str) -> list[int]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            where = f"character {error.start + 1} is half of a surrogate pair"
            raise ValueError(f"the text is not valid Unicode: {where}") from None
        return self._encode(text)


def tokenizer_kind(path: str | Path, kind: str) -> str:
    """The library for a file: what the config's `tokenizer` says, else by the file's suffix."""
    plain, pinned = str(path), str(path).split("@")[0]
    named = plain.endswith(".json") or pinned.endswith(".json")
    return "tokenizers" if kind in ("tokenizers", "json") or named else "sentencepiece"


def load_tokenizer(path: str | Path, kind: str, n_bins: int) -> Tokenizer:
    """Read a SentencePiece `.model` or a `tokenizer.json` with exactly `n_bins` tokens."""
    try:
        payload = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot read the tokenizer: {error.strerror}") from None
    return tokenizer_from_bytes(tokenizer_kind(path, kind), payload, n_bins, str(path))


def tokenizer_from_bytes(kind: str, payload: bytes, n_bins: int, name: str) -> Tokenizer:
    """As `load_tokenizer`, from a file's bytes; `name` is what error messages call it."""
    builders = {
        "sentencepiece": (_sentencepiece, "SentencePiece model"),
        "tokenizers": (_tokenizers, "tokenizer.json"),
    }
    if kind not in builders:
        raise ValueError(f"{name}: unknown kind of tokenizer {kind!r}")
    build, expected = builders[kind]
    try:
        encode, decode, piece, size, highest = build(payload)
    except Exception as error:  # whatever the library throws at a file that is not its own
        detail = " ".join(str(error).split())
        raise ValueError(f"{name}: not a valid {expected}: {detail}") from None
    if size != n_bins:
        wanted = f"flow_lm.lookup_table.n_bins is {n_bins}"
        raise ValueError(f"{name}: the tokenizer has {size} tokens but {wanted}")
    if highest > n_bins:  # the table has one row more than tokens
        raise ValueError(f"{name}: the tokenizer has ids up to {highest}, beyond its {size} tokens")
    return Tokenizer((kind, payload), size, decode, piece, encode)


def _sentencepiece(payload: bytes) -> tuple:
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor()
    model.LoadFromSerializedProto(payload)
    size = model.vocab_size()
    return model.encode, model.decode, model.id_to_piece, size, size - 1


def _tokenizers(payload: bytes) -> tuple:
    # A tokenizer.json may hold any normaliser, splitter and model. Read by the library that the
    # reference uses, it gives the same ids whatever it holds; a reader of ours would only know the
    # files it was tested on. The wheel is 3 MB and has no dependency that we don't already have.
    from tokenizers import Tokenizer as Library

    model = Library.from_buffer(payload)

    def encode(text: str) -> list[int]:
        return model.encode(text).ids

    vocabulary = model.get_vocab()
    return encode, model.decode, model.id_to_token, len(vocabulary), max(vocabulary.values())
