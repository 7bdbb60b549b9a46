"""Words and their times over HTTP and over the websocket."""

import asyncio
import base64
import io
import json

import numpy as np
import pytest
import soundfile

from ptts_jax.engine import checks
from ptts_jax.engine.checks import Fault
from ptts_jax.engine.subtitles import plain
from ptts_jax.server.tools import Speaker
from ptts_jax.server.voices import Voices
from tests.server.conftest import Served
from tests.support.websocket import conversation

TEXT = "It has 12 rooms. [pause 0.5] [rate 1.5] Nobody sleeps in them."
ASKED = {"input": TEXT, "seed": 4, "markup": True, "timestamps": True, "response_format": "wav"}
HOW = {"seed": 4, "markup": True, "normalize": True}


@pytest.fixture(scope="module")
def expected(tts):
    wave, words = tts.generate(TEXT, words=True, **HOW)
    return wave, list(map(plain, words))


def test_with_the_whole_audio(served: Served, expected):
    answer = served.speak(**ASKED)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["format"] == "wav" and body["words"] == expected[1]
    assert [TEXT[slice(*w["characters"])] for w in body["words"]] == [
        w["word"] for w in body["words"]
    ]
    wave, _ = soundfile.read(io.BytesIO(base64.b64decode(body["audio"])), dtype="float32")
    np.testing.assert_allclose(wave, np.clip(expected[0], -1, 1), atol=1e-4)


def test_among_the_events(served: Served, expected):
    answer = served.speak(**ASKED, stream_format="sse")
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "speech.audio.delta" and kinds[-1] == "speech.audio.done"
    told = [word for event in events for word in event.get("words", [])]
    assert told == expected[1]
    assert kinds.index("speech.audio.words") < len(kinds) - 2, "not only at the end"


def test_nobody_is_told_who_did_not_ask(served: Served):
    for form in ("audio", "sse"):
        for timestamps in (None, False):
            asked = {**ASKED, "timestamps": timestamps, "stream_format": form}
            assert b'"words"' not in served.speak(**asked).content
    answer = served.speak(**{**ASKED, "timestamps": "yes"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "timestamps"


def test_over_the_websocket(served: Served, tts):
    """Times go on from sentence to sentence."""
    text = "One boat came. Two more followed it. "
    heard, _ = conversation(served, text, timestamps=True, seed=4)
    told = [w for m in heard if m["type"] == "words" for w in m["words"]]
    one, first = tts.generate("One boat came.", words=True, seed=4, normalize=True)
    _, second = tts.generate("Two more followed it.", words=True, seed=4, normalize=True)
    begins = one.size / tts.sample_rate
    right = [*first, *(word.moved(1, begins) for word in second)]
    assert [w["word"] for w in told] == [w.text for w in right]
    for key in ("start", "end"):
        np.testing.assert_allclose(
            [w[key] for w in told], [getattr(w, key) for w in right], atol=2e-3
        )


WRONG = {"kind": "skipped", "text": "rooms.", "characters": [10, 16]}
CHECKED = [{"faults": [], "tries": 2}, {"faults": [WRONG], "tries": 4}]


@pytest.fixture
def judge(monkeypatch):
    """The first chunk is right when it is said again, the second never."""
    wrong = [Fault("skipped", "rooms.", (10, 16))]
    right = lambda job: job.index == 0 and job.seed > checks.NEXT_SEED  # noqa: E731
    monkeypatch.setattr(checks, "faults", lambda job, *_: [] if right(job) else wrong)


def test_what_is_said_wrong_is_said_again_and_told(served: Served, tts, judge):
    wave = tts.generate(TEXT, checks=[], **HOW)
    body = served.speak(**ASKED, check=True).json()
    heard, _ = soundfile.read(io.BytesIO(base64.b64decode(body["audio"])), dtype="float32")
    np.testing.assert_allclose(heard, np.clip(wave, -1, 1), atol=1e-4)
    assert body["checks"] == CHECKED and len(body["words"]) == 8
    answer = served.speak(**{**ASKED, "timestamps": None}, stream_format="sse", check=True)
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert events[-1]["type"] == "speech.audio.done" and events[-1]["checks"] == CHECKED
    plain = served.speak(**{**ASKED, "timestamps": None}, check=True)
    heard, _ = soundfile.read(io.BytesIO(plain.content), dtype="float32")
    np.testing.assert_allclose(heard[: wave.size], np.clip(wave, -1, 1), atol=1e-4)


def test_nobody_is_checked_who_did_not_ask(served: Served, judge, expected):
    for asked in (None, False):
        body = served.speak(**ASKED, check=asked).json()
        assert "checks" not in body and body["words"] == expected[1]
    answer = served.speak(check="yes")
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "check"


def test_checks_over_the_websocket(served: Served, judge):
    text = "One boat came. Two more followed it. "
    heard, _ = conversation(served, text, check=True, seed=4)
    told = [m["checks"] for m in heard if m["type"] == "checks"]
    assert told == [[{"faults": [], "tries": 2}]] * 2


def test_an_assistant_is_told_what_was_said_wrong(tts, tmp_path, monkeypatch):
    speaker = Speaker(tts, Voices(tts, None), tmp_path, None)
    monkeypatch.setattr(checks, "faults", lambda *_: [Fault("skipped", "boat", (4, 8))])
    said = asyncio.run(speaker.speak("One boat came.", file="a.wav", check=True))
    assert said.endswith("a.wav; said wrong: skipped 'boat'")
    assert "wrong" not in asyncio.run(speaker.speak("One boat came.", file="a.wav"))
