"""Small deterministic tokenizers for models with random weights, as either of the two file kinds.

A unigram vocabulary composed of the words that will be spoken: about as many tokens for a text as
the released vocabularies give. What it does with any other text does not matter here.
"""

import json
import random
import string
from pathlib import Path

Pieces = list[tuple[str, float]]

_SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
_BYTES = tuple(f"<0x{b:02X}>" for b in range(256))
_WHOLE = 7  # letters of the longest word that is one piece


def vocabulary(text: str, count: int) -> Pieces:
    """Exactly `count` pieces with scores: special ones, bytes, letters, the words of `text`."""
    letters = "▁" + string.ascii_letters + string.digits + string.punctuation
    words = []
    for word in text.split():
        word = word.strip(string.punctuation)
        words += [f"▁{word[:_WHOLE]}"] + [word[_WHOLE:]] * (len(word) > _WHOLE)
    own = list(dict.fromkeys([*letters, *words]))
    spare = count - len(_SPECIAL) - len(_BYTES) - len(own)
    if spare < 0:
        raise ValueError(f"a vocabulary of {count} pieces has no room for the benchmark's texts")
    fill = [chr(0xF0000 + i) for i in range(spare)]  # for private use: in no text
    # Odd scores leave no ties between two ways to cut a word, and these are exact in float32, which
    # is what a `.model` file holds.
    jitter = random.Random(0)
    scored = [(p, -(8 + 8 * (len(p) == 1) + jitter.randrange(4096) / 4096)) for p in own]
    return [(p, 0.0) for p in _SPECIAL + _BYTES] + scored + [(p, -30.0) for p in fill]


def write_sentencepiece(path: Path, text: str, count: int) -> Path:
    """A SentencePiece `.model` file."""
    from sentencepiece import sentencepiece_model_pb2 as schema

    kinds = schema.ModelProto.SentencePiece
    model = schema.ModelProto()
    for i, (piece, score) in enumerate(vocabulary(text, count)):
        kind = kinds.UNKNOWN if i == 0 else kinds.CONTROL if i < len(_SPECIAL) else kinds.NORMAL
        kind = kinds.BYTE if piece in _BYTES else kind
        model.pieces.add(piece=piece, score=score, type=kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.vocab_size = schema.TrainerSpec.UNIGRAM, count
    trainer.byte_fallback = True
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = range(4)
    normalizer.name, normalizer.add_dummy_prefix = "identity", True
    normalizer.remove_extra_whitespaces, normalizer.escape_whitespaces = False, True
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def write_json(path: Path, text: str, count: int) -> Path:
    """The same vocabulary as a `tokenizer.json`."""
    pieces = vocabulary(text, count)
    special = [
        {"id": i, "content": piece, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for i, piece in enumerate(_SPECIAL)
    ]
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizers = [{"type": "Prepend", "prepend": "▁"}, space]
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": True},
    }
    path.write_text(json.dumps(described), encoding="utf-8")
    return path
