"""Text preparation and chunking. Its examples are also put to the reference, in
test_text_live.py."""

import dataclasses
import logging

import pytest

from ptts_jax import text
from ptts_jax.model import config
from ptts_jax.model.config import TextRules
from ptts_jax.text import chunking
from tests.support.tokens import nasty_texts, write_tokenizer_json

FRENCH = config.get("french").text_rules
BARE = TextRules(append_terminal_punctuation=False, capitalize_first_letter=False)

PREPARED = [  # text, rules, text as the tokenizer gets it, frames
    ("hello world", TextRules(), "Hello world.", 3),
    ("  Hello   wide   world ", TextRules(), "Hello  wide  world.", 3),
    ("one\ntwo\r\nthree", TextRules(), "One two three.", 3),
    ("one two three four five", TextRules(), "One two three four five.", 1),
    ("is it so?", TextRules(), "Is it so?", 3),
    ("wait…", TextRules(), "Wait…", 3),
    ('He said "no"', TextRules(), 'He said "no".', 3),
    ('He said "no!"', TextRules(), 'He said "no!"', 3),
    ("He said (no,)", TextRules(), "He said (no.)", 3),
    ("and then -- ", TextRules(), "And then.", 3),
    ("well, ,: –", TextRules(), "Well.", 3),
    ("a;b", TextRules(remove_semicolons=True), "A,b.", 3),
    ("hi", TextRules(pad_with_spaces_for_short_inputs=True), " " * 8 + "Hi.", 3),
    ("a b c d e", TextRules(pad_with_spaces_for_short_inputs=True), "A b c d e.", 1),
    ("straße", TextRules(), "Straße.", 3),
    ("ßtrange", TextRules(), "SStrange.", 3),
    ("éclair", BARE, "éclair", 3),
    ("🙂", TextRules(), "🙂.", 3),
    ("!?", TextRules(), "!?", 3),
    ('""', TextRules(), '""', 3),
    ("« Oui ? », dit-il ; (non)", FRENCH, "Oui ? dit-il , non.", 1),
    ('"Hi?", she said: go', FRENCH, "Hi? she said, go.", 3),
    ("l’été", FRENCH, "L'été.", 3),
    ("x", TextRules(replace_characters=(("x", "yes\n no"),)), "Yes no.", 3),
]

CHUNKED = [  # text, max_tokens, chunks
    (
        "Hello world. The river is long. Speak now.",
        7,
        ["Hello world.", "The river is long.", "Speak now."],
    ),
    (
        "Hello world. The river is long. Speak now.",
        50,
        ["Hello world. The river is long. Speak now."],
    ),
    ("Pi is 3.14 and more. Speak.", 4, ["Pi is 3.14 and more.", "Speak."]),
    ("Point 2. 3 people speak.", 4, ["Point 2. 3 people speak."]),
    ("No. Yes! What?! So... Go", 3, ["No.", "Yes!", "What?!", "So...", "Go."]),
    (
        "the river, the world, the music, the winter",
        5,
        ["The river,", "the world,", "the music,", "the winter."],
    ),
    ("the river the world the music the winter", 5, ["The river the world the music the winter."]),
    ("a: b; c, d", 1, ["A:", "b;", "c,", "d."]),
    ("Long day. the river, the world, now", 6, ["Long day. the river,", "the world, now."]),
    ("Wait. ٣.٤ more. Go.", 2, ["Wait.", "٣.٤ more.", "Go."]),
    ("...", 50, ["..."]),
]


@pytest.mark.parametrize("raw, rules, expected, frames", PREPARED)
def test_prepared_text(raw, rules, expected, frames):
    assert text.prepare(raw, rules) == chunking.Prompt(expected, frames)


@pytest.mark.parametrize("raw", ["", "   ", "\n\t\r", "\u3000\u00a0", "\x1c"])
@pytest.mark.parametrize("rules", [TextRules(), BARE, FRENCH])
def test_an_empty_text_is_refused(raw, rules, both):
    with pytest.raises(ValueError, match="the text is empty"):
        text.prepare(raw, rules)
    with pytest.raises(ValueError, match="the text is empty"):
        text.chunks(raw, both[0], config.get("english"))


