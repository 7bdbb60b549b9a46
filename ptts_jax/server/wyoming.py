"""The Wyoming protocol, as Home Assistant speaks it: text in events, at once or piece by piece.

It knows no keys: whoever reaches the port may let the server speak.
"""

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
)

import ptts_jax
from ptts_jax.audio.writing import int16
from ptts_jax.server.context import Context
from ptts_jax.server.errors import ApiError
from ptts_jax.text.arriving import Arriving
from ptts_jax.text.normalize import language_of
from ptts_jax.text.reading import DEFAULT_LANGUAGE

MOST_BYTES = 1 << 18  # of an event
MOST_QUEUED = 64  # sentences that wait; then the client waits
IDLE = 3600.0  # seconds without an event, after which a connection ends
DRAIN = 10.0  # seconds to speak on when the server ends

_log = logging.getLogger(__name__)


class Connection:
    """One client: a reader of events, and a speaker of sentences in their order."""

    def __init__(
        self, server: Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        # Sentences with their options, and events that go out after them.
        self._queue: asyncio.Queue[tuple[str, dict[str, Any]] | Event] = asyncio.Queue(MOST_QUEUED)
        self._busy = False  # with something of the queue
        self._rate: int | None = None  # of the audio that is under way
        self._arriving: Arriving | None = None  # while a text comes piece by piece
        self._how: dict[str, Any] = {}  # and what was said about it

    @property
    def speaks(self) -> bool:
        return self._busy or self._rate is not None or not self._queue.empty()

    async def run(self) -> None:
        speaker = asyncio.create_task(self._speak())
        try:
            while (event := await asyncio.wait_for(self._event(), IDLE)) is not None:
                await self._obey(event)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ApiError) as error:
            if isinstance(error, ApiError):
                await self._refuse(error)
        finally:
            speaker.cancel()
            await asyncio.gather(speaker, return_exceptions=True)
            self._writer.close()

    async def _event(self) -> Event | None:
        """The next event, whose size is known to be bounded before it is read; None at the end."""
        try:
            line = await self._reader.readline()
            if not line:
                return None
            said = json.loads(line)
            sizes = [said.get(name) or 0 for name in ("data_length", "payload_length")]
            if not all(isinstance(n, int) and 0 <= n <= MOST_BYTES for n in sizes):
                raise ValueError
            data = await self._reader.readexactly(sizes[0])
            await self._reader.readexactly(sizes[1])  # audio is not for us
            return Event(str(said["type"]), (said.get("data") or {}) | json.loads(data or b"{}"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ApiError(400, "this is no event of Wyoming", code="bad_event") from None

    async def _obey(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self._send(await run_in_threadpool(_info, self._server))
        elif Ping.is_type(event.type):
            await self._send(Pong(text=Ping.from_event(event).text).event())
        elif SynthesizeStart.is_type(event.type):
            self._how = _how(event)
            self._arriving = Arriving(markup=self._how["markup"])
        elif SynthesizeChunk.is_type(event.type) and self._arriving is not None:
            for sentence in self._arriving.add(_text(event)):
                await self._queue.put((sentence, self._how))
        elif SynthesizeStop.is_type(event.type) and self._arriving is not None:
            for sentence in self._arriving.rest():
                await self._queue.put((sentence, self._how))
            self._arriving = None
            await self._queue.put(SynthesizeStopped().event())
        elif Synthesize.is_type(event.type) and self._arriving is None:
            # While a text comes in pieces, this repeats the whole of it for older servers.
            await self._queue.put((_text(event), _how(event)))
            await self._queue.put(AudioStop().event())

    async def _speak(self) -> None:
        while True:
            item = await self._queue.get()
            self._busy = True
            try:
                if isinstance(item, Event):
                    await self._end(item)
                else:
                    await self._sentence(*item)
            except ApiError as error:
                await self._refuse(error)
            except OSError:
                return  # the client has gone; the reader notices too
            except Exception:  # its cause is in the log already
                await self._refuse(ApiError(500, "the speech broke off"))
            finally:
                self._busy = False

    async def _sentence(self, text: str, how: dict[str, Any]) -> None:
        options = {"normalize": True, "markup": how["markup"]}
        speech = await self._server.submit(text, how["voice"], options, "text")
        async with contextlib.aclosing(self._server.blocks(speech)) as blocks:
            async for block in blocks:
                await self._audio(block, speech.sample_rate)

    async def _audio(self, block: np.ndarray, rate: int) -> None:
        shape = {"rate": rate, "width": 2, "channels": 1}
        if self._rate is None:
            self._rate = rate
            await self._send(AudioStart(**shape).event())
        await self._send(AudioChunk(audio=int16(block).tobytes(), **shape).event())

    async def _end(self, event: Event) -> None:
        """The audio ends, then whatever is said about it."""
        if self._rate is not None:
            self._rate = None
            await self._send(AudioStop().event())
        if not AudioStop.is_type(event.type):
            await self._send(event)

    async def _refuse(self, error: ApiError) -> None:
        with contextlib.suppress(OSError):
            await self._send(Error(error.message, error.code).event())

    async def _send(self, event: Event) -> None:
        await async_write_event(event, self._writer)


def _text(event: Event) -> str:
    text = event.data.get("text")
    if not isinstance(text, str):
        raise ApiError(400, f"{event.type}: give a text", "text")
    return text


def _how(event: Event) -> dict[str, Any]:
    """The voice's name, and whether the text is SSML."""
    voice = event.data.get("voice")
    name = voice.get("name") if isinstance(voice, dict) else None
    return {"voice": name, "markup": event.data.get("text_format") == "ssml"}


def _info(server: Context) -> Event:
    """What Home Assistant asks first: the voices there are."""
    with server.models.lent() as loaded:
        model, names = loaded.engine.tts.name, loaded.voices.names()
    ours = Attribution("ptts_jax", "https://github.com/kyutai-labs/pocket-tts")
    about = {"attribution": ours, "installed": True, "version": ptts_jax.__version__}
    languages = [language_of(model) or DEFAULT_LANGUAGE]
    voices = [TtsVoice(name, description=name, languages=languages, **about) for name in names]
    program = TtsProgram(
        "ptts_jax",
        description=f"{model} on CPUs",
        voices=voices,
        supports_synthesize_streaming=True,
        **about,
    )
    return Info(tts=[program]).event()


@contextlib.asynccontextmanager
async def serving(server: Context, listener: socket.socket) -> AsyncIterator[None]:
    """Answers on a socket until the block ends; what is being spoken then is spoken on."""
    connections: dict[asyncio.Task, Connection] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = Connection(server, reader, writer)
        try:
            await connections[task].run()
        except asyncio.CancelledError:
            pass  # the server ends
        except Exception:
            _log.exception("a connection failed")
        finally:
            del connections[task]

    accepting = await asyncio.start_server(connected, sock=listener, limit=MOST_BYTES)
    try:
        yield
    finally:
        accepting.close()
        ends = time.monotonic() + DRAIN
        while any(c.speaks for c in connections.values()) and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        tasks = list(connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
