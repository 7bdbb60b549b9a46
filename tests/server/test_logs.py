"""Logs and metrics: what operators need, and never a word of a text."""

import io
import json
import logging
import re

import pytest

from ptts_jax.server import logs
from tests.server.conftest import Served

SECRET = "xylophone"
CLIENTS = ("httpx", "httpcore")


@pytest.fixture
def logged():
    """Everything that is logged at any level, in both forms."""
    streams = {"plain": io.StringIO(), "json": io.StringIO()}
    handlers = [logging.StreamHandler(stream) for stream in streams.values()]
    for handler, form in zip(handlers, (logs.Plain(), logs.Json()), strict=True):
        handler.setFormatter(form)
        logging.getLogger().addHandler(handler)
    root, names = logging.getLogger(), ("jax", "ptts_jax.text", *CLIENTS)
    before = root.level, [logging.getLogger(name).level for name in names]
    root.setLevel(logging.DEBUG)
    logs.quiet()
    for name in CLIENTS:  # they log in this process too, the server's addresses among it
        logging.getLogger(name).setLevel(logging.CRITICAL)
    yield streams
    root.setLevel(before[0])
    for name, level in zip(names, before[1], strict=True):
        logging.getLogger(name).setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


def numbers(served: Served) -> dict[str, float]:
    lines = served.http.get("/metrics").text.splitlines()
    return {k: float(v) for k, v in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}


def test_a_request_is_a_line_with_its_figures(served: Served, logged):
    served.speak(input=f"The {SECRET} was played. ☃ It rained.")
    lines = [json.loads(line) for line in logged["json"].getvalue().splitlines()]
    [line] = [line for line in lines if line["message"].startswith("speech: ")]
    assert line["level"] == "info" and line["logger"] == "ptts_jax.server.context"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert line["result"] == "finished" and line["audio"] > 0 and line["gaps"] >= 0
    assert 0 <= line["waited"] <= line["first_audio"] <= line["took"]
    assert "speech: result finished" in logged["plain"].getvalue()


def test_no_log_ever_holds_a_text(served: Served, logged, monkeypatch):
    def broken(row):
        raise RuntimeError(f"cannot say {SECRET}")

    text = f"The {SECRET} was played."
    served.speak(input=text)
    served.speak(input=text, temperature=-1)
    served.speak(input=text, voice=SECRET)
    served.speak(input=SECRET * 1000)
    served.http.post("/v1/audio/speech", content=f'{{"input": "{text}"'.encode())
    served.http.post("/tts", data={"text": text, "voice_url": f"https://a.b/{SECRET}"})
    served.http.get(f"/{SECRET}", params={"q": SECRET})
    with monkeypatch.context() as patch:
        patch.setattr(served.engine.core.scheduler.model, "read", broken)
        assert served.speak(input=text).status_code == 500
    for stream in logged.values():
        said = stream.getvalue()
        assert "RuntimeError" in said and "in broken" in said, "where it failed is told"
        assert SECRET not in said.lower()


def test_metrics_tell_what_operators_scale_and_alarm_by(served: Served):
    before = numbers(served)
    served.speak()
    served.speak(input="")
    served.http.get("/nowhere")
    served.http.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    after = numbers(served)
    for name in ("queue_seconds", "first_audio_seconds", "request_seconds", "realtime_factor"):
        count = f"ptts_{name}_count"
        assert after[count] == before.get(count, 0) + 1, name
        buckets = [n for key, n in after.items() if key.startswith(f"ptts_{name}_bucket")]
        assert buckets == sorted(buckets) and buckets[-1] == after[count]
    for status in ("400", "401", "404"):
        error = f'ptts_errors_total{{status="{status}"}}'
        assert after[error] == before.get(error, 0) + 1
    assert after["ptts_slots"] == 4 and after["ptts_models"] == 1
    assert after["ptts_open"] == after["ptts_waiting"] == 0
    assert after["ptts_gaps_total"] >= 0
