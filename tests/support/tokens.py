"""Small text tokenizers made on the spot: the same vocabulary as a SentencePiece `.model` and as a
`tokenizer.json`, so that both kinds give the same ids on ordinary text.

Like the released ones: unigram, four special pieces, 256 byte pieces for unknown characters, text
taken as it is (spaces and all). `nfkc=True` gives the other common kind, which normalises the text
and squeezes spaces. The vocabulary is composed rather than trained: any size is exact, the result
is the same on every machine and library version, and it takes milliseconds.
"""

import functools
import io
import json
import random
from pathlib import Path

import numpy as np

_PUNCTUATION = ".,!?;:'-\"()[]«»“”’‘–—/&%+=*@#_$¡¿„"
_LETTERS = "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ"
_ACCENTS = "éèêëàâäáãåçñóòôöõúùûüíìîïßœæÉÈÀÁÂÄÇÑÓÖÚÜ"
_WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this have from "
    "or one had by word but not what all were we when your can said there use an each which "
    "she do how their if will up other about out many then them these so some her would make "
    "like him into time has look two more write go see number no way could people my than "
    "first water been call who oil its now find long down day did get come made may part "
    "hello world speak voice sound music sentence pocket small model listen river mountain "
    "winter summer morning evening please thank quick brown fox jumps over lazy dog question "
    "answer point three point Mr Mrs Dr le la les est une des pour dans avec bonjour monde "
    "ich bin der die das und nicht sehr guten Tag hola mundo"
)
_BYTES_FROM = 512  # smaller vocabularies have no room for the 256 byte pieces


def write_sentencepiece(path: str | Path, n_bins: int = 4000, nfkc: bool = False) -> Path:
    """Write a SentencePiece unigram model with exactly `n_bins` pieces."""
    from sentencepiece import sentencepiece_model_pb2 as schema

    pieces, bytes_from, words_from = _vocabulary(n_bins)
    model = schema.ModelProto()
    for i, (text, score) in enumerate(pieces):
        kind = schema.ModelProto.SentencePiece.NORMAL
        if i == 0:
            kind = schema.ModelProto.SentencePiece.UNKNOWN
        elif i < bytes_from:
            kind = schema.ModelProto.SentencePiece.CONTROL
        elif i < words_from:
            kind = schema.ModelProto.SentencePiece.BYTE
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type = schema.TrainerSpec.UNIGRAM
    model.trainer_spec.vocab_size = n_bins
    model.trainer_spec.byte_fallback = words_from > bytes_from
    model.trainer_spec.unk_id, model.trainer_spec.bos_id, model.trainer_spec.eos_id = 0, 1, 2
    model.trainer_spec.pad_id = 3
    model.normalizer_spec.CopyFrom(_normalizer(nfkc))
    path = Path(path)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def write_tokenizer_json(path: str | Path, n_bins: int = 4000, nfkc: bool = False) -> Path:
    """Write the same vocabulary as a `tokenizer.json`, treatment of spaces included."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers

    pieces, bytes_from, words_from = _vocabulary(n_bins)
    byte_fallback = words_from > bytes_from
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=byte_fallback))
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text, _ in pieces[:4]])
    steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    if nfkc:
        table = normalizers.Precompiled(_normalizer(nfkc).precompiled_charsmap)
        squeeze = normalizers.Replace(Regex(" {2,}"), " ")
        steps = [table, normalizers.Strip(), squeeze, *steps]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    path = Path(path)
    path.write_text(json.dumps(json.loads(tokenizer.to_str())), encoding="utf-8")
    return path


@functools.cache
def _vocabulary(n_bins: int) -> tuple[list[tuple[str, float]], int, int]:
    """(pieces with scores, index of the first byte piece, index of the first ordinary piece)."""
    fixed = ["<unk>", "<s>", "</s>", "<pad>"]
    byte_pieces = [f"<0x{b:02X}>" for b in range(256)] if n_bins >= _BYTES_FROM else []
    count = n_bins - len(fixed) - len(byte_pieces)
    ordinary = _ordinary_pieces()[:count]
    if count < 1 or len(ordinary) < count:
        raise ValueError(f"cannot compose a vocabulary of {n_bins} pieces")
    # Odd scores make ties between two segmentations impossible; float32 is what a `.model` holds.
    jitter = random.Random(f"pieces {n_bins}")
    scores = [(9.0 if len(p) == 1 else 7.5 - 0.2 * len(p)) + jitter.random() for p in ordinary]
    scored = [(p, -float(np.float32(score))) for p, score in zip(ordinary, scores, strict=True)]
    pieces = [(p, 0.0) for p in fixed + byte_pieces] + scored
    return pieces, len(fixed), len(fixed) + len(byte_pieces)


@functools.cache
def _ordinary_pieces() -> list[str]:
    digits = "0123456789"
    words = _WORDS.split()
    pieces = ["▁", *_LETTERS[:26], *_PUNCTUATION[:8], *digits, *_LETTERS[26:], *_PUNCTUATION[8:]]
    pieces += [*_ACCENTS, "...", "▁-", "'s", "ing", "ed", "er", "th", "qu", "▁1", "▁20"]
    pieces += [f"▁{w}" for w in words] + [f"▁{w.capitalize()}" for w in words]
    pieces += [w[:n] for w in words for n in range(2, len(w))]
    maker = random.Random("syllables")
    consonants, vowels = ["", *"bcdfghjklmnprstvwz", "sh", "ch", "st", "tr"], "aeiouy"
    syllables = [a + v + b for a in consonants for v in vowels for b in consonants]
    maker.shuffle(syllables)
    pieces += [s for word in syllables for s in (word, f"▁{word}")]
    return list(dict.fromkeys(pieces))


@functools.cache
def _normalizer(nfkc: bool):
    """SentencePiece's own specification of a normaliser, from a throw-away training run."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as schema

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c"] * 3),
        model_writer=out,
        vocab_size=8,
        normalization_rule_name="nmt_nfkc" if nfkc else "identity",
        remove_extra_whitespaces=nfkc,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return schema.ModelProto.FromString(out.getvalue()).normalizer_spec


