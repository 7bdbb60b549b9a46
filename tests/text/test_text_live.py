"""Text preparation, tokenizers and chunking against the reference package: the same results, and a
ValueError wherever it fails."""

import dataclasses
import logging
import random
from types import SimpleNamespace

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from pocket_tts.models import text_chunking as reference
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.text_conditioner import JsonTokenizer, build_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ptts_jax import text
from ptts_jax.model import config
from ptts_jax.model.config import TextRules
from tests.support.tokens import nasty_texts, write_sentencepiece, write_tokenizer_json
from tests.text.test_text import CHUNKED, PREPARED

RULES_OF_CHARACTERS = (
    (),
    config.get("english").replace_characters,
    config.get("french").replace_characters,
    config.get("spanish").replace_characters,
    (("e", ""), ("o", "oo\n "), (".", ""), ("\u0301", ".")),
)
KINDS = ["4000.model", "4000.json", "4000_nfkc.model", "4000_nfkc.json", "300.model", "300.json"]
KINDS += ["20.model", "20.json", "bpe.model", "bytes.json"]
SIZES = (0, 1, 3, 5, 10, 20, 50, 1000)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)  # both sides warn of every long chunk
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict:
    """name: (ours, the reference's), for every kind of file a model may come with."""
    folder = tmp_path_factory.mktemp("tokenizers")
    found = {}

    def add(path, kind, n_bins):
        ours = text.load_tokenizer(path, kind, n_bins)
        found[path.name] = (ours, build_tokenizer(n_bins, str(path), kind))

    for n_bins, nfkc in ((4000, False), (4000, True), (300, False), (20, False)):
        name = f"{n_bins}{'_nfkc' if nfkc else ''}"
        add(write_sentencepiece(folder / f"{name}.model", n_bins, nfkc), "sentencepiece", n_bins)
        add(write_tokenizer_json(folder / f"{name}.json", n_bins, nfkc), "tokenizers", n_bins)
    corpus = [" ".join(nasty_texts(60, seed=9)).encode("utf-8", "ignore").decode()] * 2
    add(_trained_sentencepiece(folder, corpus), "sentencepiece", 600)
    add(_byte_level(folder, corpus), "tokenizers", 600)
    return found


def _trained_sentencepiece(folder, corpus):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_prefix=str(folder / "bpe"),
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        character_coverage=0.98,
        split_digits=True,
        max_sentence_length=100_000,
        minloglevel=2,
    )
    return folder / "bpe.model"


