"""What every route needs: the models, the limits, the numbers."""

import logging
import socket
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from ptts_jax.engine.core import Closed
from ptts_jax.engine.scheduler import Full
from ptts_jax.engine.speech import Speech
from ptts_jax.engine.voices import Voice
from ptts_jax.server.errors import ApiError, too_many
from ptts_jax.server.metrics import Metrics
from ptts_jax.server.models import Models
from ptts_jax.server.voices import Voices

_log = logging.getLogger(__name__)

# Options that a client may set; the others would let one client slow down all.
OPTIONS = (
    "normalize",
    "markup",
    "language",
    "lexicon",
    "speed",
    "loudness",
    "seed",
    "temperature",
    "noise_clamp",
    "eos_threshold",
    "frames_after_eos",
    "max_tokens",
)


@dataclass
class Context:
    """One server."""

    models: Models
    api_key: str | None = None
    max_text: int = 4096  # characters
    hosts: tuple[str, ...] | None = None  # names that the server answers to; None: any
    wyoming: socket.socket | None = None  # where Home Assistant is answered
    metrics: Metrics = field(default_factory=Metrics)
    ready: bool = False  # the first model is compiled
    # What gives a request's model back.
    _loans: Any = field(default_factory=weakref.WeakKeyDictionary, init=False)

    async def submit(
        self,
        text: Any,
        voice: Any,
        options: dict[str, Any],
        param: str = "input",
        model: Any = None,
    ) -> Speech:
        """A request for speech, checked: what is wrong is an ApiError."""
        if not isinstance(text, str):
            raise ApiError(400, f"{param}: give the text to speak", param)
        if len(text) > self.max_text:
            words = f"{param}: {len(text)} characters, {self.max_text} at most"
            raise ApiError(400, words, param, "text_too_long")
        try:
            text.encode()
            return await run_in_threadpool(self._submit, model, text, voice, options)
        except Full as error:
            self.metrics.count("ptts_requests_total", result="refused")
            raise too_many(error.seconds) from None
        except Closed:
            raise ApiError(503, "the server is going down", code="closing") from None
        except ValueError as error:
            raise ApiError(400, str(error), _param(str(error), param)) from None

    def _submit(self, model: Any, text: str, voice: Any, options: dict[str, Any]) -> Speech:
        name, loaded = self.models.borrow(model)
        try:
            find = partial(_named, loaded.voices)
            state = loaded.voices.resolve(voice)
            speech = loaded.engine.submit(text, state, find_voice=find, **options)
        except BaseException:
            self.models.give_back(name)
            raise
        # At the latest when nobody knows the request any more.
        self._loans[speech] = weakref.finalize(speech, self.models.give_back, name)
        return speech

    def end(self, speech: Speech) -> None:
        """Nobody listens to a request any more. Twice does no harm."""
        speech.cancel()
        self._loans[speech]()

    async def blocks(self, speech: Speech) -> AsyncIterator[np.ndarray]:
        """The audio of a request, counted; leaving it early ends the request."""
        samples, result = 0, "cancelled"
        try:
            async for block in speech:
                samples += len(block)
                yield block
            result = "finished"
        except Exception as error:
            result = "failed"
            _log.error("a request failed", exc_info=error)
            raise
        finally:
            self.end(speech)
            self._count(speech, samples / speech.sample_rate, result)

    def _count(self, speech: Speech, seconds: float, result: str) -> None:
        request, metrics = speech.request, self.metrics
        now = time.monotonic()
        metrics.count("ptts_requests_total", result=result)
        metrics.count("ptts_audio_seconds_total", seconds)
        metrics.count("ptts_gaps_total", request.gaps)
        metrics.observe("ptts_request_seconds", now - request.arrived)
        fields = {"result": result, "audio": seconds, "took": now - request.arrived}
        if request.opened is not None:
            fields["waited"] = request.opened - request.arrived
            metrics.observe("ptts_queue_seconds", fields["waited"])
            if result == "finished":
                speed = seconds / max(now - request.opened, 1e-3)
                metrics.observe("ptts_realtime_factor", speed)
        if speech.first_audio is not None:
            fields["first_audio"] = speech.first_audio
            metrics.observe("ptts_first_audio_seconds", speech.first_audio)
        fields |= {"gaps": request.gaps, "tokens": speech.tokens}
        if speech.checks:
            fields["said_wrong"] = sum(bool(check.faults) for check in speech.checks)
        fields = {k: round(v, 4) if isinstance(v, float) else v for k, v in fields.items()}
        shown = ", ".join(f"{k} {v}" for k, v in fields.items())
        _log.info("speech: %s", shown, extra={"fields": fields})


def _named(voices: Voices, name: str) -> Voice:
    """A voice that a text names: never a file."""
    try:
        return voices.resolve(name)
    except ApiError as error:
        raise ValueError(error.message) from None


def options_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a request. Numbers are said in words unless it says otherwise."""
    options = {name: fields[name] for name in OPTIONS if fields.get(name) is not None}
    words = options.get("lexicon", {})
    if not isinstance(words, dict) or not all(isinstance(said, str) for said in words.values()):
        raise ApiError(400, "lexicon: give an object of words and their respellings", "lexicon")
    return {"normalize": True, **options}


def of(request: Request) -> Context:
    return request.app.state.context


def _param(message: str, otherwise: str) -> str:
    """The option that an error is about: its message begins with the name."""
    first = message.split(" ")[0].rstrip(":")
    return first if first in OPTIONS else otherwise
