"""Marks, numbers, lexicons and speed over HTTP: what the command, Python and the engine give."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax import speak
from tests.server.conftest import Served
from tests.support.websocket import conversation

TEXTS = {
    "plain": "The river was wide, and nobody knew how deep it ran.",
    "pauses": "[pause 0.2]One boat, 3 men. [pause 0.5] Two boats [pause 60ms] came.",
    "rates": "One boat. [rate 1.5] Two boats, said Dr. No. [/rate] [pause 0.1] Three boats.",
    "voices": "One boat. [voice anna] Two boats.\n\n[voice] Three boats came. [pause 0.3]",
    "respelled": "I [read](red) it. The boats came.",
    "ssml": "<speak>One boat.<break time='200ms'/><prosody rate='2'>Two boats.</prosody></speak>",
}
HOW = {"seed": 5, "normalize": True, "markup": True, "lexicon": {"boats": "ships"}, "speed": 1.1}


@pytest.fixture
def anna(served: Served, tmp_path, monkeypatch):
    """The server's second voice as a file, which the other ways in can name."""
    monkeypatch.chdir(tmp_path)
    served.voices.resolve("anna").save(tmp_path / "anna.safetensors")
    return "anna.safetensors"


def as_written(wave: np.ndarray) -> np.ndarray:
    """As 16 bits hold it."""
    return (np.clip(wave, -1, 1) * 32767).astype("<i2")


def by_http(served: Served, text: str, **how) -> np.ndarray:
    answer = served.speak(input=text, response_format="pcm", **how)
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, "<i2")


def by_socket(served: Served, *texts: str, **how) -> np.ndarray:
    told, samples = conversation(served, *texts, **how)
    assert not [m for m in told if m["type"] == "error"], told
    return samples


@pytest.mark.parametrize("kind", TEXTS)
def test_every_way_in_gives_the_same_samples(served: Served, tts, anna, kind):
    text = TEXTS[kind]
    with_file = text.replace("[voice anna]", f"[voice {anna}]")
    wave = tts.generate(with_file, **HOW)
    np.testing.assert_array_equal(np.concatenate(list(tts.stream(with_file, **HOW))), wave)
    np.testing.assert_array_equal(
        np.concatenate(list(served.engine.submit(with_file, **HOW))), wave
    )
    np.testing.assert_array_equal(by_http(served, text, **HOW), as_written(wave))


def test_the_command_gives_the_same_samples(served: Served, tts, anna, tmp_path, monkeypatch):
    monkeypatch.setattr(ptts_jax, "load", lambda *_, **__: tts)
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    (tmp_path / "names.txt").write_text("boats = ships\n")
    flags = ["--seed=5", "--lexicon=names.txt", "--speed=1.1", "--output=out.wav", "--quiet"]
    for text in TEXTS.values():
        with_file = text.replace("[voice anna]", f"[voice {anna}]")
        assert speak.main(["speak", *flags, with_file]) == 0
        given, rate = soundfile.read("out.wav", dtype="int16")
        np.testing.assert_array_equal(given[: -int(0.2 * rate)], by_http(served, text, **HOW))


def test_a_sentence_over_the_socket_is_the_same(served: Served):
    for text in ("[pause 0.2] One boat, [rate 1.5] 3 men.", TEXTS["ssml"]):
        given = by_socket(served, *text, **HOW)  # letter by letter
        np.testing.assert_array_equal(given, by_http(served, text, **HOW))


def test_over_the_socket_marks_hold_until_the_text_changes_them(served: Served):
    pieces = ["One boat. [rate 1.5][voice an", "na] Two boats.\n", "\nThree boats.[/voice] Four."]
    given = by_socket(served, *pieces, **HOW)
    sentences = ["One boat.", "[rate 1.5][voice anna] Two boats."]
    sentences += ["[pause 0.7][rate 1.5][voice anna] Three boats.[/voice] Four."]
    np.testing.assert_array_equal(
        given, np.concatenate([by_http(served, sentence, **HOW) for sentence in sentences])
    )


def test_voices_may_be_mixed(served: Served):
    text, how = "One boat came.", {"seed": 5}
    alone = by_http(served, text, voice="anna", **how)
    np.testing.assert_array_equal(by_http(served, text, voice="anna:1.0", **how), alone)
    twice = by_http(served, text, voice="anna:0.5,anna:0.5", **how)
    np.testing.assert_allclose(twice, alone, atol=3)
    inside = by_http(served, f"[voice anna:0.5,anna:0.5] {text}", markup=True, **how)
    np.testing.assert_array_equal(inside, twice)
    for wrong in ("anna:0.5,nobody:0.5", "anna:0.5,anna:0.2", "anna:0.5,/etc/passwd:0.5"):
        answer = served.speak(voice=wrong)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "voice"


def test_a_loudness_is_that_of_the_stream(served: Served, tts):
    text = "One boat. [pause 0.3] Two boats, three boats came down the river."
    how = {"seed": 5, "markup": True, "normalize": True, "loudness": -20}
    wave = np.concatenate(list(tts.stream(text, **how)))
    np.testing.assert_array_equal(np.concatenate(list(served.engine.submit(text, **how))), wave)
    np.testing.assert_array_equal(by_http(served, text, **how), as_written(wave))


def test_numbers_are_said_in_words_unless_it_is_forbidden(served: Served, tts):
    text = "It has 12 rooms."
    for how in ({}, {"normalize": False}):
        expected = tts.generate(text, seed=2, **{"normalize": True, **how})
        np.testing.assert_array_equal(by_http(served, text, seed=2, **how), as_written(expected))
    plain = served.http.post("/tts", data={"text": "One [pause 1] two."})
    assert plain.status_code == 200, "the original's form knows no marks"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"input": "One.\nTwo [pause x]"}, "input", "line 2, column 5: [pause x]"),
        ({"input": "One. [voice nobody] Two."}, "input", "line 1, column 6: there is no voice"),
        ({"input": "One. [voice /etc/passwd] Two."}, "input", "line 1, column 6: there is no v"),
        ({"input": "One. [voice hf://a/b/c.wav] Two."}, "input", "line 1, column 6: voices are"),
        ({"input": "One. [voice anna.safetensors] Two."}, "input", "line 1, column 6: there is no"),
        ({"input": "One [rate 3] two.", "speed": 2}, "input", "line 1, column 13: speed 2 at rate"),
        ({"input": "<speak>One"}, "input", "line 1, column 11: not well-formed"),
        ({"input": "[pause 1]"}, "input", "there is nothing to say"),
        ({"markup": "yes"}, "markup", "give True or False"),
        ({"lexicon": "/etc/passwd"}, "lexicon", "give an object"),
        ({"lexicon": {"a": 1}}, "lexicon", "give an object"),
        ({"loudness": 3}, "loudness", "give LUFS from -60 to -5"),
        ({"language": {}}, "language", "give one of"),
        ({"speed": float("nan")}, "speed", "give a number from 0.25 to 4"),
    ],
)
def test_what_is_wrong_is_said_before_any_audio(served: Served, anna, body, param, words):
    sent = json.dumps({"input": "Hello.", "markup": True, **body})
    answer = served.http.post("/v1/audio/speech", content=sent)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param and words in error["message"] and "\n" not in error["message"]


def test_a_wrong_mark_over_the_socket_spoils_its_sentence_alone(served: Served):
    text = "Lost [pause x] words. Hello there."
    told, given = conversation(served, text, markup=True, seed=1)
    kinds = [m["type"] for m in told]
    assert kinds == ["error", "audio.start", "audio.done", "session.done"]
    np.testing.assert_array_equal(given, by_http(served, "Hello there.", seed=1))