def _byte_level(folder, corpus):
    """Where one token may be a part of a character: another decoder altogether."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(corpus, trainer)
    model.save(str(folder / "bytes.json"))
    return folder / "bytes.json"


def arguments(rules: TextRules) -> dict:
    fields = {f.name: getattr(rules, f.name) for f in dataclasses.fields(rules)}
    return fields | {"replace_characters": dict(rules.replace_characters)}


def agree(ours, theirs) -> bool:
    """Both results are the same, or both fail, ours with a ValueError. Whether they gave one."""
    try:
        expected = theirs()
    except Exception:  # of whatever kind: it is not the reference's habit to check
        with pytest.raises(ValueError):
            ours()
        return False
    assert ours() == expected
    return True


def prepare_alike(raw: str, rules: TextRules) -> bool:
    return agree(
        lambda: dataclasses.astuple(text.prepare(raw, rules)),
        lambda: reference.prepare_text_prompt(raw, **arguments(rules)),
    )


def split_alike(raw: str, pair: tuple, rules: TextRules, size: int) -> bool:
    return agree(
        lambda: text.split(raw, pair[0], rules, size),
        lambda: reference.split_into_best_sentences(pair[1], raw, size, **arguments(rules)),
    )


def random_rules(rng: random.Random) -> TextRules:
    flags = [rng.random() < 0.5 for _ in range(4)]
    return TextRules(*flags, rng.choice(RULES_OF_CHARACTERS))


@pytest.mark.parametrize("raw, rules, expected, frames", PREPARED)
def test_the_examples_of_prepared_text_are_the_reference_s(raw, rules, expected, frames):
    assert reference.prepare_text_prompt(raw, **arguments(rules)) == (expected, frames)


@pytest.mark.parametrize("raw, size, expected", CHUNKED)
def test_the_examples_of_chunks_are_the_reference_s(raw, size, expected, tokenizers):
    for name in ("4000.model", "4000.json"):
        theirs = tokenizers[name][1]
        found = reference.split_into_best_sentences(theirs, raw, size, **arguments(TextRules()))
        assert found == expected


def test_nasty_texts_are_prepared_alike():
    rng = random.Random(1)
    results = [prepare_alike(raw, random_rules(rng)) for raw in nasty_texts(5000, seed=3)]
    assert results.count(True) > 4000 and results.count(False) > 10


@pytest.mark.parametrize("name", KINDS)
def test_nasty_texts_are_encoded_and_cut_alike(name, tokenizers):
    rng = random.Random(name)
    pair, results = tokenizers[name], []
    for raw in nasty_texts(2500, seed=4):
        agree(lambda raw=raw: pair[0].encode(raw), lambda raw=raw: pair[1].encode(raw))
        results.append(split_alike(raw, pair, random_rules(rng), rng.choice(SIZES)))
    assert results.count(True) > 2000 and results.count(False) > 10


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    raw=st.lists(
        st.text(max_size=12) | st.sampled_from(["3.", "1", " a. ", ", ", "…", "٣.٤", "<0xE2>"])
    ).map("".join),
    rules=st.builds(
        TextRules, *[st.booleans()] * 4, replace_characters=st.sampled_from(RULES_OF_CHARACTERS)
    ),
    size=st.sampled_from(SIZES),
)
def test_any_text_is_cut_alike(raw, rules, size, tokenizers):
    prepare_alike(raw, rules)
    for pair in tokenizers.values():
        split_alike(raw, pair, rules, size)


@pytest.mark.parametrize(
    "unit", ["3.1", "٣.٤", "中文3.14", "²(", "It is 2.5. ", "a, ", "x.5<0xE2>"]
)
def test_long_texts_are_cut_alike(unit, tokenizers):
    """Longer than any window: decimals, runs of bytes, no break at all."""
    raw = unit * (600 // len(unit)) + "end. 4.5" + unit * 40
    for pair in tokenizers.values():
        split_alike(raw, pair, TextRules(), 10)


def test_what_generation_is_told_is_what_the_reference_tells_itself(tokenizers):
    """Its loop over the chunks, with its own functions; the model is not needed for it."""
    rng = random.Random(5)
    english = config.get("english")
    told = 0
    for raw in nasty_texts(600, seed=6):
        ours, theirs = tokenizers[rng.choice(["4000.model", "4000.json"])]
        recommended, asked = rng.choice([None, None, 0, 4]), rng.choice([None, None, 0, 7])
        rules = random_rules(rng)
        c = dataclasses.replace(
            english,
            model_recommended_frames_after_eos=recommended,
            **{f.name: getattr(rules, f.name) for f in dataclasses.fields(rules)},
        )
        model = _TellingModel(theirs, c, recommended)
        size = rng.choice((5, 20, 50))

        def by_reference(model=model, raw=raw, asked=asked, size=size):
            list(TTSModel.generate_audio_stream(model, {}, raw, size, asked))
            assert model.told
            return model.told

        def by_us(raw=raw, ours=ours, c=c, size=size, asked=asked):
            found = text.chunks(raw, ours, c, size, asked)
            return [(k.text, list(k.tokens), k.frames_after_eos, k.max_frames) for k in found]

        told += agree(by_us, by_reference)
    assert told > 500


class _TellingModel:
    """Stands in for the reference's model and notes what it would generate."""

    _TOKENS_PER_SECOND_ESTIMATE = TTSModel._TOKENS_PER_SECOND_ESTIMATE
    _GEN_SECONDS_PADDING = TTSModel._GEN_SECONDS_PADDING

    def __init__(self, tokenizer, c: config.Config, recommended: int | None) -> None:
        self.flow_lm = SimpleNamespace(conditioner=SimpleNamespace(tokenizer=tokenizer))
        self.config = c
        self.model_recommended_frames_after_eos = recommended
        for name, value in arguments(c.text_rules).items():
            setattr(self, name, value)
        self.told = []

    def _generate_audio_stream_short_text(self, text_to_generate, frames_after_eos, **_):
        ids = self.flow_lm.conditioner.tokenizer.encode(text_to_generate)
        assert ids, "the reference has no embedding for an empty list"
        most = TTSModel._estimate_max_gen_len(self, len(ids))
        self.told.append((text_to_generate, ids, frames_after_eos, most))
        yield from ()


def test_the_same_library_is_chosen(tmp_path):
    model = write_sentencepiece(tmp_path / "a.model", 300).read_bytes()
    table = write_tokenizer_json(tmp_path / "a.json", 300).read_bytes()
    for name in ("t.json", "t.model", "t", "t.json.model"):
        for kind in ("tokenizers", "json", "sentencepiece", "other"):
            path = tmp_path / name
            chosen = text.tokenizer_kind(path, kind)
            path.write_bytes(table if chosen == "tokenizers" else model)
            theirs = build_tokenizer(300, str(path), kind)
            assert isinstance(theirs, JsonTokenizer) == (chosen == "tokenizers")
            assert text.load_tokenizer(path, kind, 300).serialized[0] == theirs.serialize()[0]


def test_a_serialized_tokenizer_is_what_the_reference_would_send(tokenizers):
    for ours, theirs in tokenizers.values():
        kind, payload = theirs.serialize()
        assert ours.serialized[0] == kind
        again = text.tokenizer_from_bytes(kind, payload, ours.n_bins, "sent")
        assert again.encode("Hello, 3.14 worlds…") == theirs.encode("Hello, 3.14 worlds…")