def test_a_text_that_the_rules_empty_is_refused():
    with pytest.raises(ValueError, match="the text is empty"):
        text.prepare('"«»"', FRENCH)


@pytest.mark.parametrize("raw, max_tokens, expected", CHUNKED)
def test_chunks_of_a_text(raw, max_tokens, expected, both):
    for tokenizer in both:
        assert text.split(raw, tokenizer, TextRules(), max_tokens) == expected


@pytest.mark.parametrize(
    "segments, expected",
    [
        ([], []),
        ([(0, "")], []),
        ([(1, " ")], [""]),
        ([(5, ""), (3, "a"), (1, "b")], ["a b"]),
        ([(1, ""), (3, "a"), (1, "b")], ["a b"]),
        ([(3, "a"), (9, "")], ["a"]),
        ([(3, "a"), (9, ""), (2, "b")], ["a", "b"]),
        ([(2, "a"), (1, ""), (1, "b"), (1, "c")], ["a  b", "c"]),
    ],
)
def test_segments_without_text_are_grouped_as_the_reference_does(segments, expected):
    assert chunking._grouped(segments, 4) == expected


def test_any_text_gives_chunks_or_one_clear_line(both):
    english = config.get("english")
    refused = 0
    for raw in nasty_texts(400, seed=1):
        for tokenizer in both:
            try:
                found = text.chunks(raw, tokenizer, english)
            except ValueError as error:
                refused += 1
                assert str(error).startswith("the text ") and "\n" not in str(error)
                continue
            assert found and all(c.tokens and c.max_frames > 25 for c in found)
    assert 10 < refused < 100


def test_what_a_chunk_tells_generation(both):
    english = dataclasses.replace(config.get("english"), replace_characters=())
    raw = "Hello world. The quick brown fox jumps over the lazy dog"
    for tokenizer in both:
        short, long = text.chunks(raw, tokenizer, english, max_tokens=8)
        assert short.text == "Hello world." and long.text.endswith("the lazy dog.")
        assert list(short.tokens) == tokenizer.encode(short.text)
        assert (short.frames_after_eos, long.frames_after_eos) == (5, 3)
        assert short.max_frames == text.max_frames(len(short.tokens), 12.5)
        asked = text.chunks(raw, tokenizer, english, frames_after_eos=0)
        assert [c.frames_after_eos for c in asked] == [0]
        recommended = dataclasses.replace(english, model_recommended_frames_after_eos=9)
        assert text.chunks(raw, tokenizer, recommended)[0].frames_after_eos == 9
        assert text.chunks(raw, tokenizer, recommended, 50, 1)[0].frames_after_eos == 1


def test_a_model_of_letters_says_more_tokens_in_one_go(both, caplog):
    """They are fewer words there: no reason to warn of a sentence that cannot be cut."""
    english = config.get("english")
    table = dataclasses.replace(english.flow_lm.lookup_table, n_bins=51)
    letters = dataclasses.replace(
        english, flow_lm=dataclasses.replace(english.flow_lm, lookup_table=table)
    )
    for tokenizer in both:
        often = next(n for n in range(99) if len(tokenizer.encode("the river " * n)) > 65)
        raw = ("the river " * often).strip() + "."
        for c, warnings in ((english, 1), (letters, 0)):
            caplog.clear()
            assert len(text.chunks(raw, tokenizer, c)) == 1
            assert len(caplog.records) == warnings
        cut = raw.replace("river the", "river, the")
        assert text.chunks(cut, tokenizer, letters) == text.chunks(cut, tokenizer, english)
        assert len(text.chunks(cut, tokenizer, letters)) > 1


@pytest.mark.parametrize(
    "tokens, rate, frames", [(0, 12.5, 25), (1, 12.5, 30), (50, 12.5, 234), (3, 25, 75)]
)
def test_the_most_frames_of_a_chunk(tokens, rate, frames):
    assert text.max_frames(tokens, rate) == frames


