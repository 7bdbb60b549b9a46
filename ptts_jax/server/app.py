"""All routes of the server."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from ptts_jax.server import context, openapi, page, socket, speech
from ptts_jax.server.context import Context
from ptts_jax.server.errors import ApiError, on_api_error, on_failure, on_gone, on_http_error
from ptts_jax.server.guard import Guard
from ptts_jax.server.voices import MOST_BYTES

BODY_LIMIT = MOST_BYTES + (1 << 16)  # of any request: a recording and its form
SWEEP_SECONDS = 1.0
REFUSALS = ("", "0", "false", "no", "off")  # no consent


def build(server: Context) -> Starlette:
    """The ASGI application of a server."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(run_in_threadpool(_warm, server)),
            asyncio.create_task(_sweep(server)),
        ]
        try:
            async with AsyncExitStack() as stack:
                if server.wyoming is not None:
                    from ptts_jax.server import wyoming

                    await stack.enter_async_context(wyoming.serving(server, server.wyoming))
                yield
        finally:
            await run_in_threadpool(server.models.close)
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    routes = [
        Route("/v1/audio/speech", speech.speak, methods=["POST"]),
        Route("/tts", speech.tts, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/audio/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/v1/audio/voices", voices, methods=["GET"]),
        Route("/v1/audio/voices", add_voice, methods=["POST"]),
        Route("/v1/audio/voices/{name}", remove_voice, methods=["DELETE"]),
        WebSocketRoute("/v1/audio/speech/stream", socket.stream),
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi.document),
        *(Route(path, page.file) for path in page.FILES),
    ]
    guard = Middleware(
        Guard,
        api_key=server.api_key,
        body_limit=BODY_LIMIT,
        hosts=server.hosts,
        metrics=server.metrics,
    )
    handlers: Any = {
        ApiError: on_api_error,
        HTTPException: on_http_error,
        ClientDisconnect: on_gone,
        Exception: on_failure,
    }
    app = Starlette(
        routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=lifespan
    )
    app.router.redirect_slashes = False  # to the host that a client names, whatever that is
    app.state.context = server
    return app


def _warm(server: Context) -> None:
    with server.models.lent() as first:
        first.warm()
    server.ready = True


async def _sweep(server: Context) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await run_in_threadpool(server.models.sweep)


async def health(request: Request) -> Response:
    """The process lives."""
    return JSONResponse({"status": "healthy"})


async def ready(request: Request) -> Response:
    """The first model is compiled: send requests here. Others are loaded when one asks."""
    server = context.of(request)
    is_ready, here = server.ready, server.models.here
    loaded = {name: name in here for name in server.models.names}
    return JSONResponse({"ready": is_ready, "loaded": loaded}, 200 if is_ready else 503)


async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    server = context.of(request)
    engines = [loaded.engine for loaded in server.models.here.values()]
    now: Counter[str] = Counter(ptts_slots=0, ptts_open=0, ptts_waiting=0)
    now["ptts_models"] = len(engines)
    for engine in engines:
        now["ptts_slots"] += engine.slots
        now.update({f"ptts_{name}": n for name, n in engine.busy.items()})
    text = server.metrics.text(now)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def models(request: Request) -> Response:
    """The models that speak here."""
    known = context.of(request).models
    here = known.here
    listed = [_model(name, name in here) for name in known.names]
    return JSONResponse({"object": "list", "data": listed, "models": listed})


async def model(request: Request) -> Response:
    """One model."""
    known, name = context.of(request).models, request.path_params["name"]
    if name not in known.names:
        words = f"there is no such model; there are: {', '.join(known.names)}"
        raise ApiError(404, words, "model", "model_not_found")
    return JSONResponse(_model(name, name in known.here))


def _model(name: str, loaded: bool) -> dict[str, Any]:
    about = {"id": name, "name": name, "object": "model", "created": 0, "owned_by": "ptts_jax"}
    return about | {"loaded": loaded}


async def voices(request: Request) -> Response:
    """The voices that a request may name, and whether more may be added."""
    asked = request.query_params.get("model")
    return JSONResponse(await run_in_threadpool(_voices, context.of(request), asked))


def _voices(server: Context, model: str | None) -> dict[str, Any]:
    with server.models.lent(model) as loaded:
        names, added = loaded.voices.names(), loaded.voices.added()
        writable = loaded.voices.writable
    listed = [
        {"id": name, "name": name, "object": "audio.voice", "removable": name in added}
        for name in names
    ]
    return {"object": "list", "voices": names, "data": listed, "writable": writable}


async def add_voice(request: Request) -> Response:
    """A form with name, audio_sample (a recording or a voice file) and consent.

    Consent: the speaker has agreed to be cloned. Nothing is kept without it.
    """
    server = context.of(request)
    async with request.form(max_files=1, max_fields=8) as form:
        name, consent = str(form.get("name") or ""), form.get("consent")
        chosen = form.get("model")
        upload = form.get("audio_sample") or form.get("file")
        if str(consent or "").strip().lower() in REFUSALS:
            words = "consent: a voice is cloned only with its speaker's consent; send consent=true"
            raise ApiError(400, words, "consent", "consent_required")
        if not hasattr(upload, "read"):
            raise ApiError(400, "audio_sample: send a recording", "audio_sample")
        data = await upload.read()
    try:
        await run_in_threadpool(_add_voice, server, chosen, name, data)
    except ValueError as error:
        raise ApiError(400, str(error), "audio_sample") from None
    listed = {"id": name, "name": name, "object": "audio.voice", "created_at": int(time.time())}
    return JSONResponse(listed, 201)


def _add_voice(server: Context, model: Any, name: str, data: bytes) -> None:
    with server.models.lent(model) as loaded:
        loaded.voices.add(name, data)


def _remove_voice(server: Context, name: str) -> None:
    with server.models.lent() as loaded:
        loaded.voices.remove(name)


async def remove_voice(request: Request) -> Response:
    """Takes away a voice that was added."""
    name = request.path_params["name"]
    await run_in_threadpool(_remove_voice, context.of(request), name)
    return JSONResponse({"id": name, "object": "audio.voice.deleted", "deleted": True})
