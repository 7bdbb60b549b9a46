"""What people already use, against `python -m ptts_jax.serve` as a process of its own."""

import asyncio
import base64
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import soundfile
import websockets

from tests.commands.test_serve import wait_until_ready
from tests.server.conftest import KEY, Shared
from tests.server.test_server import recording

pytestmark = pytest.mark.slow

TEXT = "The river was wide, and nobody knew how deep it ran."
ASKED = {"model": "tts-1", "voice": "anna", "input": TEXT, "extra_body": {"seed": 3}}


@pytest.fixture(scope="module")
def url(tts: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    shared = Shared(tts, tmp_path_factory.mktemp("served"))
    with shared.server(f"--api_key={KEY}") as (_, client):
        wait_until_ready(client)
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def spoken(data: bytes) -> int:
    """Samples of a WAV, which must not be silent."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 24000 and samples.std() > 0.001
    return len(samples)


def test_openai_in_each_of_its_ways(client: openai.OpenAI, url, tmp_path):
    speech = client.audio.speech
    whole = speech.create(**ASKED, response_format="pcm").content
    speech.create(**ASKED, response_format="wav").write_to_file(tmp_path / "out.wav")
    assert 2 * spoken((tmp_path / "out.wav").read_bytes()) == len(whole)
    with speech.with_streaming_response.create(**ASKED, response_format="pcm") as answer:
        parts = list(answer.iter_bytes(1024))
    assert len(parts) > 1 and b"".join(parts) == whole
    events = speech.with_streaming_response.create(
        **ASKED, response_format="pcm", stream_format="sse"
    )
    with events as answer:
        lines = [json.loads(line[6:]) for line in answer.iter_lines() if line]
    assert b"".join(base64.b64decode(line.get("audio", "")) for line in lines) == whole
    assert lines[-1]["type"] == "speech.audio.done"

    async def later() -> bytes:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
            asked = client.audio.speech.with_streaming_response
            async with asked.create(**ASKED, response_format="pcm") as answer:
                return b"".join([part async for part in answer.iter_bytes()])

    assert asyncio.run(later()) == whole
    with pytest.raises(openai.BadRequestError, match="nobody"):
        speech.create(**{**ASKED, "voice": "nobody"})


def curl(*arguments: str) -> bytes:
    command = ["curl", "-sS", "--fail-with-body", "--noproxy", "*"]
    command += ["-H", f"Authorization: Bearer {KEY}", *arguments]
    return subprocess.run(command, check=True, timeout=60, capture_output=True).stdout


def test_curl(url: str, tmp_path: Path):
    body = json.dumps({"input": TEXT, "voice": "anna", "response_format": "wav"})
    assert spoken(curl(f"{url}/v1/audio/speech", "-d", body)) > 4000
    assert spoken(curl(f"{url}/tts", "-F", f"text={TEXT}", "-F", "voice_url=anna")) > 4000
    (tmp_path / "me.wav").write_bytes(recording())
    sample = f"@{tmp_path / 'me.wav'}"
    assert spoken(curl(f"{url}/tts", "-F", f"text={TEXT}", "-F", f"voice_wav={sample}")) > 4000
    form = ("-F", "name=bob", "-F", "consent=true", "-F", f"audio_sample={sample}")
    assert json.loads(curl(f"{url}/v1/audio/voices", *form))["id"] == "bob"
    assert "bob" in json.loads(curl(f"{url}/v1/audio/voices"))["voices"]
    assert json.loads(curl("-X", "DELETE", f"{url}/v1/audio/voices/bob"))["deleted"]
    assert b"ptts_requests_total" in curl(f"{url}/metrics")


def test_websockets(url: str):
    async def talk() -> list[Any]:
        address = f"{url.replace('http', 'ws')}/v1/audio/speech/stream"
        headers = {"Authorization": f"Bearer {KEY}"}
        async with websockets.connect(address, additional_headers=headers, proxy=None) as wire:
            await wire.send(json.dumps({"type": "session.config", "voice": "anna"}))
            for word in TEXT.split():
                await wire.send(json.dumps({"type": "input.text", "text": f"{word} "}))
            await wire.send(json.dumps({"type": "input.done"}))
            await wire.send(json.dumps({"type": "session.close"}))
            return [message async for message in wire]

    heard = asyncio.run(asyncio.wait_for(talk(), 120))
    said = [json.loads(message)["type"] for message in heard if isinstance(message, str)]
    assert said == ["audio.start", "audio.done", "session.done"]
    assert sum(len(message) for message in heard if isinstance(message, bytes)) > 8000
