"""The tokenizer of a model trained here: single characters, small letters, as SentencePiece.

Few symbols suit a small model: it meets each of them often. Knows texts; no audio and no model.
"""

import io
from collections.abc import Iterable
from pathlib import Path

from ptts_jax.store.paths import atomic_write
from ptts_jax.text import Tokenizer, load_tokenizer, tokenizer_from_bytes

KIND = "sentencepiece"
# Known whether the corpus has them or not: a voice should not fall silent at an ampersand.
ALWAYS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?;:'\"()-"


def train(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of the characters that occur in `texts` and of those in ALWAYS."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="char",
        vocab_size=1000,  # at most
        hard_vocab_limit=False,
        character_coverage=0.9999,
        required_chars=ALWAYS,
        normalization_rule_name="nmt_nfkc_cf",  # cf: capitals are read as small letters
        minloglevel=2,
    )
    return parse(model.getvalue(), "the new tokenizer")


def parse(payload: bytes, name: str) -> Tokenizer:
    """A tokenizer from a file's bytes, whatever its size."""
    from sentencepiece import SentencePieceProcessor

    try:
        size = SentencePieceProcessor(model_proto=payload).vocab_size()
    except Exception as error:  # whatever the library throws at a file that is not its own
        raise ValueError(f"{name}: not a SentencePiece model: {error}") from None
    return tokenizer_from_bytes(KIND, payload, size, name)


def save(path: Path, tokenizer: Tokenizer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        beside.write_bytes(tokenizer.serialized[1])


def load(path: Path, n_bins: int) -> Tokenizer:
    return load_tokenizer(path, KIND, n_bins)
