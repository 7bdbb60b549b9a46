"""Home Assistant's protocol on loopback, with the client of its own package."""

import asyncio
import json
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import uvicorn
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from ptts_jax.engine.service import Engine
from ptts_jax.server import wyoming
from ptts_jax.server.models import Models
from ptts_jax.server.voices import Voices
from tests.server.conftest import Served, serving_models
from tests.support import tiny_files

FIRST = "The river was wide, and nobody knew how deep it ran."
SECOND = "Three boats came down that morning."


@pytest.fixture(scope="module")
def home(tts, tmp_path_factory) -> Iterator[tuple[Served, int]]:
    """A server and the port for Home Assistant."""
    folder = tmp_path_factory.mktemp("voices")
    tts.voice(tiny_files.speech(2.0, seed=3)).save(folder / "anna.safetensors")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        models = Models.single(Engine(tts, 2, 8), Voices(tts, folder))
        with serving_models(models, wyoming=listener) as served:
            yield served, port
            served.wait_until_idle()


def talk(port: int, *events, until) -> list:
    """What the server answers, up to an event of a kind."""

    async def run() -> list:
        answers = []
        async with AsyncTcpClient("127.0.0.1", port) as client:
            for event in events:
                await client.write_event(event.event())
            while not answers or not until.is_type(answers[-1].type):
                event = await asyncio.wait_for(client.read_event(), 60)
                assert event is not None, f"it hung up after {[a.type for a in answers]}"
                answers.append(event)
        return answers

    return asyncio.run(run())


def samples(answers: list) -> np.ndarray:
    """The audio between one start and one stop."""
    kinds = [answer.type for answer in answers]
    assert kinds[0] == "audio-start" and kinds.count("audio-start") == 1
    assert kinds.count("audio-stop") == 1
    start = AudioStart.from_event(answers[0])
    assert (start.rate, start.width, start.channels) == (24000, 2, 1)
    chunks = [AudioChunk.from_event(a).audio for a in answers if AudioChunk.is_type(a.type)]
    assert len(chunks) > 1, "it streams"
    return np.frombuffer(b"".join(chunks), "<i2")


def test_it_describes_its_voices(home):
    [answer] = talk(home[1], Describe(), until=Info)
    [program] = Info.from_event(answer).tts
    assert program.supports_synthesize_streaming and program.installed
    assert [voice.name for voice in program.voices] == ["anna"]
    assert program.voices[0].languages == ["en"]


def test_a_text_at_once(home, tts):
    how = SynthesizeVoice(name="anna")
    answers = talk(home[1], Synthesize(FIRST, voice=how), until=AudioStop)
    voice = home[0].voices.resolve("anna")
    frame = tts.config.mimi.frame_size
    given = samples(answers)
    assert given.std() > 100 and len(given) % frame == 0
    assert len(given) <= len(tts.generate(FIRST, voice, seed=0, eos_threshold=1e9))


def test_a_text_piece_by_piece(home):
    pieces = [FIRST[:10], FIRST[10:] + " " + SECOND[:7], SECOND[7:]]
    events = [SynthesizeStart(), *map(SynthesizeChunk, pieces)]
    whole = Synthesize(f"{FIRST} {SECOND}")  # what it sends along for older servers
    answers = talk(home[1], *events, whole, SynthesizeStop(), until=SynthesizeStopped)
    assert answers[-2].type == "audio-stop"
    assert samples(answers).std() > 100


def test_it_speaks_before_the_text_is_complete(home):
    async def run() -> None:
        async with AsyncTcpClient("127.0.0.1", home[1]) as client:
            await client.write_event(SynthesizeStart().event())
            await client.write_event(SynthesizeChunk(f"{FIRST} And").event())
            event = await asyncio.wait_for(client.read_event(), 60)
            assert AudioStart.is_type(event.type)

    asyncio.run(run())


def test_ssml(home):
    text = "<speak>Hello <break time='0.5s'/> there.</speak>"
    answers = talk(home[1], Synthesize(text, text_format="ssml"), until=AudioStop)
    loud = np.flatnonzero(samples(answers))
    assert np.diff(loud).max() > 12000, "half a second without a sound in the middle"


def test_what_cannot_be_spoken_is_an_error_and_the_next_text_is_spoken(home):
    events = [Synthesize("?!"), Synthesize("Hello.", voice=SynthesizeVoice(name="nobody"))]
    answers = talk(home[1], *events, Synthesize("Hello."), until=AudioChunk)
    assert [Error.is_type(a.type) for a in answers[:2]] == [True, True]
    assert "nobody" in Error.from_event(answers[1]).text


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b'{"type": "synthesize", "data_length": 99999999999}\n',
        b'{"type": "synthesize", "payload_length": -1}\n',
        b'{"type": "synthesize", "data_length": 3}\nabc',
        b"[" * 100_000 + b"\n",
        b"x" * (wyoming.MOST_BYTES * 3),
    ],
)
def test_what_is_no_event_is_refused(home, line):
    with socket.create_connection(("127.0.0.1", home[1]), timeout=30) as strange:
        strange.sendall(line)
        answer = strange.recv(4096)
        while b"\n" not in answer:
            answer += strange.recv(4096)
        assert json.loads(answer.splitlines()[0])["type"] == "error"


def test_who_leaves_frees_the_row(home):
    served, port = home

    async def run() -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Synthesize(f"{FIRST} " * 20).event())
            while not AudioChunk.is_type((await client.read_event()).type):
                pass

    asyncio.run(run())
    served.wait_until_idle()


def test_what_is_spoken_when_the_server_ends_is_spoken_on(tts, monkeypatch):
    servers: list[uvicorn.Server] = []
    run = uvicorn.Server.run
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda self, **more: (servers.append(self), run(self, **more))
    )

    async def listen(port: int) -> list[str]:
        kinds = []
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Synthesize(FIRST).event())
            while event := await asyncio.wait_for(client.read_event(), 60):
                kinds.append(event.type)
                servers[0].should_exit = True
        return kinds

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        models = Models.single(Engine(tts, 1, 8), Voices(tts))
        with serving_models(models, wyoming=listener):
            kinds = asyncio.run(listen(listener.getsockname()[1]))
    assert kinds[0] == "audio-start" and kinds[-1] == "audio-stop"