_NASTY = (
    "3.14 2.5. 1.000,50 7. 8 x.5 v2.0.1 ². ².5 ٣.٤ ٣.x 1.٤ ½.5 Ⅷ.2 .5 5. 192.168.0.1 12:30 𝟑.𝟒 "
    '"Hi?", "No." \'Yes!\' “So…” «Oui ?» „Ja“, (maybe) [ok]. ‘well’, it’s don\'t rock’n’roll ” ’ " '
    "... …… . .. ?! !? ,, ;; :: , ; : - – — –, .- ?, !; …: .? .!...? ,;: ¡ ¿ 。 ！ ？ 、 ； ： "
    "Hello world the river Dr. Smith e.g. U.S.A. a I ok été naïve Zürich ß ßo ŉ ǆ ﬁne İstanbul ı Ω "
    "你好 世界。 日本語 こんにちは 한국어 שלום مرحبا हिन्दी e\u0301 a\u0308\u0323 \u0301 \u200b "
    "\u200d \u2066x\u2069 \u202eabc 🙂 👩\u200d👩\u200d👧 🇫🇷 😀😀 \ufeff \ufffd \ufffe \ue000 "
    "\U0010ffff ｆｕｌｌ ①② <s> </s> <unk> <pad> <0x41> <0xE2> <0x2E> <0xE2><0x82> ▁ ▁x x▁y ## \\ "
    "% & @ # * _ $ € £"
)
_SPACES = (*[" "] * 12, "", "", "  ", "   ", *"\n\r\t\u00a0\u3000\u2028\x1c")
_RARE = ["\x00", "\x07", "\x7f", "\ud800", "\udfff", "a\ud83d"]


def nasty_texts(count: int, seed: int = 0) -> list[str]:
    """Texts that text preparation, tokenizers and chunking may stumble over."""
    rng = random.Random(f"nasty {seed}")
    words, nasty = _WORDS.split(), _NASTY.split(" ")
    texts = ["", " ", "\n\u3000 ", ".", ",", '"', "<s>", "\ufffd", "\x00", "\ud800", "\u200b", "ß"]
    while len(texts) < count:
        if rng.random() < 0.02:  # nothing much left of it
            texts.append("".join(rng.choices((*_SPACES, '"', "«", ")"), k=rng.randrange(4))))
        plain, rare = rng.choice((0.0, 0.5, 0.9, 1.0)), rng.random() < 0.05
        commas, spaces = rng.random() < 0.2, rng.random() < 0.8
        text = ""
        for _ in range(rng.choice((1, 2, 4, 8, 16, 40, 120))):
            text += rng.choice(words if rng.random() < plain else nasty)
            text += rng.choice((", ", ",", "; ")) if commas and rng.random() < 0.5 else ""
            text += rng.choice((".", "! ", "?", "..", "; ", "…")) if rng.random() < 0.1 else ""
            text += rng.choice(_SPACES) if spaces else ""
            text += rng.choice(_RARE) if rare and rng.random() < 0.1 else ""
        texts.append(text)
    return texts
