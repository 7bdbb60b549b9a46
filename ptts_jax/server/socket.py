"""Websocket /v1/audio/speech/stream: text in as it is written, audio out as it is spoken.

From the client, as JSON: session.config, input.text {text}, input.flush {id}, input.done, cancel,
session.close. To the client: audio.start {format, sample_rate}, audio in binary messages,
words {words}, checks {checks}, flushed {id}, audio.done, session.done, error.
"""

import asyncio
import json
from dataclasses import asdict
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ptts_jax.engine.speech import Speech
from ptts_jax.engine.subtitles import plain
from ptts_jax.server.context import OPTIONS, Context, options_of
from ptts_jax.server.errors import ApiError
from ptts_jax.server.formats import FORMATS, OPENAI_RATE, Encoder
from ptts_jax.server.speech import switch
from ptts_jax.text.arriving import Arriving
from ptts_jax.text.segments import Script

MOST_QUEUED = 256  # sentences that wait to be spoken
IDLE = 300.0  # seconds without a message, after which the connection ends


class Session:
    """One connection: a reader of messages, and a speaker of sentences in their order."""

    def __init__(self, socket: WebSocket, server: Context) -> None:
        self._socket = socket
        self._server = server
        self._config: dict[str, Any] = {}
        self._format = "pcm"
        # Words and their times are asked for, and whether they were said right.
        self._asked = {"timestamps": False, "check": False}
        self._arriving = Arriving()
        self._script: Script | None = None  # where marks are obeyed
        # Sentences, and what is to be said to the client after them.
        self._queue: asyncio.Queue[str | dict[str, Any]] = asyncio.Queue(MOST_QUEUED)
        self._speech: Speech | None = None
        self._encoder: Encoder | None = None  # while audio is under way
        self._samples = 0  # of it

    async def run(self) -> None:
        await self._socket.accept()
        speaker = asyncio.create_task(self._speak())
        try:
            while await self._read():
                pass
            await self._queue.join()
            await self._send({"type": "session.done"})
            await self._socket.close()
        except (WebSocketDisconnect, TimeoutError):
            pass
        finally:
            speaker.cancel()
            self._cancel()
            await asyncio.gather(speaker, return_exceptions=True)
            if self._socket.application_state is WebSocketState.CONNECTED:
                await self._socket.close()

    async def _read(self) -> bool:
        """One message of the client; whether more may come."""
        message = await asyncio.wait_for(self._socket.receive(), IDLE)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        try:
            said = json.loads(message.get("text") or "null")
            kind = said["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            await self._refuse(ApiError(400, "send JSON objects that have a type"))
            return True
        try:
            return await self._obey(kind, said)
        except ApiError as error:
            await self._refuse(error)
        return True

    async def _obey(self, kind: Any, said: dict[str, Any]) -> bool:
        if kind == "session.config":
            self._configure(said)
        elif kind == "input.text":
            text = said.get("text")
            if not isinstance(text, str):
                raise ApiError(400, "input.text: give a text", "text")
            if len(text) > self._server.max_text:
                raise ApiError(400, f"text: {self._server.max_text} characters at most", "text")
            await self._enqueue(self._arriving.add(text))
        elif kind in ("input.flush", "input.done"):
            after: dict[str, Any] = {"type": "audio.done"}
            if kind == "input.flush":
                after = {"type": "flushed", "id": said.get("id")}
            await self._enqueue([*self._arriving.rest(), after])
        elif kind == "cancel":
            self._cancel()
            await self._send({"type": "audio.done", "cancelled": True})
        elif kind == "session.close":
            await self._enqueue(self._arriving.rest())
            return False
        else:
            raise ApiError(400, f"{str(kind)[:40]!r} is no message", "type")
        return True

    def _configure(self, said: dict[str, Any]) -> None:
        chosen = said.get("response_format") or self._format
        if not isinstance(chosen, str) or chosen not in FORMATS:
            raise ApiError(400, f"response_format: one of {', '.join(FORMATS)}", "response_format")
        self._format = chosen
        self._asked |= {name: switch(said, name) for name in self._asked if name in said}
        config = {k: said[k] for k in ("voice", "model", *OPTIONS) if said.get(k) is not None}
        options_of(config)  # refused now rather than with a sentence
        self._server.models.find(config.get("model"))
        self._config |= config
        if "markup" in said:  # of what is written from now on
            self._script = Script() if said["markup"] is True else None
            self._arriving = Arriving(markup=said["markup"] is True)

    async def _enqueue(self, items: list[str | dict[str, Any]]) -> None:
        for item in items:  # a full queue lets the client wait
            await self._queue.put(item)

    def _cancel(self) -> None:
        """Nothing of what was sent until now is spoken any more."""
        self._arriving.rest()
        while not self._queue.empty():
            self._queue.get_nowait()
            self._queue.task_done()
        self._encoder = None
        if self._speech is not None:
            self._speech.cancel()

    async def _speak(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                if isinstance(item, str):
                    await self._sentence(item)
                else:
                    await self._finish(item)
            except ApiError as error:
                await self._refuse(error)
            except Exception:  # its cause is in the log already
                await self._refuse(ApiError(500, "the speech broke off"))
            finally:
                self._speech = None
                self._queue.task_done()

    async def _sentence(self, text: str) -> None:
        options = options_of(self._config)
        options |= {"words": self._asked["timestamps"]}
        options |= {"checks": [] if self._asked["check"] else None}
        if self._script is not None:  # a rate and a voice hold until the text changes them
            options["markup"] = self._script
        voice, model = self._config.get("voice"), self._config.get("model")
        self._speech = await self._server.submit(text, voice, options, "text", model)
        if self._encoder is None:
            self._encoder = FORMATS[self._format][1](self._speech.sample_rate)
            rate = OPENAI_RATE if self._format == "pcm" else self._speech.sample_rate
            start = {"type": "audio.start", "format": self._format, "sample_rate": rate}
            await self._send(start)
            self._samples = 0
        encoder = self._encoder
        begins, told = self._samples / self._speech.sample_rate, 0
        async for block in self._server.blocks(self._speech):
            if self._encoder is not encoder:
                return  # cancelled meanwhile
            self._samples += len(block)
            if data := encoder.write(block):
                await self._socket.send_bytes(data)
            told += await self._tell(begins, told)
        await self._tell(begins, told)
        if self._asked["check"] and self._speech is not None:
            checks = [asdict(check) for check in self._speech.checks]
            for fault in (fault for check in checks for fault in check["faults"]):
                del fault["characters"]
            await self._send({"type": "checks", "checks": checks})

    async def _tell(self, begins: float, told: int) -> int:
        """The words that were settled since `told`, timed from audio.start; how many there are."""
        new = self._speech.words[told:] if self._speech is not None else []
        if new:
            words = [plain(word.moved(1, begins)) for word in new]
            for word in words:
                del word["characters"]  # of a sentence; the client knows pieces
            await self._send({"type": "words", "words": words})
        return len(new)

    async def _finish(self, message: dict[str, Any]) -> None:
        """The end of an encoder's audio goes out with the end of the input."""
        if message["type"] == "audio.done" and self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            if data := encoder.end():
                await self._socket.send_bytes(data)
        await self._send(message)

    async def _refuse(self, error: ApiError) -> None:
        await self._send({"type": "error", **error.body})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(message))


async def stream(socket: WebSocket) -> None:
    """The route."""
    await Session(socket, socket.app.state.context).run()
