"""POST /v1/audio/speech as OpenAI has it, and POST /tts as the original has it."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ptts_jax.engine.speech import Speech
from ptts_jax.engine.subtitles import plain
from ptts_jax.server import context
from ptts_jax.server.context import Context
from ptts_jax.server.errors import ApiError
from ptts_jax.server.formats import FORMATS


class SpeechResponse(StreamingResponse):
    """A stream that ends its request whenever it ends: a client that has gone frees its row."""

    def __init__(
        self, server: Context, speech: Speech, body: AsyncIterator[bytes], **more: Any
    ) -> None:
        super().__init__(body, **more)
        self._server, self._speech = server, speech

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._server.end(self._speech)


async def speak(request: Request) -> Response:
    """Speech for a text, while it is made."""
    server, body = context.of(request), await json_body(request)
    kind = _choice(body, "response_format", FORMATS, "mp3")
    as_events = _choice(body, "stream_format", ("audio", "sse"), "audio") == "sse"
    options, model = context.options_of(body), body.get("model")
    options["words"] = switch(body, "timestamps")
    options["checks"] = [] if (checked := switch(body, "check")) else None
    speech = await server.submit(body.get("input"), body.get("voice"), options, model=model)
    first, blocks = await _begun(server, speech)
    media, encoder = FORMATS[kind]
    encoded = _encoded(encoder(speech.sample_rate), first, blocks)
    if not as_events and options["words"]:
        whole = _whole(encoded, speech, kind, checked)
        return SpeechResponse(server, speech, whole, media_type="application/json")
    if not as_events:
        return SpeechResponse(server, speech, encoded, media_type=media)
    events = _events(encoded, speech, checked)
    headers = {"cache-control": "no-cache"}
    return SpeechResponse(server, speech, events, media_type="text/event-stream", headers=headers)


async def tts(request: Request) -> Response:
    """A WAV for a form with text, and voice_url or voice_wav, as the original has it."""
    server = context.of(request)
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            text, address = form.get("text"), form.get("voice_url")
            upload = form.get("voice_wav")
            recording = await upload.read() if hasattr(upload, "read") else None
        if not isinstance(text, str) or not text.strip():
            raise ApiError(400, "Text cannot be empty")
        if address is not None and recording is not None:
            raise ApiError(400, "Cannot provide both voice_url and voice_wav")
        voice = address
        if recording is not None:
            voice = await run_in_threadpool(_cloned, server, recording)
        speech = await server.submit(text, voice, {}, "text")
        first, blocks = await _begun(server, speech)
    except ApiError as error:  # the original's form of an error
        return JSONResponse({"detail": error.message}, error.status, error.headers)
    media, encoder = FORMATS["wav"]
    headers = {"content-disposition": "attachment; filename=generated_speech.wav"}
    encoded = _encoded(encoder(speech.sample_rate), first, blocks)
    return SpeechResponse(server, speech, encoded, media_type=media, headers=headers)


def _cloned(server: Context, recording: bytes) -> Any:
    try:
        with server.models.lent() as loaded:
            return loaded.voices.from_upload(recording)
    except ValueError as error:
        raise ApiError(400, str(error), "voice_wav") from None


async def json_body(request: Request) -> dict[str, Any]:
    """The body as an object."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not valid JSON") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not a JSON object")
    return body


def switch(body: dict[str, Any], name: str) -> bool:
    """Whether something is asked for."""
    asked = body.get(name)
    if not isinstance(asked, bool | None):
        raise ApiError(400, f"{name}: give true or false", name)
    return bool(asked)


def _choice(body: dict[str, Any], name: str, known: Any, default: str) -> str:
    value = default if body.get(name) is None else body[name]
    if not isinstance(value, str) or value not in known:
        raise ApiError(400, f"{name}: give one of {', '.join(known)}", name)
    return value


async def _begun(
    server: Context, speech: Speech
) -> tuple[np.ndarray | None, AsyncIterator[np.ndarray]]:
    """The first block, so that what fails before it has a status of its own, and the others."""
    blocks = server.blocks(speech)
    try:
        return await anext(blocks, None), blocks
    except Exception:
        raise ApiError(500, "the speech could not be made", code="speech_failed") from None


async def _encoded(
    encoder: Any, first: np.ndarray | None, blocks: AsyncIterator[np.ndarray]
) -> AsyncIterator[bytes]:
    if first is not None and (data := encoder.write(first)):
        yield data
    async for block in blocks:
        if data := encoder.write(block):
            yield data
    if data := encoder.end():
        yield data


async def _events(
    encoded: AsyncIterator[bytes], speech: Speech, checked: bool
) -> AsyncIterator[bytes]:
    """Server-sent events, as OpenAI's clients read them. Output tokens are frames."""
    told = 0
    try:
        async for data in encoded:
            audio = base64.b64encode(data).decode()
            yield _event({"type": "speech.audio.delta", "audio": audio})
            if new := speech.words[told:]:
                told += len(new)
                yield _event({"type": "speech.audio.words", "words": list(map(plain, new))})
    except Exception:
        yield _event({"type": "error", **ApiError(500, "the speech broke off").body})
        return
    if new := speech.words[told:]:
        yield _event({"type": "speech.audio.words", "words": list(map(plain, new))})
    read, made = speech.tokens, speech.request.made
    usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
    yield _event({"type": "speech.audio.done", "usage": usage, **_checks(speech, checked)})


async def _whole(
    encoded: AsyncIterator[bytes], speech: Speech, kind: str, checked: bool
) -> AsyncIterator[bytes]:
    """All in one JSON object: the audio, and the words with their times."""
    audio = base64.b64encode(b"".join([data async for data in encoded])).decode()
    words = list(map(plain, speech.words))
    whole = {"audio": audio, "format": kind, "words": words, **_checks(speech, checked)}
    yield json.dumps(whole).encode()


def _checks(speech: Speech, asked: bool) -> dict[str, Any]:
    """How each chunk of the text went, for who wants to know."""
    return {"checks": list(map(asdict, speech.checks))} if asked else {}


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()