def test_a_chunk_that_is_too_long_is_warned_of(both, caplog):
    with caplog.at_level(logging.WARNING):
        text.chunks("the river " * 30, both[0], config.get("english"))
    assert "words may be skipped" in caplog.text and caplog.text.count("\n") == 1


def test_a_text_without_letters_or_digits_is_not_worth_speaking():
    for raw in ("...", "?!", "🙂 🎉", '"—"', "\u200b\u0301", "", "  "):
        with pytest.raises(ValueError, match="there is nothing to say"):
            text.check_speakable(raw)
    for raw in ("a", "7", "你", "... x", "م"):
        text.check_speakable(raw)


NUMBERS = [
    "3.14 ",
    "2. 5",
    "7.",
    "x.5 ",
    "².5",
    "٣.٤",
    "٣٣٣٣٣٣٣.",
    "1.2.3.4 ",
    ". ",
    "4",
    "   ",
    "<0xE2>",
    "(",
]


def in_number_by_definition(tokens: list[int], at: int, tokenizer: text.Tokenizer) -> bool:
    before, after = tokenizer.decode(tokens[:at]), tokenizer.decode(tokens[at:])
    return before[-1:] == "." and before[-2:-1].isdigit() and after[:1].isdigit()


def test_a_decimal_point_is_seen_as_if_all_of_the_text_had_been_decoded(tmp_path, both):
    few = text.load_tokenizer(write_tokenizer_json(tmp_path / "few.json", 300, nfkc=True), "", 300)
    raws = [
        *nasty_texts(120, seed=2),
        "中文" * 40 + "3.14" + "中文" * 40,
        "²" * 30 + ".5" + "🙂" * 9,
    ]
    raws += ["".join(NUMBERS[i * k % len(NUMBERS)] for i in range(60)) for k in range(1, 13)]
    for n in range(0, 40, 3):  # one wrong byte spoils a run; pieces that decode to nothing
        raws += [f"<0xE2>{'~' * n}².5", f"x 3.٤{'~' * n}<0xE2>", f"~~<0xE2>{'~' * n} ².5"]
        raws += [f"3{'<s>' * n}.5", f"3.{'<s>' * n}5", f"{'<s>' * n}3.{'<s>' * n}x"]
    points = 0
    for raw in raws:
        for tokenizer in (*both, few):
            if any("\ud800" <= c <= "\udfff" for c in raw):
                continue
            tokens = tokenizer.encode(raw)
            for at in range(1, len(tokens)):
                expected = in_number_by_definition(tokens, at, tokenizer)
                points += expected
                assert chunking._in_number(tokens, at, tokenizer) == expected, (raw, at)
    assert points > 300


@pytest.mark.parametrize(
    "unit", ["3.14 is more. ", "3.1", "中文3.14", "٣.٤", "a, b 1.5 ", "<s>2.5"]
)
def test_work_grows_no_faster_than_the_text(unit, both):
    """Counted in tokens that are decoded or encoded: no clock."""
    for tokenizer in both:
        work = 0

        def decode(tokens, inner=tokenizer):
            nonlocal work
            work += len(tokens)
            return inner.decode(tokens)

        def encode(raw, inner=tokenizer):
            nonlocal work
            tokens = inner.encode(raw)
            work += len(tokens)
            return tokens

        counted = dataclasses.replace(tokenizer, decode=decode, _encode=encode)
        counts = []
        for length in (4_000, 8_000):
            work = 0
            text.split(unit * (length // len(unit)), counted, TextRules(), 50)
            counts.append(work)
        assert counts[1] < 2.1 * counts[0] + 1000


def test_100_kilobytes_of_text(both):
    raw = ("The quick brown fox, 3.14 jumps over 2.5 lazy dogs. Speak, please! " * 1600)[:100_000]
    for tokenizer in both:
        found = text.chunks(raw, tokenizer, config.get("english"))
        assert all(len(c.tokens) <= 60 for c in found)
        spoken = " ".join(c.text for c in found)
        assert spoken.lower().split()[:-1] == raw.lower().split()[:-1]
