"""/v1/audio/speech and /tts with real clients on loopback: what they send and what they hear."""

import base64
import io
import json
import threading
import time

import httpx
import numpy as np
import openai
import pytest
import soundfile

from ptts_jax.server.formats import FORMATS
from tests.server.conftest import KEY, Served, serving
from tests.server.test_formats import decoded
from tests.support import tiny_files

TEXT = "The river was wide, and nobody knew how deep it ran."
ENDLESS = {"eos_threshold": 1e9}


@pytest.fixture
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0)


def test_the_same_audio_as_the_library_gives(served: Served, tts):
    answer = served.speak(input=TEXT, response_format="wav", seed=5)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    expected = tts.generate(TEXT, seed=5)
    given, _ = decoded(answer.content, "wav")
    assert given.shape == expected.shape
    np.testing.assert_allclose(given, np.clip(expected, -1, 1), atol=1e-4)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_whole_speech(served: Served, tts, kind):
    answer = served.speak(input=TEXT, response_format=kind, seed=5)
    assert answer.status_code == 200 and answer.headers["content-type"] == FORMATS[kind][0]
    expected = tts.generate(TEXT, seed=5)
    given, rate = decoded(answer.content, kind)
    seconds = len(given) / rate
    assert abs(seconds - len(expected) / 24000) < 0.15
    assert 0.5 < given.std() / expected.std() < 2


def test_the_openai_package_writes_a_file(client, tmp_path):
    path = tmp_path / "out.mp3"
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TEXT
    ) as answer:
        answer.stream_to_file(path)
    assert soundfile.info(path).duration > 0.2


def test_the_openai_package_reads_events(client):
    with client.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="anna",
        input=TEXT,
        response_format="pcm",
        extra_body={"stream_format": "sse", "seed": 5},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    audio = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    plain = client.audio.speech.create(
        model="tts-1", voice="anna", input=TEXT, response_format="pcm", extra_body={"seed": 5}
    )
    assert audio == plain.content


def test_the_openai_package_understands_errors(served, client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.speech.create(model="tts-1", voice="nobody", input=TEXT)
    assert refused.value.param == "voice" and refused.value.type == "invalid_request_error"
    stranger = openai.OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as unknown:
        stranger.models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")
    assert [model.id for model in client.models.list()] == [served.engine.tts.name]


def test_speed_and_numbers_in_words(served: Served, tts):
    plain = served.speak(input="It has 12 rooms.", seed=2, response_format="pcm").content
    body = {"input": "It has 12 rooms.", "seed": 2, "response_format": "pcm"}
    fast = served.speak(**body, speed=2).content
    assert abs(len(fast) / len(plain) - 0.5) < 0.02
    said = served.speak(**body, normalize=True).content
    expected = tts.generate("It has 12 rooms.", seed=2, normalize=True)
    assert len(said) == 2 * len(expected)


def test_a_voice_may_be_an_object(served: Served):
    by_name = served.speak(voice="anna", seed=1, response_format="wav").content
    assert served.speak(voice={"id": "anna"}, seed=1, response_format="wav").content == by_name
    assert served.speak(voice=None, seed=1, response_format="wav").content != by_name


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "?!"}, "input"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": "\ud800"}, "input"),
        ({"input": "a" * 5000}, "input"),
        ({"response_format": "midi"}, "response_format"),
        ({"response_format": ["wav"]}, "response_format"),
        ({"stream_format": "carrier pigeon"}, "stream_format"),
        ({"speed": 9}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"normalize": 3}, "normalize"),
        ({"language": "xx"}, "language"),
        ({"speed": True}, "speed"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"voice": 3}, "voice"),
        ({"voice": {"name": "anna"}}, "voice"),
        ({"voice": {"id": None}}, "voice"),
        ({"voice": "../anna"}, "voice"),
        ({"voice": "/etc/passwd"}, "voice"),
        ({"voice": "anna.safetensors"}, "voice"),
        ({"voice": "https://example.com/a.wav"}, "voice"),
        ({"voice": "hf://kyutai/x/y.wav"}, "voice"),
    ],
)
def test_what_is_wrong_is_said(served: Served, body, param):
    answer = served.http.post(
        "/v1/audio/speech", content=json.dumps({"input": "Hello.", **body}).encode()
    )
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param and error["type"] == "invalid_request_error"
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"input": "a"'])
def test_bodies_that_are_no_objects(served: Served, content):
    answer = served.http.post("/v1/audio/speech", content=content)
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_unknown_paths_and_methods(served: Served):
    assert served.http.get("/v1/nothing").json()["error"]["message"]
    assert served.http.get("/v1/nothing").status_code == 404
    assert served.http.get("/health/").status_code == 404, "no redirect to a host of one's choice"
    assert served.http.get("/v1/audio/speech").status_code == 405


def test_the_form_of_the_original(served: Served):
    answer = served.http.post("/tts", data={"text": TEXT})
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    assert "generated_speech.wav" in answer.headers["content-disposition"]
    assert len(decoded(answer.content, "wav")[0]) > 4800
    named = served.http.post("/tts", data={"text": TEXT, "voice_url": "anna"})
    assert named.status_code == 200
    recording = io.BytesIO()
    soundfile.write(recording, tiny_files.speech(1.5, seed=4), 24000, format="WAV")
    files = {"voice_wav": ("me.wav", recording.getvalue())}
    assert served.http.post("/tts", data={"text": TEXT}, files=files).status_code == 200
    both = served.http.post("/tts", data={"text": TEXT, "voice_url": "anna"}, files=files)
    assert both.status_code == 400 and "both" in both.json()["detail"]
    assert served.http.post("/tts", data={"text": " "}).json()["detail"] == "Text cannot be empty"
    broken = served.http.post("/tts", data={"text": TEXT}, files={"voice_wav": ("a", b"no audio")})
    assert broken.status_code == 400


def test_who_leaves_frees_the_row(served: Served):
    body = {"input": TEXT, "response_format": "pcm", **ENDLESS, "max_tokens": 400}
    body["input"] = " ".join([TEXT] * 30)
    with served.http.stream("POST", "/v1/audio/speech", json=body) as answer:
        assert answer.status_code == 200
        parts = answer.iter_raw()
        next(parts)
        assert served.engine.busy["open"] == 1
    served.wait_until_idle()


def test_too_many_are_told_when_to_come_again(tts):
    long = {"input": " ".join([TEXT] * 60), "response_format": "pcm", **ENDLESS}
    with serving(tts, slots=1, most_waiting=1) as served:
        held = [served.http.stream("POST", "/v1/audio/speech", json=long) for _ in range(2)]
        readers = [one.__enter__().iter_raw() for one in held]
        for reader in readers:
            next(reader)
        rest = {"url": f"{served.url}/v1/audio/speech", "json": {"input": "Hello."}}
        waits = threading.Thread(
            target=httpx.post, kwargs={**rest, "headers": served.headers, "timeout": 300}
        )
        waits.start()
        ends = time.monotonic() + 120
        while served.engine.busy["waiting"] == 0:
            assert time.monotonic() < ends and waits.is_alive()
            time.sleep(0.01)
        refused = served.speak()
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        for one in held:
            one.__exit__(None, None, None)
        waits.join()


def test_a_failure_is_no_news_to_the_client(served: Served, monkeypatch, caplog):
    def broken(row):
        raise RuntimeError("the details of the inside")

    monkeypatch.setattr(served.engine.core.rows, "read", broken)
    answer = served.speak(input="Nobody may read this.")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "speech_failed"
    assert "inside" not in answer.text
    assert "inside" in caplog.text and "Nobody" not in caplog.text
