"""From a text to what the language model is given: token ids per chunk, and their limits."""

from ptts_jax.text.chunking import (
    ENDLESS,
    MAX_LETTERS,
    MAX_TOKENS,
    Chunk,
    check_speakable,
    chunks,
    longest_chunk,
    max_frames,
    prepare,
    split,
)
from ptts_jax.text.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_bytes, tokenizer_kind

__all__ = [
    "ENDLESS",
    "MAX_LETTERS",
    "MAX_TOKENS",
    "Chunk",
    "Tokenizer",
    "check_speakable",
    "chunks",
    "load_tokenizer",
    "longest_chunk",
    "max_frames",
    "prepare",
    "split",
    "tokenizer_from_bytes",
    "tokenizer_kind",
]
