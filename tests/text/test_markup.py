"""Marks in a text, SSML and lexicons: what is to be heard, and what is refused where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptts_jax.text import lexicon, markup
from ptts_jax.text.mapped import Mapped
from ptts_jax.text.segments import LINE, PARAGRAPH


def heard(text):
    """Segments in short: texts with their rate and voice where those are set, and pauses."""
    short = []
    for segment in markup.parse(text):
        if segment.text is None:
            short.append(segment.pause)
        else:
            said = " ".join(segment.text.text.split())
            extras = [segment.rate] * (segment.rate != 1) + [segment.voice] * bool(segment.voice)
            short.append((said, *extras) if extras else said)
    return short


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("Just words.", ["Just words."]),
        ("One. [pause 0.8] Two.", ["One.", 0.8, "Two."]),
        ("One.[pause 800ms]Two.[pause:1.5s]", ["One.", 0.8, "Two.", 1.5]),
        ("[pause 1][pause 2] Late.", [3.0, "Late."]),
        ("[pause 0]Now.", ["Now."]),
        ("Slow [rate 0.5]down[/rate] again.", ["Slow", ("down", 0.5), "again."]),
        ("[rate 2] Fast [rate] even", [("Fast", 2.0), "even"]),
        ("A [voice m] b [voice a] c [/voice] d.", ["A", ("b", "m"), ("c", "a"), "d."]),
        ("[voice a.wav][rate 1.5]Hi", [("Hi", 1.5, "a.wav")]),
        ("I [read](red) it.", ["I red it."]),
        ("See [1], [sic] and [the end].", ["See [1], [sic] and [the end]."]),
        ("A \\[pause 1] b", ["A [pause 1] b"]),
        ("A [link](https://x.org) b", ["A [link](https://x.org) b"]),
        ("One.\n\nTwo.", ["One.", PARAGRAPH, "Two."]),
        ("One\n \n\n Two", ["One", PARAGRAPH, "Two"]),
        ("One.\nTwo", ["One.", LINE, "Two"]),
        ("One.\r\nTwo.\r\n\r\nThree", ["One.", LINE, "Two.", PARAGRAPH, "Three"]),
        ('"One."\nTwo', ['"One."', LINE, "Two"]),
        ('"One."\n\nTwo', ['"One."', PARAGRAPH, "Two"]),
        ("a line that\ngoes on", ["a line that goes on"]),
        ("One.\n\n[pause 2]\n\nTwo.", ["One.", 2.0, "Two."]),
        ("\n\nOne.\n\n", ["One."]),
        ("[voice a]\nOne.\n\n[voice b]\nTwo.", [("One.", "a"), PARAGRAPH, ("Two.", "b")]),
    ],
)  # fmt: skip
def test_marks(text, segments):
    assert heard(text) == segments


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("One.\nand [pause x]", "line 2, column 5: .pause x.: give seconds from 0 to 60"),
        ("[pause]", "line 1, column 1: .pause.: give seconds"),
        ("[pause -1]", "line 1, column 1: .pause -1.: give seconds"),
        ("[pause 61]", "give seconds from 0 to 60"),
        ("[rate 9]", "line 1, column 1: .rate 9.: give a rate from 0.25 to 4"),
        ("[rate fast]", "give a rate .*backslash"),
        ("x\n\n [puase 0.8]", r"line 3, column 2: .puase 0.8. is no mark; did you mean .pause"),
        ("[word]()", "line 1, column 1: .* has no respelling"),
    ],
)
def test_marks_that_cannot_be_understood(text, error):
    with pytest.raises(ValueError, match=error) as caught:
        markup.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "segments"),
    [
        ("Hello there.", ["Hello there."]),
        ("A<break time='500ms'/>b<break time='1.5s'/>c", ["A", 0.5, "b", 1.5, "c"]),
        ("A<break strength='strong'/>b<break/>c", ["A", 0.7, "b", 0.4, "c"]),
        ("<p>One.</p><p>Two.</p>", ["One.", PARAGRAPH, "Two."]),
        ("<s>One.</s> <s>Two.</s>", ["One.", LINE, "Two."]),
        ("<prosody rate='fast'>A</prosody> b", [("A", 1.25), "b"]),
        ("<prosody rate='150%'>A</prosody>", [("A", 1.5)]),
        ("<prosody rate='+50%'>A</prosody>", [("A", 1.5)]),
        ("<prosody rate='2'>A<prosody rate='50%'>b</prosody></prosody>", [("A", 2.0), "b"]),
        ("<voice name='marius'>A</voice> b", [("A", "marius"), "b"]),
        ("The <sub alias='World Wide Web'>WWW</sub> is", ["The World Wide Web is"]),
        ("<say-as interpret-as='characters'>AB1</say-as> x", ["A B 1 x"]),
        ("<say-as interpret-as='cardinal'>12</say-as>", ["12"]),
        ("Tom &amp; J&#233;r&#xF4;me", ["Tom & Jérôme"]),
        ("<![CDATA[&x <b>]]>", ["&x <b>"]),
        ("line\n  breaks   are\tspaces", ["line breaks are spaces"]),
    ],
)
def test_ssml(body, segments):
    assert heard(f"<speak>{body}</speak>") == segments
    assert heard(f'<?xml version="1.0"?>\n<speak version="1.1">{body}</speak>') == segments


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><speak>&b;</speak>'
OUTSIDE = '<!DOCTYPE speak [<!ENTITY x SYSTEM "file:///etc/passwd">]><speak>&x;</speak>'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (BOMB, "line 1, column 13: a document type is not allowed"),
        (OUTSIDE, "a document type is not allowed"),
        ("<speak>&x;</speak>", "line 1, column 8: not well-formed SSML: undefined entity"),
        ("<speak>\n<audio/></speak>", "line 2, column 1: <audio> is not understood; there"),
        ("<speak><prosody pitch='1'>x</prosody></speak>", "<prosody pitch=...> is not understood"),
        ("<speak><prosody rate='9'>x</prosody></speak>", "column 8: <prosody>: give a rate"),
        ("<speak><break time='x'/></speak>", "<break>: give seconds"),
        ("<speak><break strength='x'/></speak>", "<break>: give a strength of none"),
        ("<speak><voice>x</voice></speak>", "<voice>: give a name"),
        ("<speak><sub>x</sub></speak>", "<sub>: give an alias"),
        ("<speak><say-as>x</say-as></speak>", "<say-as>: give an interpret-as of characters"),
        ("<speak>no end", "line 1, column 14: not well-formed SSML: no element found"),
        ("<speak>a</speak><speak/>", "not well-formed SSML: junk after document element"),
        ("<?xml version='1.0'?><p>x</p>", "<p> stands outside; put the text into <speak>"),
        ("<speak>\ud800</speak>", "not valid Unicode"),
    ],
)  # fmt: skip
def test_ssml_that_is_refused(text, error):
    with pytest.raises(ValueError, match=error) as caught:
        markup.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "One [two](too) three.\n\nFour [rate 2]five.",
        "<speak>\nÉ &amp; <sub alias='too'>two</sub>\r\n<p>thrée</p> four</speak>",
        '<?xml version="1.0"?><speak>a<![CDATA[ b ]]>c</speak>',
    ],
)
def test_words_know_their_place(text):
    for segment in markup.parse(text):
        for word in segment.text.words() if segment.text else []:
            source = text[word.start : word.end]
            assert source == {"too": "two", "&": "&amp;"}.get(word.text, source)
            if word.text not in ("too", "&", "abc"):
                assert word.text == source.replace("<![CDATA[", "")


@given(st.text(alphabet='[]() \n.!"voicepausert/012<>&;\\'))
def test_any_text_is_parsed_or_refused(text):
    for begin in ("", "<speak>"):
        try:
            segments = markup.parse(begin + text)
        except ValueError as error:
            assert "\n" not in str(error)
            continue
        for segment in segments:
            assert (segment.text is None) == (segment.pause > 0)


@given(st.text(alphabet="abc .,!?\n\t'", max_size=60))
def test_nothing_but_lines_is_changed(text):
    said = "".join(s.text.text if s.text else "" for s in markup.parse(text))
    assert "".join(said.split()) == "".join(text.split())


def test_lexicon(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("# names\nkyutai = kew tie\n\nUS = U S\nC++ = C plus plus\n", "utf-8")
    say = lexicon.applier(lexicon.read(path))
    text = say(Mapped.of("KYUTAI and Kyutai's US, us, kyutais, C++."))
    assert text.text == "kew tie and kew tie's U S, us, kyutais, C plus plus."
    assert [(w.start, w.end) for w in text.words()][:2] == [(0, 6), (0, 6)]
    nothing = Mapped.of("x")
    assert lexicon.applier({})(nothing) is nothing


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("a = b\n  just a word\n", "line 2, column 3: write a line as word = respelling"),
        ("a =\n", "line 1, column 1: write a line as"),
        ("a = b\na = c", "line 2, column 1: 'a' stands here twice"),
    ],
)
def test_a_lexicon_with_errors(tmp_path, content, error):
    path = tmp_path / "names.txt"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=f"names.txt, {error}"):
        lexicon.read(path)


def test_a_lexicon_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="cannot read the lexicon: No such file"):
        lexicon.read(tmp_path / "none.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff = x")
    with pytest.raises(ValueError, match="not UTF-8"):
        lexicon.read(tmp_path / "bad.txt")
